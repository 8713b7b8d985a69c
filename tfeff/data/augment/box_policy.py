"""What augmentation a detector's training asks for: plain numbers, no TensorFlow."""

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
    """How training images and their boxes are varied; the zero of every field but `min_share` switches it off.

    Attributes:
        horizontal_flip: Mirror left and right with probability 1/2.
        vertical_flip: Mirror top and bottom with probability 1/2.
        rotation: Largest angle, degrees; uniform in [-rotation, rotation]. A box becomes the one around its turned
            corners, which is larger than the object: keep to small angles.
        scale: The image, fitted into the resolution, is enlarged by a factor uniform in [1 - scale, 1 + scale], at most
            0.95; a random part of it is then taken, or it comes to lie at random on gray.
        aspect: Its width is stretched against its height by a factor of up to 1 + aspect, either way.
        brightness: As in `Augmentation`, and so are the next three.
        contrast: Factor about the image's mean luma.
        saturation: Factor about each pixel's luma.
        hue: Fraction of the circle.
        mosaic: Probability of showing parts of four images around a random point (Bochkovskiy et al. 2020).
        min_share: Objects of which less than this share of their area can still be seen are dropped.

    Raises:
        UserError: a value outside its range.
    """

    horizontal_flip: bool = False
    vertical_flip: bool = False
    rotation: float = 0.0
    scale: float = 0.0
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
                raise UserError(f"box_augmentation.{name}: {value} is outside [{low:g}, {high:g}]")
        _ = self.color

    @property
    def any(self) -> bool:
        """Whether anything varies at all."""
        return any(getattr(self, field.name) for field in fields(self) if field.name != "min_share")

    @property
    def plain(self) -> "BoxAugmentation":
        """Its flips alone."""
        return BoxAugmentation(
            horizontal_flip=self.horizontal_flip, vertical_flip=self.vertical_flip, min_share=self.min_share
        )

    @property
    def color(self) -> Augmentation:
        """What concerns colours alone."""
        return Augmentation(
            brightness=self.brightness, contrast=self.contrast, saturation=self.saturation, hue=self.hue
        )
