"""A network with its optimizer, weight average and compiled step; and a cache of them for several runs."""

import dataclasses
import json
from collections import OrderedDict
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from tfeff.config.section import to_dict
from tfeff.training import averaging
from tfeff.training.averaging import Average
from tfeff.training.features import split
from tfeff.training.plan import Plan
from tfeff.training.step import Step
from tfeff.training.teachers import taught

UNTRACED = (
    *("epochs", "checkpoint_seconds", "validation_epochs"),
    *("keep", "monitor", "early_stopping_epochs", "minimum_change"),
)
"""Settings of the training that the graph does not depend on."""


@dataclass(frozen=True, eq=False)
class Assembly:
    """The trainable parts of a run, as at the start of training.

    Attributes:
        model: randomly initialized with the experiment's seed.
        optimizer: the optimizer, with fresh slot variables.
        average: moving average of the model's weights, if `averaging.wanted` asks for one; else None.
        step: compiled training and evaluation steps; traced on the first call.
        features: the frozen part of the model, if the step takes its output; else None.
    """

    model: keras.Model
    optimizer: keras.optimizers.Optimizer
    average: Average | None
    step: Step
    features: keras.Model | None = None


def assemble(plan: Plan, strategy: tf.distribute.Strategy) -> Assembly:
    """Builds all parts under the current dtype policy.

    Args:
        plan: the run's plan, completed from the training images.
        strategy: the distribution strategy.
    """
    with strategy.scope():
        model = plan.build_network()
        optimizer = plan.build_optimizer(model)
        averages, decay = averaging.wanted(plan.training)
        average = Average(model, decay) if averages else None
        features, rest = None, None if plan.task.stored is None else plan.task.stored.part(model)
        if plan.training.feature_variants is not None:
            features, rest = split(model) or (None, None)
        task = taught(plan, model)
    step = plan.build_step(model, optimizer, strategy, average, rest, task)
    return Assembly(model, optimizer, average, step, features)


class AssemblyCache:
    """Assemblies to reuse for many runs in one process, on one device.

    Runs that differ only in seed, images, learning rate, schedule or the choice of the best epoch share one graph. It
    is traced and compiled once, which for a small network takes longer than training it; for each further run only the
    variables are reset. Results are bit-identical to those of a new assembly.

    Args:
        size: number of assemblies to keep; the least recently used are dropped.
    """

    def __init__(self, size: int = 2) -> None:
        self._size = size
        self._assemblies: OrderedDict[str, tuple[Assembly, list[np.ndarray]]] = OrderedDict()

    def assemble(self, plan: Plan, strategy: tf.distribute.Strategy) -> Assembly:
        """Does what the function `assemble` does. The assembly may be reused, and then reset, by the next call."""
        key = _graph_key(plan)
        if key in self._assemblies:
            self._assemblies.move_to_end(key)
            assembly, slots = self._assemblies[key]
            fresh = plan.build_network()
            for old, new in zip(assembly.model.variables, fresh.variables, strict=True):
                old.assign(new)
            for slot, value in zip(assembly.optimizer.variables, slots, strict=True):
                slot.assign(value)
            if assembly.average is not None:
                assembly.average.restart()
            if assembly.step.resolutions is not None:
                assembly.step.resolutions.seed = plan.settings.seed
            if assembly.step.ranges is not None:
                assembly.step.ranges.assign(tf.zeros_like(assembly.step.ranges))
            return assembly
        while len(self._assemblies) >= self._size:
            self._assemblies.popitem(last=False)
        assembly = assemble(plan, strategy)
        self._assemblies[key] = assembly, [np.array(slot) for slot in assembly.optimizer.variables]
        return assembly


def _graph_key(plan: Plan) -> str:
    """Returns everything that the graph depends on, as text."""
    settings, training = plan.settings, to_dict(plan.training)
    for key in UNTRACED:
        del training[key]
    parts = {
        "task": to_dict(settings.task),
        "model": to_dict(settings.model),
        "network": repr(plan.network),  # with what it takes from the training images
        "channels": settings.data.channels,
        "classes": plan.class_names if settings.task.teachers else plan.num_classes,
        "optimizer": to_dict(dataclasses.replace(settings.optimizer, learning_rate=1.0)),
        "training": training,
        "policy": keras.mixed_precision.dtype_policy().name,
    }
    return json.dumps(parts, sort_keys=True)
