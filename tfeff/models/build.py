"""Builds networks by name."""

import dataclasses
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from tfeff.errors import UserError, nearest
from tfeff.models.backbones import efficientnet, mobilenet, resnet
from tfeff.models.backbones.architecture import Architecture
from tfeff.models.layers.backend import KerasLayers
from tfeff.models.network import Network
from tfeff.models.weights.imagenet import load_imagenet
from tfeff.models.weights.loading import load_weights

FAMILIES: dict[str, dict[str, Architecture]] = {
    "resnet": {**resnet.TABLE},
    "efficientnet": {**efficientnet.B_TABLE},
    "efficientnet-lite": {**efficientnet.LITE_TABLE},
    "mobilenet": {**mobilenet.TABLE},
}


def names(family: str | None = None) -> tuple[str, ...]:
    """List the names of networks.

    Args:
        family: "resnet", "efficientnet", "efficientnet-lite" or "mobilenet"; None lists all families.

    Raises:
        UserError: unknown family.
    """
    return listed(FAMILIES, family)


def listed(families: Mapping[str, Mapping[str, Any]], family: str | None) -> tuple[str, ...]:
    """The members of a family, or of all.

    Raises:
        UserError: unknown family.
    """
    if family is None:
        return tuple(name for members in families.values() for name in members)
    if family not in families:
        raise UserError(f'no family "{family}"; {nearest(family, families)}')
    return tuple(families[family])


def architecture(name: str, **options: Any) -> Architecture:
    """Describe a network by name. `options` replace its fields; None keeps the default of the network.

    Raises:
        UserError: unknown name, unknown option, or a value out of range.
    """
    networks = {member: default for family in FAMILIES.values() for member, default in family.items()}
    if name not in networks:
        raise UserError(f'no network "{name}"; {nearest(name, networks)}')
    default = networks[name]
    fields = [field.name for field in dataclasses.fields(default)]
    given = {option: value for option, value in options.items() if value is not None}
    for option in given:
        if option not in fields:
            raise UserError(f'{name} has no option "{option}"; its options are {", ".join(sorted(fields))}')
    given = {option: tuple(value) if isinstance(value, list) else value for option, value in given.items()}
    try:
        return dataclasses.replace(default, **given)
    except UserError as error:
        raise UserError(f"{name}: {error}") from None


def build(
    name: str,
    *,
    num_classes: int = 1000,
    resolution: int | None = None,
    channels: int = 3,
    include_top: bool = True,
    weights: str | None = None,
    width_coefficient: float | None = None,
    depth_coefficient: float | None = None,
    dropout: float | None = None,
    survival_probability: float | None = None,
    batch_norm: bool | None = None,
    synchronized: bool = False,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    **options: Any,
) -> Network:
    """Build a network. Its input is raw pixels; preprocessing is part of the network.

    None selects the default of the network. Coefficients replace the defaults, they do not multiply them:
    `efficientnet-b3` with `width_coefficient=1.0` has the width of B0.

    Args:
        name: one of `names()`.
        num_classes: outputs of the classifier.
        resolution: side of the square input, in pixels, at least 8. Layers with stride 2 map a side r to ceil(r / 2).
        channels: 3 (RGB) or 1 (gray).
        include_top: False omits pooling and classifier; the output is the last feature map.
        weights: None (random), "imagenet" (published weights: EfficientNet-Lite0 to Lite2 from installed packages, the
            others downloaded by keras.applications), or the path of a `.weights.h5`, `.keras` or `.npz` file. A warning
            lists the variables that do not match.
        width_coefficient: multiplies the number of channels.
        depth_coefficient: multiplies the number of blocks.
        dropout: dropout rate before the classifier.
        survival_probability: stochastic depth of the last block (EfficientNet).
        batch_norm: False omits batch normalization (ResNet).
        synchronized: computes batch statistics over all replicas (TensorFlow backend only).
        mean: per-channel mean of the preprocessing, in pixel units.
        std: per-channel standard deviation of the preprocessing, in pixel units.
        **options: other fields of the architecture, such as `width`, `stage_blocks` and `stem` of `resnet`.

    Returns:
        A functional model from (batch, resolution, resolution, channels) float32 in [0, 255] to
        logits (batch, num_classes) float32, or to the last feature map if `include_top` is False.

    Raises:
        UserError: unknown name or option, a value out of range, or weights that cannot be read or of which none match.
    """
    described = architecture(
        name,
        resolution=resolution,
        width_coefficient=width_coefficient,
        depth_coefficient=depth_coefficient,
        dropout=dropout,
        survival_probability=survival_probability,
        batch_norm=batch_norm,
        synchronized=synchronized,
        mean=mean,
        std=std,
        **options,
    )
    if weights == "imagenet" and not (mean is None and std is None):
        raise UserError('weights "imagenet" have their own preprocessing; omit mean and std')

    graph = described.define(KerasLayers(), num_classes=num_classes, channels=channels, include_top=include_top)
    network = Network(graph.images, graph.output, name=name.replace("-", "_"))
    network.levels = {level: output._keras_history.operation.name for level, output in graph.levels.items()}
    if weights is not None:
        report = load_imagenet(network, name) if weights == "imagenet" else load_weights(network, weights)
        # Without a classifier, additional variables of the source are expected.
        if any(include_top or skipped.shape_here is not None for skipped in report.skipped):
            warnings.warn(f"{weights}: {report}", stacklevel=2)
    return network
