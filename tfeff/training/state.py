"""Everything that a run must remember to go on as if it had never stopped."""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from tfeff.errors import UserError
from tfeff.models.layers import preprocessing
from tfeff.models.weights.files import PREPROCESSING_MEAN, PREPROCESSING_STD
from tfeff.training.averaging import Average
from tfeff.training.schedules import Schedule
from tfeff.training.stopping import EarlyStopping


@dataclass
class State:
    """A run at a step.

    The random state of dropout and stochastic depth lies in the model's seed generators; that of shuffling and
    augmentation is a function of (seed, epoch, example), so that `step` alone brings it back.
    """

    model: keras.Model
    optimizer: keras.optimizers.Optimizer
    average: Average | None
    schedule: Schedule
    stopping: EarlyStopping
    precision: str
    sums: np.ndarray
    """`Task.sums` of the epoch so far."""
    step: int = 0
    seconds: float = 0.0
    """Training time of the epoch so far."""
    waited: float = 0.0
    """Of which spent waiting for input."""

    def weights(self) -> dict[str, np.ndarray]:
        """The weights that evaluation uses, `model/<path>` (the average where there is one), and the preprocessing."""
        values = self.average.variables if self.average else [weight.value for weight in self.model.weights]
        named = {
            f"model/{weight.path}": value.numpy() for weight, value in zip(self.model.weights, values, strict=True)
        }
        mean, std = preprocessing.statistics(self.model.get_layer(preprocessing.STANDARDIZATION))
        return named | {PREPROCESSING_MEAN: np.array(mean), PREPROCESSING_STD: np.array(std)}

    def arrays(self) -> dict[str, np.ndarray]:
        """All variables by name."""
        return {name: variable.numpy() for name, variable in self._variables().items()}

    def record(self) -> dict[str, Any]:
        """All that is not an array, JSON-ready."""
        return {
            "step": self.step,
            "sums": self.sums.tolist(),
            "seconds": self.seconds,
            "waited": self.waited,
            "precision": self.precision,
            "schedule": self.schedule.state(),
            "stopping": self.stopping.state(),
        }

    def restore(self, arrays: dict[str, np.ndarray], record: dict[str, Any]) -> None:
        """Takes back what `arrays` and `record` gave.

        Raises:
            UserError: when the checkpoint is of another network or optimizer.
        """
        variables = self._variables()
        there, here = ({name: tuple(value.shape) for name, value in side.items()} for side in (arrays, variables))
        if there != here:
            odd = sorted(name for name in there.keys() | here.keys() if there.get(name) != here.get(name))
            raise UserError(
                f"the checkpoint is of another network or optimizer: {odd[0]} and {len(odd) - 1} others differ"
            )
        for name, variable in variables.items():
            variable.assign(arrays[name])
        self.step = record["step"]
        self.sums = np.array(record["sums"])
        self.seconds, self.waited = record["seconds"], record["waited"]
        self.schedule.restore(record["schedule"])
        self.stopping.restore(record["stopping"])

    def _variables(self) -> dict[str, Any]:
        weights = self.model.weights
        named = {f"model/{weight.path}": weight.value for weight in weights}
        known = {id(weight) for weight in weights}
        seeds = [variable for variable in self.model.variables if id(variable) not in known]
        # Keras numbers the names of seed generators and optimizer slots through the process: the order is what stays.
        named |= {f"seed/{index:04d}": seed.value for index, seed in enumerate(seeds)}
        named |= {f"optimizer/{index:04d}": slot.value for index, slot in enumerate(self.optimizer.variables)}
        if self.average is not None:
            named |= {
                f"average/{weight.path}": mean for weight, mean in zip(weights, self.average.variables, strict=True)
            }
        return named
