"""The network that a run starts from decides what is built: that of an earlier run, or of published COCO weights."""

from collections.abc import Set
from pathlib import Path

from tfeff import config
from tfeff.config import Choice, Choices, Data, Experiment, TaskSettings
from tfeff.errors import UserError
from tfeff.networks import Architecture, architecture
from tfeff.networks.catalog import ALL_DETECTORS
from tfeff.recipes.rules import WarmStart

LAYERS = "task.network.", "task.stretch", "task.anchors_per_level"
"""Beginnings of the keys that decide which layers a detector has besides its backbone, and how images fit its input."""


def run_of(weights: str | None) -> Experiment | None:
    """Returns the config of the run that the weights come from; None if they are not those of a run."""
    if weights in (None, "imagenet", "coco"):
        return None
    workdir = Path(weights)
    if workdir.is_file() and workdir.absolute().parent.name == "checkpoints":
        workdir = workdir.absolute().parent.parent
    if not (workdir / config.RUN_FILE).is_file():
        return None
    return config.resolve_member(config.saved(workdir, Experiment))


def backbone(model: Architecture, task: TaskSettings, wanted: TaskSettings, weights: str | None) -> Choices:
    """Returns the backbone of a run with these `weights`, `model` and `task`, by key of the section `model`."""
    why = f"the network of {weights}"
    if task.IS_DETECTOR and task.name != wanted.name:
        why = f"the backbone of {weights}; its other layers are those of task.name={task.name}"
    return {"resolution": Choice(model.resolution, why), **differing(model, why)}


def layers(task: TaskSettings, wanted: TaskSettings, weights: str | None, kept: Set[str]) -> Choices:
    """Returns which other layers a run of the wanted task had, and how it fitted images, by dotted key.

    The aspect of the input is left out, as it is that of the images. Empty if the run had another task, or if another
    published detector or another head is set.
    """
    if task.name != wanted.name:
        return {}
    changed = {f"task.{key}": value for key, _, value in config.differences(wanted, task)}
    if {"task.network.name", "task.network.head"} & kept & changed.keys():
        return {}
    return {
        key: Choice(value, f"the network of {weights}")
        for key, value in changed.items()
        if key.startswith(LAYERS) and key != "task.network.aspect"
    }


def may_be_whole(weights: str | None, start: WarmStart, trained: str | None, task: str) -> bool:
    """Returns whether the weights may be those of a whole detector of this task, which predicts relative to its own
    anchors: COCO weights, a run of the task, or a file that is not a run's.

    Args:
        trained: name of the task of the run that they are of; None: they are not of a run.
        task: name of this task.
    """
    return start.kind == "file" and weights is not None and trained in (None, task)


def published(task: TaskSettings) -> Choices:
    """Returns the backbone of a detector's COCO weights, by key of the section `model`.

    Raises:
        UserError: there are no such weights.
    """
    from tfeff.models.weights.coco import URLS

    name = config.flatten(task).get("network.name")
    if name not in URLS:
        raise UserError(
            f"config: model.weights: there are no COCO weights of {name or task.name}; set task.name=efficientdet, "
            "retinanet or faster_rcnn, or model.weights=imagenet"
        )
    return differing(ALL_DETECTORS[name].backbone, "the backbone of the COCO weights")


def differing(network: Architecture, why: str) -> Choices:
    """Returns the name of a network, and what differs from the published one, by key of the section `model`."""
    values, defaults = (config.flatten(Experiment(model=each)) for each in (network, architecture(network.name)))
    return {
        key.removeprefix("model."): Choice(value, why)
        for key, value in values.items()
        if key == "model.name"
        or (key.startswith("model.") and key not in ("model.weights", "model.resolution") and value != defaults[key])
    }


def tile(data: Data) -> Choices:
    """Returns the tiles in which a run with this section was trained, by dotted key; none for whole images."""
    if data.tile is None:
        return {}
    why = "that of the run"
    return {"data.tile": Choice(data.tile, why), "data.tile_overlap": Choice(data.tile_overlap, why)}
