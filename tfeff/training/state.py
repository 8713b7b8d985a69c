"""The complete state of a run, for bit-exact resuming."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfeff.errors import UserError
from tfeff.models.network import standardization
from tfeff.models.weights.loading import (
    AVERAGE_PREFIX,
    CHECKPOINT_PREFIX,
    PREPROCESSING_MEAN,
    PREPROCESSING_STD,
    evaluated_prefix,
)
from tfeff.training.averaging import Average
from tfeff.training.schedules import LearningRate
from tfeff.training.stopping import EarlyStopping


@dataclass
class State:
    """The state of a run at a step.

    The random state of dropout and stochastic depth is in the model's seed generators. Shuffling and augmentation are
    functions of (seed, epoch, example), so `step` determines them.
    """

    model: keras.Model
    optimizer: keras.optimizers.Optimizer
    average: Average | None
    schedule: LearningRate
    stopping: EarlyStopping
    precision: str
    ranges: tf.Variable | None
    """Value ranges of the feature maps of a quantized network, see `Quantized`."""
    sums: np.ndarray
    """Totals and counts of the current epoch, in the order of `Task.names`."""
    steps_per_epoch: int
    step: int = 0
    seconds: float = 0.0
    """Training time in the current epoch."""
    waited: float = 0.0
    """The part of it spent waiting for input."""
    pending: bool = False
    """Whether the last epoch still needs its validation and its metrics."""

    def weights(self) -> dict[str, np.ndarray]:
        """Returns copies of the weights for evaluation (averaged if there is an average), as `model/<path>`, and the
        normalization statistics of a network that takes images."""
        values = self.average.variables if self.average else [weight.value for weight in self.model.weights]
        named = {
            CHECKPOINT_PREFIX + weight.path: value.numpy()
            for weight, value in zip(self.model.weights, values, strict=True)
        }
        return named | self._preprocessing()

    def arrays(self) -> dict[str, np.ndarray]:
        """Returns copies of all variables by name, and the normalization statistics as in `weights`."""
        return {name: variable.numpy() for name, variable in self._variables().items()} | self._preprocessing()

    def _preprocessing(self) -> dict[str, np.ndarray]:
        statistics = standardization(self.model)
        if statistics is None:
            return {}
        mean, std = statistics
        return {PREPROCESSING_MEAN: np.array(mean), PREPROCESSING_STD: np.array(std)}

    def record(self) -> dict[str, Any]:
        """Returns everything that is not an array, JSON-serializable."""
        return {
            "step": self.step,
            "steps_per_epoch": self.steps_per_epoch,
            "sums": self.sums.tolist(),
            "seconds": self.seconds,
            "waited": self.waited,
            "pending": self.pending,
            "precision": self.precision,
            "schedule": self.schedule.state(),
            "stopping": self.stopping.state(),
        }

    def restore(self, arrays: dict[str, np.ndarray], record: dict[str, Any], *, fresh_optimizer: bool = False) -> None:
        """Restores what `arrays` and `record` returned, all but the optimizer's variables if it starts again.

        Raises:
            UserError: if the checkpoint belongs to another network or optimizer.
        """
        variables = self._variables()
        arrays = {name: value for name, value in arrays.items() if name not in (PREPROCESSING_MEAN, PREPROCESSING_STD)}
        if fresh_optimizer:
            arrays, variables = (
                {name: value for name, value in side.items() if not name.startswith("optimizer/")}
                for side in (arrays, variables)
            )
        saved, own = ({name: tuple(value.shape) for name, value in side.items()} for side in (arrays, variables))
        if saved != own:
            differing = sorted(name for name in saved.keys() | own.keys() if saved.get(name) != own.get(name))
            raise UserError(
                f"the checkpoint belongs to another network or optimizer: {differing[0]} and {len(differing) - 1} "
                "other variables differ"
            )
        for name, variable in variables.items():
            variable.assign(arrays[name])
        self.step = record["step"]
        self.sums = np.array(record["sums"])
        self.seconds, self.waited = record["seconds"], record["waited"]
        self.pending = record.get("pending", False)
        self.schedule.restore(record["schedule"])
        self.stopping.restore(record["stopping"])

    def _variables(self) -> dict[str, Any]:
        weights = self.model.weights
        named = {CHECKPOINT_PREFIX + weight.path: weight.value for weight in weights}
        known = {id(weight) for weight in weights}
        seeds = [variable for variable in self.model.variables if id(variable) not in known]
        # The names of seed generators and optimizer slots depend on what else the process built; their order does not.
        named |= {f"seed/{index:04d}": seed.value for index, seed in enumerate(seeds)}
        named |= {f"optimizer/{index:04d}": slot.value for index, slot in enumerate(self.optimizer.variables)}
        if self.ranges is not None:
            named["ranges"] = self.ranges
        if self.average is not None:
            named |= {
                AVERAGE_PREFIX + weight.path: mean for weight, mean in zip(weights, self.average.variables, strict=True)
            }
        return named


def weights_for_evaluation(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns the weights for evaluation (averaged if there is an average) among `State.arrays`, by path."""
    prefix = evaluated_prefix(arrays)
    return {name.removeprefix(prefix): each for name, each in arrays.items() if name.startswith(prefix)}
