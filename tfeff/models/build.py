"""Names become networks."""

import dataclasses
import warnings
from collections.abc import Sequence
from typing import Any

from tfeff.errors import UserError, nearest
from tfeff.models.backbones import efficientnet, mobilenet, resnet
from tfeff.models.backbones.architecture import Architecture
from tfeff.models.layers.backend import KerasLayers
from tfeff.models.network import Network
from tfeff.models.weights.applications import load_imagenet
from tfeff.models.weights.loading import load_weights

FAMILIES: dict[str, dict[str, Architecture]] = {
    "resnet": {**resnet.TABLE},
    "efficientnet": {**efficientnet.B_TABLE},
    "efficientnet-lite": {**efficientnet.LITE_TABLE},
    "mobilenet": {**mobilenet.TABLE},
}


def names(family: str | None = None) -> tuple[str, ...]:
    """Names that `build` knows, all or those of one family.

    Args:
        family: "resnet", "efficientnet", "efficientnet-lite" or "mobilenet".

    Raises:
        UserError: an unknown family.
    """
    if family is None:
        return tuple(name for members in FAMILIES.values() for name in members)
    if family not in FAMILIES:
        raise UserError(f'no family "{family}"; {nearest(family, FAMILIES)}')
    return tuple(FAMILIES[family])


def architecture(name: str, **options: Any) -> Architecture:
    """Description of a network by name, with some of its fields replaced; None keeps the family's own value.

    Raises:
        UserError: an unknown name, an option that the family does not take, or a value out of range.
    """
    members = {member: made for family in FAMILIES.values() for member, made in family.items()}
    if name not in members:
        raise UserError(f'no network "{name}"; {nearest(name, members)}')
    member = members[name]
    taken = [field.name for field in dataclasses.fields(member)]
    given = {option: value for option, value in options.items() if value is not None}
    for option in given:
        if option not in taken:
            raise UserError(f'{name} has no option "{option}"; it takes {", ".join(sorted(taken))}')
    given = {option: tuple(value) if isinstance(value, list) else value for option, value in given.items()}
    try:
        return dataclasses.replace(member, **given)
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
    classifier_activation: str | None = None,
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
    """Build a network that takes raw pixels and holds its own preprocessing.

    None always means the family's own value. Coefficients replace those of the family's table: `efficientnet-b3` with
    `width_coefficient=1.0` has the width of B0.

    Args:
        name: one of `names()`.
        num_classes: outputs of the classifier.
        resolution: side of the square input, in pixels, at least 8; odd sides become ceil(r / 2) at stride 2.
        channels: 3 (RGB) or 1 (gray).
        include_top: False ends the network at its last feature map, before pooling and classifier.
        weights: None (random), "imagenet" (the files published with keras.applications, downloaded now), or the path
            of a `.weights.h5`, `.keras` or `.npz` file. What fits is loaded, and a warning lists what does not.
        classifier_activation: such as "softmax"; None gives logits.
        width_coefficient: multiplies the channels.
        depth_coefficient: multiplies the blocks.
        dropout: share of pooled features dropped before the classifier.
        survival_probability: of the last block, under stochastic depth (EfficientNet).
        batch_norm: False leaves batch normalisation out (ResNet).
        synchronized: batch statistics over all replicas (TensorFlow backend only).
        mean: per-channel mean, in pixel units, instead of the family's.
        std: per-channel standard deviation, in pixel units, instead of the family's.
        **options: other fields of the family's architecture, such as `width`, `stage_blocks` and `stem` of `resnet`.

    Returns:
        A functional model from (batch, resolution, resolution, channels) float32 in [0, 255] to
        (batch, num_classes) float32, or to the last feature map without top; with `.resolution` and `.pyramid`.

    Raises:
        UserError: an unknown name, an option the family does not take, a value out of range, or weights that cannot
            be had or do not fit at all.
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
        raise UserError('weights "imagenet" bring their own preprocessing; leave out mean and std')

    drawing = described.draw(
        KerasLayers(),
        num_classes=num_classes,
        channels=channels,
        include_top=include_top,
        classifier_activation=classifier_activation,
    )
    network = Network(drawing.images, drawing.output, name=name.replace("-", "_"))
    network.levels = {level: map_._keras_history.operation.name for level, map_ in drawing.levels.items()}
    if weights is not None:
        report = load_imagenet(network, name) if weights == "imagenet" else load_weights(network, weights)
        # That a source has a top, or more levels, is no news where none was asked for.
        if any(include_top or skipped.shape_here is not None for skipped in report.skipped):
            warnings.warn(f"{weights}: {report}", stacklevel=2)
    return network
