"""Augmentation settings: plain numbers, no TensorFlow."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Literal

from tfeff.errors import UserError

_FRACTIONS = (
    "shift",
    "scale",
    "brightness",
    "contrast",
    "saturation",
    "random_erasing",
    "crop_area",
)
_AMOUNTS = ("rotation", "shear", "crop_padding", "randaugment_layers", "mixup_alpha", "cutmix_alpha")

MIN_SIDE = 1.0
"""Minimum side in pixels of an object to learn in a training image; a thinner one counts as invisible."""


@dataclass(frozen=True)
class Augmentation:
    """Random variation of training images; 0 turns each field off.

    Attributes:
        horizontal_flip: flip left-right with probability 1/2.
        vertical_flip: flip top-bottom with probability 1/2.
        rotation: maximum angle, degrees; uniform in [-rotation, rotation].
        shift: maximum shift along each axis, relative to the image's size.
        scale: zoom factor uniform in [1 - scale, 1 + scale]; in [0, 1).
        shear: maximum shear angle, degrees; below 90.
        crop_padding: pixels of reflection padding on each side of the cached image before a random crop of its original
            size (He et al. 2016, section 4.2, with reflection instead of zeros).
        crop_area: smallest area of a random crop, relative to the image; larger ones are as likely. The crop is
            stretched to the network's resolution (Szegedy et al. 2015, section 6; 0.08 for ImageNet).
        brightness: factor uniform in [1 - brightness, 1 + brightness].
        contrast: factor uniform in [1 - contrast, 1 + contrast], about the image's mean luma.
        saturation: factor uniform in [1 - saturation, 1 + saturation], about each pixel's luma.
        hue: maximum hue rotation, as a fraction of the full circle; in [0, 0.5].
        randaugment_layers: RandAugment operations per image (Cubuk et al. 2020), the paper's N.
        randaugment_magnitude: RandAugment's strength in [0, 10], the paper's M.
        autoaugment: apply AutoAugment's ImageNet policy (Cubuk et al. 2019, table 9).
        mixup_alpha: parameter of MixUp's Beta distribution (Zhang et al. 2018).
        cutmix_alpha: parameter of CutMix's Beta distribution (Yun et al. 2019). If both are set, each image uses one of
            them, with probability 1/2 each.
        random_erasing: probability of erasing a rectangle (Zhong et al. 2020).

    Raises:
        UserError: a value outside the range above.
    """

    horizontal_flip: bool = False
    vertical_flip: bool = False
    rotation: float = 0.0
    shift: float = 0.0
    scale: float = 0.0
    shear: float = 0.0
    crop_padding: int = 0
    crop_area: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    randaugment_layers: int = 0
    randaugment_magnitude: float = 10.0
    autoaugment: bool = False
    mixup_alpha: float = 0.0
    cutmix_alpha: float = 0.0
    random_erasing: float = 0.0

    def __post_init__(self) -> None:
        ranges = dict.fromkeys(_FRACTIONS, (0.0, 1.0)) | dict.fromkeys(_AMOUNTS, (0.0, math.inf))
        ranges |= {"hue": (0.0, 0.5), "randaugment_magnitude": (0.0, 10.0)}
        _check(self, ranges)
        if self.scale >= 1:
            raise UserError(f"augmentation.scale: {self.scale} must be below 1")
        if self.shear >= 90:
            raise UserError(f"augmentation.shear: {self.shear} degrees must be below 90")

    @property
    def any(self) -> bool:
        """Whether any augmentation is enabled."""
        return any(getattr(self, f.name) for f in fields(self) if f.name != "randaugment_magnitude")

    @property
    def off(self) -> "Augmentation":
        """No variation."""
        return Augmentation()

    @property
    def plain(self) -> "Augmentation":
        """Crops and flips only, which keep images natural."""
        return Augmentation(
            horizontal_flip=self.horizontal_flip,
            vertical_flip=self.vertical_flip,
            crop_padding=self.crop_padding,
            crop_area=self.crop_area,
            randaugment_magnitude=self.randaugment_magnitude,
        )

    @property
    def warps(self) -> bool:
        """Whether images are rotated, shifted, scaled or sheared (one resampling for all of them)."""
        return bool(self.rotation or self.shift or self.scale or self.shear)

    @property
    def jitters(self) -> bool:
        """Whether brightness, contrast, saturation or hue vary."""
        return bool(self.brightness or self.contrast or self.saturation or self.hue)

    @property
    def mixes(self) -> bool:
        """Whether each image is mixed with a partner (labels become soft)."""
        return bool(self.mixup_alpha or self.cutmix_alpha)


_RANGES = {
    "rotation": (0.0, 180.0),
    "scale": (0.0, 0.95),
    "aspect": (0.0, 3.0),
    "mosaic": (0.0, 1.0),
    "mixup": (0.0, 1.0),
    "copy_paste": (0.0, 1.0),
    "min_share": (0.0, 1.0),
}


@dataclass(frozen=True)
class BoxAugmentation:
    """Random variation of training images together with their boxes; 0 turns each field but `min_share` off.

    Attributes:
        horizontal_flip: flip left-right with probability 1/2.
        vertical_flip: flip top-bottom with probability 1/2.
        rotation: maximum angle, degrees; uniform in [-rotation, rotation]. A box becomes the bounding box of its
            rotated corners, which is larger than the object, so keep angles small.
        scale: factor uniform in [1 - scale, 1 + scale], at most 0.95, on top of the scale that fits the image to the
            network's size. A larger image is cropped at random, a smaller one placed at random on gray.
        scale_range: instead of `scale`, the ends (low, high) of the factor's range, such as (0.1, 2) for large-scale
            jitter (Ghiasi et al. 2021; Tan et al., "EfficientDet", 2020).
        aspect: width is stretched against height by a factor of up to 1 + aspect, either way.
        brightness: as in `Augmentation`.
        contrast: as in `Augmentation`.
        saturation: as in `Augmentation`.
        hue: as in `Augmentation`.
        mosaic: probability of combining parts of four images around a random point (Bochkovskiy et al. 2020).
        mixup: probability of blending the image with another one (Zhang et al. 2019); the result has the objects of
            both. An object is treated as difficult if its image has less than `min_share` of the blend.
        copy_paste: probability of pasting half of the boxes of another image (Ghiasi et al. 2021), as rectangles,
            because datasets have no masks. Boxes shrink to what remains visible of their objects.
        autoaugment: a policy that was learned on COCO, v0 to v3 (Zoph et al. 2020); v0 is the paper's. None: off.
        min_share: objects that keep less than this share of their area are treated as difficult: what is left of them
            is neither learned nor background.

    Raises:
        UserError: a value outside its range.
    """

    horizontal_flip: bool = False
    vertical_flip: bool = False
    rotation: float = 0.0
    scale: float = 0.0
    scale_range: tuple[float, ...] | None = None
    aspect: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    mosaic: float = 0.0
    mixup: float = 0.0
    copy_paste: float = 0.0
    autoaugment: Literal["v0", "v1", "v2", "v3"] | None = None
    min_share: float = 0.25

    def __post_init__(self) -> None:
        _check(self, _RANGES)
        if self.scale_range is not None:
            if len(self.scale_range) != 2 or not 0 < self.scale_range[0] <= self.scale_range[1]:
                raise UserError(
                    f"augmentation.scale_range: {self.scale_range} must be two factors above 0, the lower one first"
                )
            if self.scale:
                raise UserError("augmentation.scale_range: set either scale or scale_range")
        if self.autoaugment not in (None, "v0", "v1", "v2", "v3"):
            raise UserError(f"augmentation.autoaugment: {self.autoaugment} must be v0, v1, v2, v3 or none")
        _ = self.color

    @property
    def any(self) -> bool:
        """Whether any augmentation is enabled."""
        return any(getattr(self, field.name) for field in fields(self) if field.name != "min_share")

    @property
    def off(self) -> "BoxAugmentation":
        """No variation."""
        return BoxAugmentation(min_share=self.min_share)

    @property
    def plain(self) -> "BoxAugmentation":
        """Flips only."""
        return BoxAugmentation(
            horizontal_flip=self.horizontal_flip, vertical_flip=self.vertical_flip, min_share=self.min_share
        )

    @property
    def mixes(self) -> bool:
        """Whether an image may have objects of others."""
        return self.images > 1

    @property
    def images(self) -> int:
        """The largest number of images whose objects an augmented one has."""
        return (4 if self.mosaic else 1) + bool(self.mixup) + bool(self.copy_paste)

    @property
    def resizes(self) -> bool:
        """Whether size or aspect ratio, and so the position, vary."""
        return bool(self.scale or self.scale_range or self.aspect)

    @property
    def enlargement(self) -> float:
        """The largest factor on the sides of an image, relative to those that fit the network's size."""
        largest = 1.0 + self.scale if self.scale_range is None else self.scale_range[1]
        return largest * math.sqrt(1.0 + self.aspect)

    @property
    def color(self) -> Augmentation:
        """The color jitter."""
        return Augmentation(
            brightness=self.brightness, contrast=self.contrast, saturation=self.saturation, hue=self.hue
        )


def parts(settings: Augmentation | BoxAugmentation) -> dict[str, Augmentation | BoxAugmentation]:
    """Returns each enabled variation alone, by its name.

    >>> [part.rotation for part in parts(Augmentation(rotation=5.0, hue=0.1)).values()]
    [5.0, 0.0]
    """
    kind, values = type(settings), {field.name: getattr(settings, field.name) for field in fields(settings)}
    enabled = {name: value for name, value in values.items() if kind(**{name: value}).any}
    others = {name: value for name, value in values.items() if name not in enabled}  # such as magnitudes
    return {name: kind(**others, **{name: value}) for name, value in enabled.items()}


def _check(settings: Augmentation | BoxAugmentation, ranges: Mapping[str, tuple[float, float]]) -> None:
    """Raises UserError for a value outside its range, (low, high)."""
    for name, (low, high) in ranges.items():
        value = getattr(settings, name)
        if not low <= value <= high:
            raise UserError(f"augmentation.{name}: {value} is outside [{low:g}, {high:g}]")
