"""Builds networks by name, or from their descriptions."""

import warnings
from typing import Any

from tfeff.errors import UserError, printable
from tfeff.models.layers.kinds import KerasLayers
from tfeff.models.network import Network, allow_deep_graphs
from tfeff.models.weights.imagenet import load_imagenet
from tfeff.models.weights.loading import LoadReport, load_weights
from tfeff.networks.backbones.architecture import Architecture
from tfeff.networks.catalog import ALL_BACKBONES, architecture, detector
from tfeff.networks.detectors.detector import Detector


def build(
    described: str | Architecture,
    *,
    num_classes: int = 1000,
    channels: int = 3,
    include_top: bool = True,
    **options: Any,
) -> Network:
    """Build a network. Its input is raw pixels; preprocessing is part of the network.

    Args:
        described: one of `names()`, or a description.
        num_classes: outputs of the classifier.
        channels: 3 (RGB) or 1 (gray).
        include_top: False omits pooling and classifier; the output is the last feature map.
        **options: fields of the description (see `tfeff.models.Architecture`), such as `resolution`, `dropout`,
            `weights`, and `width` or `stage_blocks` of "resnet"; only with a name. None keeps the default. Coefficients
            replace the defaults, they do not multiply them: "efficientnet-b3" with `width_coefficient=1.0` has the
            width of B0.

    Returns:
        A functional model from (batch, resolution, resolution, channels) float32 in [0, 255] to
        logits (batch, num_classes) float32, or to the last feature map if `include_top` is False. A warning lists the
        variables that do not match `weights`.

    Raises:
        UserError: unknown name or option, a value out of range, or weights that cannot be read or of which none match.
    """
    if isinstance(described, str):
        described = architecture(described, **options)
    elif options:
        raise UserError(f"a description takes no options; given {', '.join(options)}")
    graph = described.define(KerasLayers(), num_classes=num_classes, channels=channels, include_top=include_top)
    network = Network(graph.images, graph.output, name=described.name.replace("-", "_"))
    known = {layer.name for layer in network.layers}  # some maps of a given backbone may lead to no output
    names = {level: output._keras_history.operation.name for level, output in graph.levels.items()}
    network.levels = {level: name for level, name in names.items() if name in known}
    if described.weights == "imagenet":
        published = ALL_BACKBONES[described.name]
        if (described.mean, described.std) != (published.mean, published.std):
            raise UserError('weights "imagenet" have their own preprocessing; omit mean and std')
    report = initialize(network, described)
    # Without a classifier, additional variables of the source are expected.
    if report is not None and any(include_top or skipped.shape_here is not None for skipped in report.skipped):
        warnings.warn(printable(f"{described.weights}: {report}"), stacklevel=2)
    return network


def initialize(network: Network, described: Architecture) -> LoadReport | None:
    """Load the initial weights of a description, if it has any.

    Args:
        network: a network that consists of or contains the described one.
        described: with `weights`: "imagenet" (published weights: EfficientNet-Lite0 to Lite2 from installed packages,
            the others downloaded by keras.applications), or the path of a `.weights.h5`, `.keras` or `.npz` file.

    Raises:
        UserError: weights that cannot be read or of which none match.
    """
    if described.weights is None:
        return None
    if described.weights == "imagenet":
        return load_imagenet(network, described.name)
    return load_weights(network, described.weights)


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
        weights: None (random, except for the backbone if its description has weights), or the path of a TensorFlow
            checkpoint of google/automl, or of any file that `load_weights` reads. A warning lists the variables that do
            not match, such as those of another number of classes.
        **options: of `detector`; only with a name.

    Returns:
        A functional model from (batch, height, width, channels) float32 in [0, 255] to a dictionary of the
        detector's outputs (see its class). Its `levels` are those of the neck, its `description` is the detector.

    Raises:
        UserError: unknown name or option, a value out of range, levels that the backbone lacks, or weights that cannot
            be read or of which none match.
    """
    if isinstance(described, str):
        described = detector(described, **options)
    elif options:
        raise UserError(f"a description takes no options; given {', '.join(options)}")
    allow_deep_graphs()
    graph = described.define(KerasLayers(), num_classes=num_classes, channels=channels)
    inputs = graph.images if graph.boxes is None else [graph.images, graph.boxes]
    network = Network(inputs, graph.output, name=described.name.replace("-", "_"))
    network.description = described
    network.levels = {level: output._keras_history.operation.name for level, output in graph.levels.items()}
    initialize(network, described.backbone)
    if weights is not None:
        report = load_weights(network, weights)
        if report.skipped:
            warnings.warn(printable(f"{weights}: {report}"), stacklevel=2)
    return network
