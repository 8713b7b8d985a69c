"""Keras optimizers with the settings that are usual for image models."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras
from keras import ops

from tfeff.training.freezing import matching

ADAM_RATE = 0.3
"""Learning rate of AdamW's variables / learning rate of Muon's."""


def is_kernel(variable: keras.Variable) -> bool:
    """Returns whether a variable multiplies and sums inputs, like Keras' `kernel` and `pointwise_kernel`.

    Others with several axes are factors of channels, slopes, positions or embeddings, which should not shrink.
    """
    return variable.name.endswith("kernel")


class ConvolutionMuon(keras.optimizers.Muon):
    """Muon (K. Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024) on convolution kernels.

    A kernel [h, w, in, out] is treated as a matrix [h * w * in, out], whose momentum is orthogonalized before each
    step. Steps are scaled as in arXiv:2502.16982, section 2.2, so learning rate and weight decay are of the same size
    as AdamW's. AdamW updates everything else (depthwise kernels, which mix no channels; the classifier; normalization;
    biases), with the learning rate times ADAM_RATE. Keras' Muon leaves all convolution kernels to AdamW.
    """

    def _should_use_adamw(self, variable: keras.Variable) -> bool:
        return not is_kernel(variable) or len(variable.shape) != 4 or variable.shape[-1] == 1

    def _muon_update_step(
        self, gradient: keras.KerasTensor, variable: keras.Variable, lr: keras.KerasTensor, m: keras.Variable
    ) -> None:
        self.assign_add(m, gradient + m * (self.momentum - 1))
        step = gradient + self.momentum * m if self.nesterov else m
        matrix = ops.reshape(step, (-1, variable.shape[-1]))
        matrix = self.lr_adjust(lr * self.zeropower_via_newtonschulz5(matrix, self.ns_steps))
        self.assign_sub(variable, ops.reshape(matrix, variable.shape))


class Layerwise(keras.optimizers.Optimizer):
    """Mixin for Keras optimizers that scales the learning rate and decays the weights of each variable.

    Use it as in `class SGD(Layerwise, keras.optimizers.SGD)`.

    Keras calls `update_step` once for each variable, with its gradient of the whole batch after unscaling and clipping.
    Gradients are given as sums over the replicas: Keras would clip those of each replica and sum them afterwards. Its
    own weight decay has one learning rate for all variables, so it stays off.

    Args:
        factors: factors on the learning rate, in the order of the variables for which the optimizer is built.
        decays: weight decays, in the same order; 0 for none.
        l2: add decay × variable to the gradient (an L2 penalty, as in PyTorch's `weight_decay`) instead of subtracting
            learning rate × decay × variable from the variable (decoupled, Loshchilov & Hutter, arXiv:1711.05101).
        settings: settings of the Keras optimizer.
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

    def _all_reduce_sum_gradients(self, grads_and_vars: Iterable[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
        return list(grads_and_vars)


def build(
    name: str,
    model: keras.Model,
    *,
    momentum: float = 0.9,
    nesterov: bool = True,
    decay: float = 0.9,
    beta_2: float = 0.999,
    epsilon: float | None = None,
    initial_accumulator: float = 0.0,
    weight_decay: float = 0.0,
    decay_biases: bool = False,
    l2: bool = False,
    learning_rate_factors: Sequence[tuple[str, float]] = (),
    later: Iterable[str] = (),
    rates: Mapping[str, float] = {},
    clip_norm: float | None = None,
    loss_scaling: bool = False,
) -> keras.optimizers.Optimizer:
    """Builds an optimizer for the trainable variables of `model`; the training loop sets the learning rate.

    Args:
        name: `sgd`, `rmsprop` (decay and momentum as in EfficientNet's training), `adamw` or `muon`.
        initial_accumulator: initial value of RMSProp's moving average of squared gradients.
        weight_decay: applied to the variables that `is_kernel` selects.
        decay_biases: apply it to biases, too.
        l2: apply the weight decay as an L2 penalty instead of decoupled, see `Layerwise`.
        learning_rate_factors: (pattern over variable paths, factor); the last matching pattern applies, and variables
            that match none have factor 1. See `freezing.matching`.
        later: paths of variables that are unfrozen later, which patterns may match, too.
        rates: further factors on the learning rate by path, which leave the weight decay as it is.
        clip_norm: maximum global norm of the gradient of the whole batch.
        loss_scaling: use dynamic loss scaling, for float16 (Micikevicius et al., arXiv:1710.03740).

    Raises:
        UserError: if a pattern matches no variable that is trained.
    """
    variables = model.trainable_variables

    def decays(variable: keras.Variable) -> bool:
        return is_kernel(variable) or (decay_biases and variable.name == "bias")

    factors = _factors([*(variable.path for variable in variables), *later], learning_rate_factors)
    shared: dict[str, Any] = {
        "learning_rate": 0.0,
        "global_clipnorm": clip_norm,
        "factors": [factors[each.path] * rates.get(each.path, 1.0) for each in variables],
        "decays": [weight_decay / rates.get(each.path, 1.0) if decays(each) else 0.0 for each in variables],
        "l2": l2,
    }
    optimizer: keras.optimizers.Optimizer
    if name == "sgd":
        optimizer = SGD(momentum=momentum, nesterov=nesterov and momentum > 0, **shared)
    elif name == "rmsprop":
        epsilon = 1e-3 if epsilon is None else epsilon
        optimizer = RMSprop(initial_accumulator, rho=decay, momentum=momentum, epsilon=epsilon, **shared)
    elif name == "muon":
        optimizer = Muon(
            momentum=momentum,
            nesterov=nesterov,
            adam_lr_ratio=ADAM_RATE,
            adam_beta_2=beta_2,
            epsilon=1e-7 if epsilon is None else epsilon,
            weight_decay=None,
            adam_weight_decay=None,
            **shared,
        )
    else:
        epsilon = 1e-7 if epsilon is None else epsilon
        optimizer = Adam(beta_1=momentum, beta_2=beta_2, epsilon=epsilon, **shared)
    if loss_scaling:
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    optimizer.build(variables)
    return optimizer


def _factors(paths: Sequence[str], patterns: Sequence[tuple[str, float]]) -> dict[str, float]:
    """Returns the learning-rate factor of each path."""
    factors = dict.fromkeys(paths, 1.0)
    for pattern, factor in patterns:
        factors |= dict.fromkeys(matching(pattern, paths, "optimizer.learning_rate_factors"), factor)
    return factors


class SGD(Layerwise, keras.optimizers.SGD):
    """SGD with momentum."""


class RMSprop(Layerwise, keras.optimizers.RMSprop):
    """RMSProp with momentum.

    Args:
        initial_accumulator: initial value of the moving average of squared gradients.
    """

    def __init__(self, initial_accumulator: float = 0.0, **options: Any) -> None:
        super().__init__(**options)
        self._initial_accumulator = initial_accumulator

    def build(self, variables: list[keras.Variable]) -> None:
        """Creates the moving averages."""
        super().build(variables)
        for average in self._velocities:
            average.assign(keras.ops.full(average.shape, self._initial_accumulator, average.dtype))


class Adam(Layerwise, keras.optimizers.Adam):
    """Adam; AdamW with decoupled weight decay."""


class Muon(Layerwise, ConvolutionMuon):
    """Muon for convolution kernels, AdamW for everything else."""
