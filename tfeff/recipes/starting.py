"""The network that a run starts from decides what is built: that of an earlier run, or of published COCO weights."""

from collections.abc import Set
from pathlib import Path

from tfeff import config
from tfeff.config import Choice, Choices, Experiment, TaskSettings
from tfeff.errors import UserError
from tfeff.networks import Architecture, architecture
from tfeff.networks.catalog import ALL_DETECTORS

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


def backbone(run: Experiment, settings: Experiment) -> Choices:
    """Returns the backbone of the run that `settings` start from, by key of the section `model`."""
    why = f"the network of {settings.model.weights}"
    if run.task.IS_DETECTOR and run.task.name != settings.task.name:
        why = f"the backbone of {settings.model.weights}; its other layers are those of task.name={run.task.name}"
    return {"resolution": Choice(run.model.resolution, why), **differing(run.model, why)}


def layers(run: Experiment, settings: Experiment, kept: Set[str]) -> Choices:
    """Returns which other layers the run that `settings` start from had, and how it fitted images, by dotted key.

    The aspect of the input is left out, as it is that of the images. Empty if the run had another task, or if another
    published detector is set.
    """
    if run.task.name != settings.task.name:
        return {}
    changed = {f"task.{key}": value for key, _, value in config.differences(settings.task, run.task)}
    if "task.network.name" in kept & changed.keys():
        return {}
    return {
        key: Choice(value, f"the network of {settings.model.weights}")
        for key, value in changed.items()
        if key.startswith(LAYERS) and key != "task.network.aspect"
    }


def published(task: TaskSettings) -> Choices:
    """Returns the backbone of a detector's COCO weights, by key of the section `model`.

    Raises:
        UserError: there are no such weights.
    """
    from tfeff.models.weights.coco import URLS

    name = config.flatten(task).get("network.name")
    if name not in URLS:
        raise UserError(
            f"config: model.weights: there are no COCO weights of {name or task.name}; set task.name=efficientdet or "
            "task.name=faster_rcnn, or model.weights=imagenet"
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
