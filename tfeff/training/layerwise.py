"""Learning-rate factors and weight decay by variable, for every Keras optimizer."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops


class Layerwise(keras.optimizers.Optimizer):
    """Mixed into a Keras optimizer (`class SGD(Layerwise, keras.optimizers.SGD)`), it scales the learning rate and
    decays the weights of each variable.

    Keras calls `update_step` once for each variable, with its gradient of the whole batch: after unscaling, clipping
    and the sum over replicas. Keras' own weight decay has one learning rate for all variables, so it stays off.

    Args:
        factors: on the learning rate, in the order of the variables for which the optimizer is built.
        decays: weight decays, in the same order; 0 for none.
        l2: add decay × variable to the gradient (an L2 penalty, as in PyTorch's `weight_decay`) instead of subtracting
            learning rate × decay × variable from the variable (decoupled, Loshchilov & Hutter, arXiv:1711.05101).
        settings: of the Keras optimizer.
    """

    def __init__(self, *, factors: Sequence[float], decays: Sequence[float], l2: bool, **settings: Any) -> None:
        super().__init__(**settings)
        self.factors, self.decays, self.l2 = factors, decays, l2

    def update_step(
        self, gradient: keras.KerasTensor, variable: keras.Variable, learning_rate: keras.KerasTensor
    ) -> None:
        """Updates one variable."""
        index = self._get_variable_index(variable)
        rate, decay = ops.cast(learning_rate, variable.dtype) * self.factors[index], self.decays[index]
        if decay and self.l2:
            gradient = gradient + variable * decay
        elif decay:
            self.assign_sub(variable, variable * decay * rate)
        super().update_step(gradient, variable, rate)
