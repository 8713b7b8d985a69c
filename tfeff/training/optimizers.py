"""Update rules: Keras' optimizers, set up as the field uses them."""

import keras

from tfeff.training.muon import ADAM_RATE, ConvolutionMuon


def build(
    name: str,
    model: keras.Model,
    *,
    momentum: float = 0.9,
    nesterov: bool = True,
    decay: float = 0.9,
    beta_2: float = 0.999,
    epsilon: float | None = None,
    weight_decay: float = 0.0,
    clip_norm: float | None = None,
    replicas: int = 1,
    loss_scaling: bool = False,
) -> keras.optimizers.Optimizer:
    """The optimizer of `model`'s trainable variables, its slots made, its learning rate set by the loop at each step.

    Args:
        name: `sgd`, `rmsprop` (decay and momentum as in EfficientNet's training), `adamw` or `muon`.
        weight_decay: decoupled; kernels only, normalisation and biases are left alone.
        clip_norm: largest global norm of the whole batch's gradient. The loop hands over the batch's mean gradient
            over `replicas` and Keras sums it over them after clipping, so that the bound is shared out here.
        loss_scaling: dynamic loss scaling, for float16 (Micikevicius et al., arXiv:1710.03740).
    """
    shared = {
        "learning_rate": 0.0,
        "weight_decay": weight_decay or None,
        "global_clipnorm": None if clip_norm is None else clip_norm / replicas,
    }
    optimizer: keras.optimizers.Optimizer
    if name == "sgd":
        optimizer = keras.optimizers.SGD(momentum=momentum, nesterov=nesterov and momentum > 0, **shared)
    elif name == "rmsprop":
        epsilon = 1e-3 if epsilon is None else epsilon
        optimizer = keras.optimizers.RMSprop(rho=decay, momentum=momentum, epsilon=epsilon, **shared)
    elif name == "muon":
        shared |= {"weight_decay": weight_decay, "adam_weight_decay": weight_decay}
        optimizer = ConvolutionMuon(
            momentum=momentum,
            nesterov=nesterov,
            adam_lr_ratio=ADAM_RATE,
            adam_beta_2=beta_2,
            epsilon=1e-7 if epsilon is None else epsilon,
            **shared,
        )
    else:
        epsilon = 1e-7 if epsilon is None else epsilon
        shared["weight_decay"] = weight_decay
        optimizer = keras.optimizers.AdamW(beta_1=momentum, beta_2=beta_2, epsilon=epsilon, **shared)
    if weight_decay:
        optimizer.exclude_from_weight_decay([v for v in model.trainable_variables if len(v.shape) < 2])
    if loss_scaling:
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    optimizer.build(model.trainable_variables)
    return optimizer
