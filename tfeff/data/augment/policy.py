"""What augmentation an experiment asks for: plain numbers, no TensorFlow."""

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
)
_AMOUNTS = ("rotation", "shear", "crop_padding", "randaugment_layers", "mixup_alpha", "cutmix_alpha")


@dataclass(frozen=True)
class Augmentation:
    """How training images are varied; the zero of every field switches that variation off.

    Attributes:
        horizontal_flip: Mirror left and right with probability 1/2.
        vertical_flip: Mirror top and bottom with probability 1/2.
        rotation: Largest angle, degrees; uniform in [-rotation, rotation].
        shift: Largest shift along each axis, as a fraction of the image's size.
        scale: Zoom factor uniform in [1 - scale, 1 + scale]; in [0, 1).
        shear: Largest shear angle, degrees; below 90.
        crop_padding: Pixels by which the image at the loader's size is padded (reflected) on each side before a random
            crop of the former size (He et al. 2016, section 4.2, with reflection instead of zeros).
        brightness: Factor uniform in [1 - brightness, 1 + brightness].
        contrast: Factor uniform in [1 - contrast, 1 + contrast], about the image's mean luma.
        saturation: Factor uniform in [1 - saturation, 1 + saturation], about each pixel's luma.
        hue: Largest turn of the hue, as a fraction of the full circle; in [0, 0.5].
        randaugment_layers: Number of operations of RandAugment (Cubuk et al. 2020) on each image, their N.
        randaugment_magnitude: Their strength in [0, 10], the paper's M.
        autoaugment: Apply AutoAugment's ImageNet policy (Cubuk et al. 2019, table 9).
        mixup_alpha: Parameter of MixUp's Beta distribution (Zhang et al. 2018).
        cutmix_alpha: Parameter of CutMix's Beta distribution (Yun et al. 2019). With both, each image takes either with
            probability 1/2.
        random_erasing: Probability of erasing a rectangle (Zhong et al. 2020).

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
        """Whether anything varies at all."""
        return any(getattr(self, f.name) for f in fields(self) if f.name != "randaugment_magnitude")

    @property
    def plain(self) -> "Augmentation":
        """Its crops and flips alone, which leave images as natural as they were."""
        return Augmentation(
            horizontal_flip=self.horizontal_flip,
            vertical_flip=self.vertical_flip,
            crop_padding=self.crop_padding,
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
