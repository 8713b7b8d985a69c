"""Construction of networks by name, or from their descriptions."""

import dataclasses
import re
import warnings
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tfeff.errors import UserError, printable
from tfeff.models.bar import bar
from tfeff.models.inheritance.inherit import Inheritance, inherit
from tfeff.models.inheritance.plan import is_prediction
from tfeff.models.layers.kinds import KerasLayers
from tfeff.models.network import Network, allow_deep_graphs, in_policy, levels_of, seeded, standardization
from tfeff.models.weights.classes import Classes, named
from tfeff.models.weights.coco import CLASS_NAMES, COCO, load_coco, published_detector, weights_file
from tfeff.models.weights.imagenet import load_imagenet
from tfeff.models.weights.loading import LoadReport, adopt_preprocessing, assign, classes_of, load_weights
from tfeff.networks.backbones.architecture import Architecture, require_same_layers
from tfeff.networks.catalog import ALL_BACKBONES, architecture, detector, published
from tfeff.networks.detectors.detector import NECK_AND_HEADS, Detector, different
from tfeff.networks.detectors.rcnn import RCNN, FasterRCNN
from tfeff.networks.detectors.yolo import Yolo
from tfeff.networks.heads import CLASSIFIER


def build(
    described: str | Architecture,
    *,
    num_classes: int = 1000,
    channels: int = 3,
    include_top: bool = True,
    images: np.ndarray | None = None,
    **options: Any,
) -> Network:
    """Builds a network. Its input is raw pixels; preprocessing is part of the network.

    Args:
        described: one of `names()`, or a description.
        num_classes: outputs of the classifier.
        channels: 3 (RGB) or 1 (gray).
        include_top: False omits pooling and classifier; the output is the last feature map.
        images: (n, resolution, resolution, channels) in [0, 255], about 100, without labels. A network that inherits
            `weights` from one with more channels or blocks is fitted to what that one computes on them. None: drawn
            ones, with which more is lost.
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
    network = Network(graph.images, graph.output, name=_name(described))
    network.levels = levels_of(network, graph)
    with bar("inheriting weights") as progress:
        report = initialize(network, described, images, progress=progress)
    # Without a classifier, additional variables of the source are expected.
    if isinstance(report, LoadReport) and any(include_top or each.shape_here is not None for each in report.skipped):
        warnings.warn(printable(f"{described.weights}: {report}"), stacklevel=2)
    return network


def _name(described: Architecture | Detector) -> str:
    """Returns the name of the Keras model; those of presets may contain any characters."""
    return re.sub(r"[^\w.]", "_", described.name)


@dataclass(frozen=True)
class Trained:
    """The network that a weights file was trained in.

    Attributes:
        network: its description.
        num_classes: number of classes, without background.
        class_names: names of its classes in the order of its outputs, if they are known.
    """

    network: Architecture | Detector | RCNN
    num_classes: int
    class_names: tuple[str, ...] | None = None


# Inheritances of this process: a training whose layers are chosen by a probe needs the same one twice, and the trials
# of a sweep on one fold share one.
_RECENT: dict[Any, tuple[Inheritance, dict[str, np.ndarray], tuple[tuple[float, ...], tuple[float, ...]]]] = {}
_KEPT = 4


def initialize(
    network: Network,
    described: Architecture,
    images: np.ndarray | Callable[[], np.ndarray | None] | None = None,
    *,
    trained: Trained | None = None,
    num_classes: int | None = None,
    class_names: Sequence[str] | None = None,
    progress: Callable[[int, int], None] = lambda _, __: None,
) -> LoadReport | Inheritance | None:
    """Loads the initial weights of a description, if it has any.

    If the network has another depth or width than the one that the weights were trained in, it inherits them
    (`inheritance.inherit`): all of a detector from one of the same kind, without predictions if the anchors differ, and
    otherwise the backbone.

    Args:
        network: a network that consists of or contains the described one.
        described: the description. Its `weights` are "coco" (those of the published detector that a detector is or
            derives from), "imagenet" or the name of a published network (EfficientNet-Lite0 to Lite2 from installed
            packages, the others downloaded), or the path of a `.weights.h5`, `.keras` or `.npz` file.
        images: images for `inheritance.inherit`, or a function that returns them, called only if they are used.
        trained: the network that the file was trained in, if it is known.
        num_classes: number of classes, if the network is a detector whose neck and heads may inherit, too.
        class_names: the network's class names. Outputs for classes that `trained` has, too, are kept. If either's names
            are unknown, all outputs are kept, provided that their number is the same.
        progress: called during inheritance with the number of parts done and their total.

    Raises:
        UserError: weights that cannot be read or of which none match, or of a network with other layers; published
            weights, and a `mean` or `std` of the description's own.
    """
    if described.weights is None:
        return None
    origin, coco = published(described), None
    if origin is not None:
        trained = Trained(origin, 1000)
    elif described.weights == COCO:
        coco = published_detector(_detector_of(network, described))
        trained = Trained(coco, len(CLASS_NAMES), CLASS_NAMES)
        num_classes = num_classes or 1
    if trained is not None and (origin or coco):
        usual = ALL_BACKBONES.get(described.name, trained.network.backbone)
        if (described.mean, described.std) != (usual.mean, usual.std):
            raise UserError(f'weights "{described.weights}" have their own preprocessing; omit mean and std')
    names = named(class_names, trained.class_names if trained else None)
    if trained is not None:
        require_same_layers(described, trained.network.backbone)
        wanted: Architecture | Detector = described
        source: Architecture | Detector = trained.network.backbone
        reason: str | None = None
        predictions: str | None = None
        own = network.description if num_classes is not None else None
        if isinstance(own, Detector) and isinstance(trained.network, Detector):
            whole = _alike(trained.network, own)
            reason = different(whole, own)
            if reason is None:
                source, wanted = whole, dataclasses.replace(own, backbone=described)
                predictions = own.other_predictions(whole)
        if reason or predictions or _shape(source) != _shape(wanted):
            weights = str(weights_file(coco.name)) if coco else "imagenet" if origin else described.weights
            source = _fitting(source, wanted, weights)
            some = images() if callable(images) else images
            classes = num_classes or 1, trained.num_classes
            if isinstance(source, Architecture):
                classes = _classes(network), _trained_classes(source)
                if names is not None and classes[1] != len(names.there):  # the source has no classifier
                    names = None
                some = None if some is None else _square(some)
            report = _inherited(network, wanted, source, classes, some, progress, names)
            return report if reason is None else dataclasses.replace(report, other=reason)
    if origin is not None:
        return load_imagenet(network, origin.name)
    if coco is not None:
        return load_coco(network, coco.name, names)
    return load_weights(network, described.weights, classes=names)


def _alike(source: Detector, wanted: Detector) -> Detector:
    """Returns the source with what another detector has and no weight depends on.

    Heads for training load as copies (`assign`), and a pooled level is read by the convolutions of the others.
    """
    if isinstance(source, Yolo) and isinstance(wanted, Yolo):
        return dataclasses.replace(source, end_to_end=wanted.end_to_end)
    if isinstance(source, FasterRCNN) and isinstance(wanted, FasterRCNN):
        return dataclasses.replace(source, pooled_level=wanted.pooled_level)
    return source


def _detector_of(network: Network, backbone: Architecture) -> Detector:
    """Returns the description of a network with a backbone.

    Raises:
        UserError: it is no detector.
    """
    if not isinstance(network.description, Detector):
        raise UserError(f'weights "{COCO}" are those of detectors, not of {backbone.name} alone')
    return dataclasses.replace(network.description, backbone=backbone)


def _square(images: np.ndarray) -> np.ndarray:
    """Returns images for a backbone alone, which takes square ones: mirrored at the borders of the shorter side."""
    side = max(images.shape[1:3])
    height, width = (side - each for each in images.shape[1:3])
    return np.pad(images, ((0, 0), (0, height), (0, width), (0, 0)), mode="symmetric")


def _shape(described: Architecture | Detector) -> tuple[Any, ...]:
    """Returns the depths and widths of a network, and what those of its stem, head and groups follow from."""
    backbone = described.backbone
    others = backbone.width_coefficient, getattr(backbone, "fixed_ends", False), getattr(backbone, "groups", ())
    return backbone.blocks, backbone.widths, others, described.neck_sizes, getattr(described, "hidden", ())


def _fitting(
    source: Architecture | Detector, wanted: Architecture | Detector, weights: str | None
) -> Architecture | Detector:
    """Returns the description of the source with its weights, for the same images as the network that is wanted.

    It has the same layers that only training uses: one network with and one without them would not be copied exactly.
    """
    alike = {
        key: getattr(wanted.backbone, key)
        for key in ("resolution", "dropout", "survival_probability")
        if hasattr(source.backbone, key)
    }
    backbone = dataclasses.replace(source.backbone, weights=weights, **alike)
    if not isinstance(source, Detector) or not isinstance(wanted, Detector):
        return backbone
    return dataclasses.replace(source, backbone=backbone, aspect=wanted.aspect)


def _inherited(
    network: Network,
    described: Architecture | Detector,
    source: Architecture | Detector,
    classes: tuple[int, int],
    images: np.ndarray | None,
    progress: Callable[[int, int], None],
    names: Classes | None,
) -> Inheritance:
    """Lets a network, which can have other parts, too, inherit the weights of another one of its family."""
    if names is not None:  # the outputs of all classes are inherited, and those of shared ones used
        classes = len(names.there), len(names.there)
    channels = network.inputs[0].shape[-1]
    file = Path(str(source.backbone.weights))
    written = file.stat().st_mtime_ns if file.is_file() else None
    key = (source, written, described, channels, classes, None if images is None else zlib.crc32(images.tobytes()))
    if key not in _RECENT:
        with in_policy("float32"), seeded(0):
            theirs = _built(source, classes[1], channels)
            statistics = standardization(theirs)
            assert statistics is not None
            mean, std = statistics
            backbone = dataclasses.replace(described.backbone, weights=None, mean=mean, std=std)
            if isinstance(described, Detector):
                heir = _built(dataclasses.replace(described, backbone=backbone), classes[0], channels)
            else:
                heir = _built(backbone, classes[0], channels)
            report = inherit(theirs, heir, images, progress=progress)
        while len(_RECENT) >= _KEPT:
            del _RECENT[next(iter(_RECENT))]
        arrays = {  # new predictions stay as they are; new blocks are the identity
            weight.path: keras.ops.convert_to_numpy(weight)
            for weight in heir.weights
            if not (weight.path in report.new and is_prediction(weight.path.rpartition("/")[0]))
        }
        _RECENT[key] = report, arrays, statistics
    report, arrays, statistics = _RECENT[key]
    arrays = dict(arrays)
    adopt_preprocessing(network, arrays, *statistics)
    loaded = assign(network, arrays, source.name, names)
    report = dataclasses.replace(report, loaded=loaded.loaded)
    if names is None:
        return report
    new = [each.name for each in loaded.skipped if names.has_outputs(each.name) and each.shape_here]
    kept = None if loaded.classes is None else str(loaded.classes)
    return dataclasses.replace(report, new=tuple(dict.fromkeys((*report.new, *new))), classes=kept)


def _built(described: Architecture | Detector, num_classes: int, channels: int) -> Network:
    """Returns a network with its weights."""
    if isinstance(described, Architecture):
        return build(described, num_classes=num_classes, channels=channels)
    weights, backbone = described.backbone.weights, dataclasses.replace(described.backbone, weights=None)
    described = dataclasses.replace(described, backbone=backbone)
    return build_detector(described, num_classes=num_classes, channels=channels, weights=weights)


def _trained_classes(source: Architecture) -> int:
    """Returns the number of outputs of the classifier that a source was trained with; 1 if it is no classifier."""
    if source.weights == "imagenet":
        return 1000
    return classes_of(Path(str(source.weights))) or 1


def _classes(network: Network) -> int:
    """Returns the number of outputs of a network's classifier; 1 if it has none."""
    return next((layer.units for layer in network.layers if layer.name == CLASSIFIER), 1)


