"""Describes and builds detectors by name."""

import dataclasses
import warnings
from typing import Any

from tfeff.errors import UserError, nearest
from tfeff.models.build import architecture, listed
from tfeff.models.detectors import anchor_yolo, efficientdet, fast_rcnn, faster_rcnn, grid, yolo
from tfeff.models.detectors.detector import Detector
from tfeff.models.layers.backend import KerasLayers
from tfeff.models.network import Network, allow_deep_graphs
from tfeff.models.weights.loading import load_weights

FAMILIES: dict[str, dict[str, Detector]] = {
    "efficientdet": {**efficientdet.D_TABLE},
    "efficientdet-lite": {**efficientdet.LITE_D_TABLE},
    "rcnn": {**fast_rcnn.TABLE, **faster_rcnn.TABLE},
    "yolo": {**yolo.TABLE, **anchor_yolo.TABLE, **grid.TABLE},
}


def detector_names(family: str | None = None) -> tuple[str, ...]:
    """List the names of detectors.

    Args:
        family: "efficientdet", "efficientdet-lite", "rcnn" or "yolo"; None lists all families.

    Raises:
        UserError: unknown family.
    """
    return listed(FAMILIES, family)


def detector(name: str, *, backbone: str | None = None, **options: Any) -> Detector:
    """Describe a detector by name.

    Args:
        name: one of `detector_names()`.
        backbone: one of `tfeff.models.names()`. Defaults to the detector's own.
        **options: fields of the detector; all others are fields of the backbone, such as `width_coefficient` and
            `depth_coefficient`. None keeps the default.

    Raises:
        UserError: unknown name or option, or a value out of range.
    """
    detectors = {member: default for family in FAMILIES.values() for member, default in family.items()}
    if name not in detectors:
        raise UserError(f'no detector "{name}"; {nearest(name, detectors)}')
    default = detectors[name]
    fields = {field.name for field in dataclasses.fields(default)} - {"backbone"}
    given = {option: tuple(v) if isinstance(v, list) else v for option, v in options.items() if v is not None}
    own: dict[str, Any] = {option: value for option, value in given.items() if option in fields}
    inner: dict[str, Any] = {option: value for option, value in given.items() if option not in fields}
    described = default.backbone if backbone is None else architecture(backbone)
    inner_fields = {field.name for field in dataclasses.fields(described)} - {"resolution", "dropout"}
    for option in inner:
        if option not in inner_fields:
            known = ", ".join(sorted(fields | inner_fields))
            raise UserError(f'{name} has no option "{option}"; its options are {known}')
    try:
        return dataclasses.replace(default, backbone=dataclasses.replace(described, **inner), **own)
    except UserError as error:
        raise UserError(f"{name}: {error}") from None


def build_detector(
    described: str | Detector,
    *,
    num_classes: int,
    channels: int = 3,
    weights: str | None = None,
    **options: Any,
) -> Network:
    """Build a detector. Its input is raw pixels; preprocessing is part of the network.

    Args:
        described: one of `detector_names()`, or a description.
        num_classes: number of classes, without background.
        channels: 3 (RGB) or 1 (gray).
        weights: None (random), or the path of a TensorFlow checkpoint of google/automl, or of any file that
            `load_weights` reads. A warning lists the variables that do not match, such as those of another number of
            classes. `load_imagenet` loads published weights into the backbone.
        **options: of `detector`; only with a name.

    Returns:
        A functional model from (batch, height, width, channels) float32 in [0, 255] to a dictionary of the
        detector's outputs (see its class). Its `levels` are those of the neck, its `description` is the detector.

    Raises:
        UserError: unknown name or option, a value out of range, levels that the backbone lacks, or weights that cannot
            be read or of which none match.
    """
    if isinstance(described, str):
        name, described = described, detector(described, **options)
    elif options:
        raise UserError(f"a described detector takes no options; given {', '.join(options)}")
    else:
        name = type(described).__name__.lower()
    allow_deep_graphs()
    graph = described.define(KerasLayers(), num_classes=num_classes, channels=channels)
    inputs = graph.images if graph.boxes is None else [graph.images, graph.boxes]
    network = Network(inputs, graph.output, name=name.replace("-", "_"))
    network.description = described
    network.levels = {level: output._keras_history.operation.name for level, output in graph.levels.items()}
    if weights is not None:
        report = load_weights(network, weights)
        if report.skipped:
            warnings.warn(f"{weights}: {report}", stacklevel=2)
    return network
