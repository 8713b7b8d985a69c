"""A network with its optimizer, weight average and compiled step; and a cache of them for several runs."""

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
from tfeff.training.features import split
from tfeff.training.step import Step


@dataclass(frozen=True, eq=False)
class Assembly:
    """The trainable parts of a run, as at the start of training.

    Attributes:
        model: randomly initialized with the experiment's seed.
        optimizer: with fresh slot variables.
        average: of the model's weights, if `build.averaging` asks for one.
        step: compiled training and evaluation steps; traced on the first call.
        features: the frozen part of the model, if the step takes its output; else None.
    """

    model: keras.Model
    optimizer: keras.optimizers.Optimizer
    average: Average | None
    step: Step
    features: keras.Model | None = None


def assemble(settings: config.Experiment, record: dict[str, Any], strategy: tf.distribute.Strategy) -> Assembly:
    """Builds all parts under the current dtype policy.

    Args:
        settings: the experiment.
        record: the workdir's `dataset.json`.
        strategy: the distribution strategy.
    """
    with strategy.scope():
        model = build.model(settings, record)
        optimizer = build.optimizer(settings, model, strategy.num_replicas_in_sync)
        averages, decay = build.averaging(settings)
        average = Average(model, decay) if averages else None
        features, rest = None, None
        if settings.training.feature_variants is not None:
            features, rest = split(model) or (None, None)
    step = build.step(settings, model, strategy, optimizer, average, rest)
    return Assembly(model, optimizer, average, step, features)


class AssemblyCache:
    """Reuses assemblies for many runs in one process, on one device.

    Runs that differ only in seed, images, learning rate or schedule share one graph. It is traced and compiled once,
    which for a small network takes longer than training it; for each further run only the variables are reset. Results
    are bit-identical to those of a new assembly.

    Args:
        size: number of assemblies to keep; the least recently used are dropped.
    """

    def __init__(self, size: int = 2) -> None:
        self._size = size
        self._assemblies: OrderedDict[str, tuple[Assembly, list[np.ndarray]]] = OrderedDict()

    def assemble(
        self, settings: config.Experiment, record: dict[str, Any], strategy: tf.distribute.Strategy
    ) -> Assembly:
        """Like the function `assemble`. The assembly may be reused, and then reset, by the next call."""
        key = _graph_key(settings, record)
        if key in self._assemblies:
            self._assemblies.move_to_end(key)
            assembly, slots = self._assemblies[key]
            fresh = build.model(settings, record)
            for old, new in zip(assembly.model.variables, fresh.variables, strict=True):
                old.assign(new)
            for slot, value in zip(assembly.optimizer.variables, slots, strict=True):
                slot.assign(value)
            if assembly.average is not None:
                assembly.average.restart()
            return assembly
        while len(self._assemblies) >= self._size:
            self._assemblies.popitem(last=False)
        assembly = assemble(settings, record, strategy)
        self._assemblies[key] = assembly, [np.array(slot) for slot in assembly.optimizer.variables]
        return assembly


def _graph_key(settings: config.Experiment, record: dict[str, Any]) -> str:
    """Everything that the graph depends on, as text."""
    training = dataclasses.asdict(settings.training)
    for key in ("epochs", "checkpoint_seconds", "validation_epochs"):
        del training[key]
    parts = {
        "task": dataclasses.asdict(settings.task),
        "model": dataclasses.asdict(settings.model),
        "channels": settings.data.channels,
        "classes": len(record["class_names"]),
        "preprocessing": [record["mean"], record["std"]],
        "options": record.get("options", {}),
        "optimizer": dataclasses.asdict(dataclasses.replace(settings.optimizer, learning_rate=1.0)),
        "training": training,
        "policy": keras.mixed_precision.dtype_policy().name,
    }
    return json.dumps(parts, sort_keys=True)
