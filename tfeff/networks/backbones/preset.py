"""A backbone of KerasHub or KerasCV, by the name of a preset; `tfeff.models.presets` loads it."""

import re
from dataclasses import dataclass, field
from typing import Any

from tfeff.errors import UserError
from tfeff.networks.backbones.given import ITS_OWN, Given

PACKAGES = ("keras_hub", "keras_cv")
_NAME = re.compile(rf"({'|'.join(PACKAGES)}):(.+)")
_TRAINED = re.compile(r"_(imagenet|coco|sa1b)$|[/\\]")
"""Presets of KerasCV with weights: their names end in a dataset; a folder may have some."""


@dataclass(frozen=True, kw_only=True)
class Preset(Given):
    """A preset of KerasHub or KerasCV, such as `keras_hub:resnet_50_imagenet`, with its weights and its preprocessing.

    The package downloads it on first use. What follows the colon is the name of a preset, what else the package's
    `from_preset` accepts, or a folder that its `save_to_preset` wrote. Some presets of KerasCV have no weights; the
    names of those that have some end in a dataset.

    Attributes:
        resolution: side of the square input image, in pixels. Most presets were trained with 224.
        weights: a weights file to start from. None, or "imagenet": those of the preset.
        levels: pyramid levels, as `level=layer`; none: those that the backbone names itself, or the last map of each
            stride.
    """

    resolution: int = 224
    graph: str = field(default="", metadata=ITS_OWN)
    initial: str = field(default="", metadata=ITS_OWN)
    pretrained: bool = field(default=True, metadata=ITS_OWN)
    mean: tuple[float, ...] = field(default=(0.0,), metadata=ITS_OWN)
    std: tuple[float, ...] = field(default=(1.0,), metadata=ITS_OWN)

    def __post_init__(self) -> None:
        """Validates field values; raises UserError."""
        package, preset = parts(self.name)
        object.__setattr__(self, "pretrained", package == "keras_hub" or bool(_TRAINED.search(preset)))
        if self.weights == "imagenet":
            if not self.pretrained:
                raise UserError(
                    f'weights "imagenet": the preset {preset} of KerasCV has no weights; choose one whose name ends in '
                    "_imagenet or _coco, or omit model.weights to start from random ones"
                )
            object.__setattr__(self, "weights", None)
        if (set(self.mean), set(self.std)) != ({0.0}, {1.0}):
            raise UserError(f"mean: {self.name} has its own preprocessing; omit mean and std")
        super().__post_init__()

    @property
    def source(self) -> str:
        """See `Given`."""
        return self.name


def is_name(name: Any) -> bool:
    """Returns whether this is the name of a preset, such as `keras_cv:resnet50_v2_imagenet`."""
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


def parts(name: str) -> tuple[str, str]:
    """Returns the package and the preset of such a name."""
    match = _NAME.fullmatch(name)
    if match is None:
        raise UserError(f"name {name!r}: must be PACKAGE:PRESET, with one of {', '.join(PACKAGES)}")
    return match[1], match[2]