def build_detector(
    described: str | Detector,
    *,
    num_classes: int,
    channels: int = 3,
    weights: str | None = None,
    **options: Any,
) -> Network:
    """Builds a detector. Its input is raw pixels; preprocessing is part of the network.

    Args:
        described: one of `detector_names()`, or a description.
        num_classes: number of classes, without background.
        channels: 3 (RGB) or 1 (gray).
        weights: None (random, except for the backbone if its description has weights); "coco" (see `initialize`; with
            90 classes, these are COCO's categories by id); or the path of a TensorFlow checkpoint of google/automl, or
            of any file that `load_weights` reads. A warning lists the variables that do not match, such as those of
            another number of classes; with None, those of the backbone.
        **options: arguments of `detector`; only with a name.

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
    network = Network(inputs, graph.output, name=_name(described))
    network.description = described
    network.levels = levels_of(network, graph)
    if weights == COCO:
        backbone = dataclasses.replace(described.backbone, weights=COCO)
        names = CLASS_NAMES if num_classes == len(CLASS_NAMES) else ()
        report = initialize(network, backbone, num_classes=num_classes, class_names=names)
    else:
        report = initialize(network, described.backbone)
        if weights is not None:
            report = load_weights(network, weights)
        elif isinstance(report, LoadReport):
            skipped = [each for each in report.skipped if each.shape_here and not each.name.startswith(NECK_AND_HEADS)]
            report = dataclasses.replace(report, skipped=tuple(skipped))
    if isinstance(report, LoadReport):
        incomplete = bool(report.skipped)
    else:
        incomplete = report is not None and bool(report.other or report.predictions)
    if incomplete:
        warnings.warn(printable(f"{weights or described.backbone.weights}: {report}"), stacklevel=2)
    return network
