"""All networks by name: one table of the families of backbones, one of the families of detectors."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from tfeff.errors import UserError, nearest
from tfeff.networks.backbones import (
    convnext,
    efficientnet,
    efficientnet_v2,
    given,
    mobilenet,
    mobilenet_v3,
    preset,
    regnet,
    resnet,
)
from tfeff.networks.backbones.architecture import Architecture, require_same_layers
from tfeff.networks.detectors import efficientdet, rcnn, retinanet, yolo
from tfeff.networks.detectors.detector import Detector

BACKBONES: dict[str, dict[str, Architecture]] = {
    "resnet": {**resnet.TABLE},
    "efficientnet": {**efficientnet.B_TABLE},
    "efficientnet-lite": {**efficientnet.LITE_TABLE},
    "efficientnet-v2": {**efficientnet_v2.TABLE},
    "mobilenet": {**mobilenet.TABLE},
    "mobilenet-v3": {**mobilenet_v3.TABLE},
    "regnet": {**regnet.TABLE},
    "convnext": {**convnext.TABLE},
}
DETECTORS: dict[str, dict[str, Detector]] = {
    "efficientdet": {**efficientdet.D_TABLE},
    "efficientdet-lite": {**efficientdet.LITE_D_TABLE},
    "retinanet": {**retinanet.TABLE},
    "rcnn": {**rcnn.FAST_TABLE, **rcnn.FASTER_TABLE},
    "yolo": {**yolo.TABLE, **yolo.ANCHOR_TABLE, **yolo.GRID_TABLE},
}
ALL_BACKBONES: dict[str, Architecture] = {
    name: member for family in BACKBONES.values() for name, member in family.items()
}
ALL_DETECTORS: dict[str, Detector] = {name: member for family in DETECTORS.values() for name, member in family.items()}


class _Sections(dict[str, Architecture]):
    """Descriptions by name; also a description for each name of a preset, which no list contains."""

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or preset.is_name(name)

    def __missing__(self, name: str) -> Architecture:
        if preset.is_name(name):
            return preset.Preset(name=name)
        raise KeyError(name)


SECTIONS = _Sections({**ALL_BACKBONES, given.NAME: given.Given()})
"""What the section `model` of a config can be."""


def names(family: str | None = None) -> tuple[str, ...]:
    """Lists the names of networks.

    Args:
        family: a key of `BACKBONES`, such as "resnet"; None lists all families.

    Raises:
        UserError: unknown family.
    """
    return listed(BACKBONES, family)


def architecture(name: str, **options: Any) -> Architecture:
    """Describes a network by name. `options` replace its fields; None keeps the default of the network.

    Raises:
        UserError: unknown name, unknown option, or a value out of range.
    """
    if name not in SECTIONS:
        raise UserError(f'no network "{name}"; {nearest(name, ALL_BACKBONES)}')
    default = SECTIONS[name]
    _check_options(name, _given(options), _fields(default))
    try:
        return dataclasses.replace(default, **_given(options))
    except UserError as error:
        raise UserError(f"{name}: {error}") from None


def published(described: Architecture) -> Architecture | None:
    """Returns the network whose published weights a network starts from; None for a file or random weights.

    It is the network of its own name, or another one of its family that its `weights` name.

    Raises:
        UserError: that one has other layers.
    """
    found = ALL_BACKBONES.get(described.name if described.weights == "imagenet" else str(described.weights))
    if found is None or isinstance(described, given.Given):
        return None
    require_same_layers(described, found)
    return found


def own_statistics(described: Architecture) -> tuple[str, ...]:
    """Returns which of `mean` and `std` a description sets to other values than the network of its name has."""
    own = None if isinstance(described, given.Given) else ALL_BACKBONES.get(described.name)
    if own is None:
        return ()
    return tuple(key for key in ("mean", "std") if getattr(described, key) != getattr(own, key))


def unchanged(described: Architecture) -> str | None:
    """Returns what a depth coefficient does not change, because numbers of blocks are rounded.

    None if it changes something.
    """
    own = ALL_BACKBONES.get(described.name)
    if own is None or own.depth_coefficient == described.depth_coefficient:
        return None
    usual = dataclasses.replace(described, depth_coefficient=own.depth_coefficient)
    if usual.blocks != described.blocks:
        return None
    ours, theirs = described.depth_coefficient, own.depth_coefficient
    return f"{described.name}: depth_coefficient={ours:g} has the same blocks as {theirs:g}, because of rounding"


def detector_names(family: str | None = None) -> tuple[str, ...]:
    """Lists the names of detectors.

    Args:
        family: a key of `DETECTORS`, such as "yolo"; None lists all families.

    Raises:
        UserError: unknown family.
    """
    return listed(DETECTORS, family)


def detector(name: str, *, backbone: str | Architecture | None = None, **options: Any) -> Detector:
    """Describes a detector by name.

    Args:
        name: one of `detector_names()`.
        backbone: a description, or one of `names()`, at the resolution of the published detector. None: that of the
            published detector.
        **options: fields of the detector; all others are fields of the backbone, such as `resolution`,
            `width_coefficient` and `depth_coefficient`. None keeps the default.

    Raises:
        UserError: unknown name or option, or a value out of range.
    """
    if name not in ALL_DETECTORS:
        raise UserError(f'no detector "{name}"; {nearest(name, ALL_DETECTORS)}')
    default = ALL_DETECTORS[name]
    if isinstance(backbone, str):
        backbone = architecture(backbone, resolution=default.resolution)
    described, given = backbone or default.backbone, _given(options)
    fields = _fields(default) - {"backbone"}
    inner_fields = _fields(described) - {"name", "dropout"}
    _check_options(name, given, fields | inner_fields)
    own = {option: value for option, value in given.items() if option in fields}
    inner = {option: value for option, value in given.items() if option not in fields}
    try:
        return dataclasses.replace(default, backbone=dataclasses.replace(described, **inner), **own)
    except UserError as error:
        raise UserError(f"{name}: {error}") from None


def _fields(description: Any) -> set[str]:
    return {field.name for field in dataclasses.fields(description)}


def _given(options: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the options that are not None, lists as tuples."""
    given = {option: value for option, value in options.items() if value is not None}
    return {option: tuple(value) if isinstance(value, list) else value for option, value in given.items()}


def _check_options(name: str, given: Mapping[str, Any], known: set[str]) -> None:
    """Raises UserError for an option that is not known."""
    for option in given:
        if option not in known:
            raise UserError(f'{name} has no option "{option}"; its options are {", ".join(sorted(known))}')


def listed(families: Mapping[str, Mapping[str, Any]], family: str | None) -> tuple[str, ...]:
    """Returns the members of a family, or of all.

    Raises:
        UserError: unknown family.
    """
    if family is None:
        return tuple(name for members in families.values() for name in members)
    if family not in families:
        raise UserError(f'no family "{family}"; {nearest(family, families)}')
    return tuple(families[family])
