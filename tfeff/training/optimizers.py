"""Keras optimizers with the settings that are usual for image models."""

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
    """Builds an optimizer for the trainable variables of `model`. The training loop sets the learning rate at each
    step.

    Args:
        name: `sgd`, `rmsprop` (decay and momentum as in EfficientNet's training), `adamw` or `muon`.
        weight_decay: decoupled; applied to kernels, not to normalization parameters and biases.
        clip_norm: maximum global norm of the gradient of the whole batch. Each replica passes the batch's mean gradient
            divided by `replicas`, and Keras sums over replicas after clipping, so the bound is divided here too.
        loss_scaling: use dynamic loss scaling, for float16 (Micikevicius et al., arXiv:1710.03740).
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
