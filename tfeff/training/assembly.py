"""A network with its optimizer, its average and its compiled step; and a workshop that uses them again."""

import dataclasses
import json
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfeff import config
from tfeff.training import build
from tfeff.training.averaging import Average
from tfeff.training.step import Step


@dataclass(frozen=True, eq=False)
class Assembly:
    """What a run trains with, at the start of its training.

    Attributes:
        model: randomly initialised by the experiment's seed.
        optimizer: its slots empty.
        average: of the model's weights; None where the experiment wants none.
        step: the work on a batch; traced at its first call.
    """

    model: keras.Model
    optimizer: keras.optimizers.Optimizer
    average: Average | None
    step: Step


def assemble(settings: config.Experiment, record: dict[str, Any], strategy: tf.distribute.Strategy) -> Assembly:
    """Builds all parts anew under the present dtype policy.

    Args:
        settings: the experiment.
        record: the workdir's `dataset.json`.
        strategy: under whose scope.
    """
    with strategy.scope():
        model = build.model(settings, record)
        optimizer = build.optimizer(settings, model, strategy.num_replicas_in_sync)
        decay = settings.training.ema_decay
        average = Average(model, decay) if decay is not None else None
    return Assembly(model, optimizer, average, build.step(settings, model, strategy, optimizer, average))


class Workshop:
    """Assembles for many runs in one process, on one device.

    Runs that differ in seed, images, learning rate or schedule alone share one graph: it is traced and compiled for the
    first of them, which for a small network takes longer than training it, and only its variables are set anew for the
    others. A run gives the same bits either way.

    Args:
        size: graphs that are kept, the last used ones.
    """

    def __init__(self, size: int = 2) -> None:
        self._size = size
        self._kept: OrderedDict[str, tuple[Assembly, list[np.ndarray]]] = OrderedDict()

    def assemble(
        self, settings: config.Experiment, record: dict[str, Any], strategy: tf.distribute.Strategy
    ) -> Assembly:
        """As the function of that name; the parts are the workshop's until its next call for such a network."""
        key = _key(settings, record)
        if key in self._kept:
            self._kept.move_to_end(key)
            assembly, slots = self._kept[key]
            fresh = build.model(settings, record)
            for old, new in zip(assembly.model.variables, fresh.variables, strict=True):
                old.assign(new)
            for slot, value in zip(assembly.optimizer.variables, slots, strict=True):
                slot.assign(value)
            if assembly.average is not None:
                assembly.average.restart()
            return assembly
        while len(self._kept) >= self._size:
            self._kept.popitem(last=False)
        assembly = assemble(settings, record, strategy)
        self._kept[key] = assembly, [np.array(slot) for slot in assembly.optimizer.variables]
        return assembly


def _key(settings: config.Experiment, record: dict[str, Any]) -> str:
    """What a graph depends on."""
    training = dataclasses.replace(settings.training, epochs=1, checkpoint_seconds=1.0, validation_epochs=1)
    parts = {
        "task": dataclasses.asdict(settings.task),
        "model": dataclasses.asdict(settings.model),
        "channels": settings.data.channels,
        "classes": len(record["class_names"]),
        "preprocessing": [record["mean"], record["std"]],
        "optimizer": dataclasses.asdict(dataclasses.replace(settings.optimizer, learning_rate=1.0)),
        "training": dataclasses.asdict(training),
        "policy": keras.mixed_precision.dtype_policy().name,
    }
    return json.dumps(parts, sort_keys=True)
