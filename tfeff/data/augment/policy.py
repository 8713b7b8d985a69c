"""Augmentation settings: plain numbers, no TensorFlow."""

import math
from dataclasses import dataclass, fields

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
        for name, (low, high) in ranges.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise UserError(f"augmentation.{name}: {value} is outside [{low:g}, {high:g}]")
        if self.scale >= 1:
            raise UserError(f"augmentation.scale: {self.scale} must be below 1")
        if self.shear >= 90:
            raise UserError(f"augmentation.shear: {self.shear} degrees must be below 90")

    @property
    def any(self) -> bool:
        """Whether any augmentation is enabled."""
        return any(getattr(self, f.name) for f in fields(self) if f.name != "randaugment_magnitude")

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
