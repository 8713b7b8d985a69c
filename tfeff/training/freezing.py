"""Freezing parts of a network: their variables are not updated, and gradients are not computed for them.

With gradual unfreezing, a run has phases, in each of which other variables are trained. The last layers are trained
first, and earlier ones join from epoch to epoch (Howard and Ruder, "Universal Language Model Fine-tuning for Text
Classification", arXiv:1801.06146, section 3.3).
"""

import dataclasses
import math
import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

import keras

from tfeff import config
from tfeff.errors import UserError, nearest
from tfeff.networks.detectors.detector import NECK_AND_HEADS

KEY, FREED_KEY = "optimizer.frozen", "optimizer.unfreeze"


def freeze(
    model: keras.Model, patterns: Sequence[str], freed: Sequence[str] = (), *, normalization: bool = False
) -> None:
    """Makes the variables whose path matches one of the patterns non-trainable, before the optimizer is built.

    A layer whose variables are all frozen gets `trainable = False`. Batch normalization then runs in inference mode in
    training, too, and keeps its moving statistics; without scale and offset, if patterns match its statistics.

    Args:
        model: the network; a second call with the same patterns fails, because they match nothing that is trained.
        patterns: see `matching`.
        freed: patterns of the variables among them that are trained nevertheless.
        normalization: also freeze all batch normalization: scale, offset and moving statistics. Of a detector, only
            that of the backbone: neck and heads, which mostly start from random weights, have no statistics to keep.

    Raises:
        UserError: if a pattern matches nothing, or if nothing is left to train.
    """
    paths = [variable.path for variable in model.trainable_variables]
    frozen = {path for pattern in patterns for path in matching(pattern, paths, KEY)}
    if freed and not patterns:
        raise UserError(f"config: {FREED_KEY} requires {KEY}")
    for pattern in freed:
        frozen -= matching(pattern, frozen, FREED_KEY)
    held = {weight.path for weight in model.weights if _is_frozen(weight.path, patterns, freed)}
    if frozen.issuperset(paths):
        raise UserError(f"config: {KEY} freezes all variables; leave some to train, such as the classifier's")
    kept = [
        layer
        for layer in model._flatten_layers(include_self=False)
        if layer.weights and held.issuperset(each.path for each in layer.trainable_variables or layer.weights)
    ]
    for variable in model.trainable_variables:
        variable.trainable = variable.path not in frozen
    for layer in kept:
        layer.trainable = False
    if normalization:
        for layer in model._flatten_layers(include_self=False):
            new = layer.name.startswith(NECK_AND_HEADS)
            if isinstance(layer, keras.layers.BatchNormalization) and not new:
                layer.trainable = False


def frozen_params(model: keras.Model, patterns: Sequence[str], freed: Sequence[str] = ()) -> int:
    """Counts the parameters that `freeze` freezes, including statistics of batch normalization."""
    return sum(math.prod(weight.shape) for weight in model.weights if _is_frozen(weight.path, patterns, freed))


def _is_frozen(path: str, patterns: Sequence[str], freed: Sequence[str]) -> bool:
    return any(fnmatchcase(path, each) for each in patterns) and not any(fnmatchcase(path, each) for each in freed)


def matching(pattern: str, paths: Iterable[str], key: str) -> set[str]:
    """Returns the paths that `pattern` matches as a whole, such as `stage[12]_*` or `*_bn/gamma`; `*` also matches `/`.

    Args:
        pattern: a pattern as for `fnmatch`: `*`, `?`, `[seq]` and `[!seq]`; case-sensitive.
        paths: paths of the trained variables, such as `stage1_block1_conv1/kernel`.
        key: the config key of the pattern, for the message.

    Raises:
        UserError: if it matches none; the message suggests a pattern.
    """
    paths = list(paths)
    found = {path for path in paths if fnmatchcase(path, pattern)}
    if not found:
        # One word of a path is a stage, two are a block: few enough to list.
        words = [re.split("[_/]", path) for path in paths]
        known = {f"{'_'.join(parts[:count])}*" for parts in words for count in (1, 2)}
        raise UserError(f"config: {key}: {pattern!r} matches no variable that is trained; {nearest(pattern, known)}")
    return found


def phase(update: config.Optimizer, epochs: int, done: int, until_epoch: int | None) -> tuple[int, int]:
    """Returns the first and the last epoch, counted as finished epochs, of the phase that follows after `done` epochs.

    Args:
        update: says when what is unfrozen.
        epochs: number of epochs of the whole run.
        done: finished epochs.
        until_epoch: epoch at which the call ends; None: the last one.

    >>> update = config.Optimizer(frozen=("*",), unfreeze=("2=head*", "5=*"))
    >>> phase(update, 9, 0, None), phase(update, 9, 2, None), phase(update, 9, 4, 4), phase(update, 9, 7, None)
    ((0, 2), (2, 5), (2, 4), (5, 9))
    """
    last = min(until_epoch or epochs, epochs)
    starts = sorted({epoch for epoch, _ in update.unfreezing() if 0 < epoch < epochs})
    start = max((epoch for epoch in starts if epoch <= done), default=0)
    return start, min((last, *(epoch for epoch in starts if epoch > done)))


def unfrozen_at(update: config.Optimizer, epoch: int) -> config.Optimizer:
    """Returns the section as it is after `epoch` epochs: what is unfrozen by then is unfrozen from the beginning."""
    freed = tuple(f"{start if start > epoch else 0}={pattern}" for start, pattern in sorted(update.unfreezing()))
    return dataclasses.replace(update, unfreeze=freed)
