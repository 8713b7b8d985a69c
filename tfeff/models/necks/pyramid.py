"""Selects pyramid levels of a backbone and adds deeper ones.

Level Pn has stride 2^n. The added levels are those of RetinaNet's P6 and P7: Lin et al., "Focal Loss for Dense Object
Detection" (2017), section 4, footnote 2.
"""

import re
from collections import Counter
from collections.abc import Sequence

import keras

from tfeff.errors import UserError
from tfeff.models.network import Network


def pyramid(model: Network, levels: Sequence[str], *, channels: int | None = None) -> Network:
    """Build a network that outputs the given pyramid levels.

    Levels of the backbone share their weights with `model`; layers that no level needs are omitted. Each level beyond
    the backbone's last is a 3x3 convolution of the level before it, with stride 2 and padding "same"
    (`pyramid_p6_conv`). A ReLU separates two added levels (`pyramid_p7_relu`). Levels that are only needed to compute
    higher ones are not returned.

    Args:
        model: the backbone, with or without a classifier.
        levels: names such as ("P3", "P4", "P5", "P6"), in any order.
        channels: channels of the added levels. Defaults to those of the backbone's last level.

    Returns:
        A network from images to {level: (batch, ceil(resolution / 2^n), ceil(resolution / 2^n), channels)}. Its
        `levels` are the requested ones, from fine to coarse.

    Raises:
        UserError: no levels, a malformed or repeated name, a level that the backbone lacks and that is not beyond its
            last, or `channels` below 1.
    """
    numbers = level_numbers(levels)
    if channels is not None and channels < 1:
        raise UserError(f"channels {channels}: must be at least 1")
    maps = dict(model.pyramid)
    last = max(map(level_number, maps))
    for number in numbers:
        if number <= last and f"P{number}" not in maps:
            raise UserError(
                f'{model.name} has no pyramid level "P{number}"; it has {", ".join(maps)}. '
                f"Only levels beyond P{last} can be added"
            )
    layers = dict(model.levels)
    x = maps[f"P{last}"]
    width = channels or x.shape[-1]
    for number in range(last + 1, numbers[-1] + 1):
        if layers[f"P{number - 1}"].startswith("pyramid_"):
            x = keras.layers.ReLU(name=f"pyramid_p{number}_relu")(x)
        layers[f"P{number}"] = f"pyramid_p{number}_conv"
        x = maps[f"P{number}"] = keras.layers.Conv2D(width, 3, strides=2, padding="same", name=layers[f"P{number}"])(x)
    names = [f"P{number}" for number in numbers]
    network = Network(model.inputs[0], {name: maps[name] for name in names}, name=f"{model.name}_pyramid")
    network.levels = {name: layers[name] for name in names}
    return network


def level_numbers(levels: Sequence[str]) -> list[int]:
    """Numbers of the levels in ascending order.

    Raises:
        UserError: no levels, or a malformed or repeated name.
    """
    if isinstance(levels, str) or not levels:
        raise UserError(f'pyramid levels {levels!r}: must be a non-empty list such as ["P3", "P4", "P5"]')
    numbers = sorted(map(level_number, levels))
    for number, count in Counter(numbers).items():
        if count > 1:
            raise UserError(f'pyramid level "P{number}" is given {count} times')
    return numbers


def level_number(level: str) -> int:
    """The n of "Pn".

    Raises:
        UserError: a malformed name.
    """
    if not re.fullmatch(r"P[1-9][0-9]*", str(level)):
        raise UserError(f'pyramid level "{level}": must be P1 (stride 2), P2 (stride 4), P3 (stride 8), ...')
    return int(level[1:])
