"""Augmentation settings for images with boxes: plain numbers, no TensorFlow."""

from dataclasses import dataclass, fields

from tfeff.data.augment.policy import Augmentation
from tfeff.errors import UserError

_RANGES = {
    "rotation": (0.0, 180.0),
    "scale": (0.0, 0.95),
    "aspect": (0.0, 3.0),
    "mosaic": (0.0, 1.0),
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
        min_share: objects that keep less than this share of their area are dropped.

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
    min_share: float = 0.25

    def __post_init__(self) -> None:
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise UserError(f"augmentation.{name}: {value} is outside [{low:g}, {high:g}]")
        if self.scale_range is not None:
            if len(self.scale_range) != 2 or not 0 < self.scale_range[0] <= self.scale_range[1]:
                raise UserError(
                    f"augmentation.scale_range: {self.scale_range} must be two factors above 0, the lower one first"
                )
            if self.scale:
                raise UserError("augmentation.scale_range: set either scale or scale_range")
        _ = self.color

    @property
    def any(self) -> bool:
        """Whether any augmentation is enabled."""
        return any(getattr(self, field.name) for field in fields(self) if field.name != "min_share")

    @property
    def plain(self) -> "BoxAugmentation":
        """Flips only."""
        return BoxAugmentation(
            horizontal_flip=self.horizontal_flip, vertical_flip=self.vertical_flip, min_share=self.min_share
        )

    @property
    def resizes(self) -> bool:
        """Whether size or aspect ratio, and so the position, vary."""
        return bool(self.scale or self.scale_range or self.aspect)

    @property
    def color(self) -> Augmentation:
        """The color jitter."""
        return Augmentation(
            brightness=self.brightness, contrast=self.contrast, saturation=self.saturation, hue=self.hue
        )
