"""Freezing parts of a network: their variables are not updated, and gradients are not computed for them."""

import math
from collections.abc import Sequence
from fnmatch import fnmatchcase

import keras

from tfeff.errors import UserError
from tfeff.training.patterns import matching

KEY, FREED_KEY = "optimizer.frozen", "optimizer.unfreeze"


def freeze(model: keras.Model, patterns: Sequence[str], freed: Sequence[str] = ()) -> None:
    """Makes the variables whose path matches one of the patterns non-trainable, before the optimizer is built.

    A layer whose variables are all frozen gets `trainable = False`. Batch normalization then runs in inference mode in
    training, too, and keeps its moving statistics.

    Args:
        model: the network; a second call with the same patterns fails, because they match nothing that is trained.
        patterns: see `patterns.matching`.
        freed: patterns of the variables among them that are trained nevertheless.

    Raises:
        UserError: if a pattern matches nothing, or if nothing is left to train.
    """
    paths = [variable.path for variable in model.trainable_variables]
    frozen = {path for pattern in patterns for path in matching(pattern, paths, KEY)}
    if freed and not patterns:
        raise UserError(f"config: {FREED_KEY} requires {KEY}")
    for pattern in freed:
        frozen -= matching(pattern, frozen, FREED_KEY)
    if frozen.issuperset(paths):
        raise UserError(f"config: {KEY} freezes all variables; leave some to train, such as the classifier's")
    for variable in model.trainable_variables:
        variable.trainable = variable.path not in frozen
    if frozen:
        for layer in model._flatten_layers(include_self=False):
            if not layer.trainable_variables:
                layer.trainable = False


def frozen_params(model: keras.Model, patterns: Sequence[str], freed: Sequence[str] = ()) -> int:
    """Number of parameters that `freeze` freezes, including statistics of batch normalization."""

    def matches(path: str, patterns: Sequence[str]) -> bool:
        return any(fnmatchcase(path, pattern) for pattern in patterns)

    return sum(
        math.prod(weight.shape)
        for weight in model.weights
        if matches(weight.path, patterns) and not matches(weight.path, freed)
    )
