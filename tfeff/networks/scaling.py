"""Compound scaling rules: how coefficients scale filters, repeats and blocks.

Sources: Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional
Neural Networks" (2019), section 3, and its reference implementation for the rounding; Sandler et al., "MobileNetV2"
(2018), for the 10 % rule.
"""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

DIMENSIONS = ("depth", "width", "resolution")
EXPONENTS = np.array([1.0, 2.0, 2.0])
"""Multiply-adds of a stage grow as depth * width² * resolution² (equation 3)."""


def round_filters(filters: float, width_coefficient: float = 1.0, *, largest_loss: float = 0.1) -> int:
    """Scales a number of filters and rounds it to the nearest multiple of 8.

    Halves round up. The result is at least 8. If rounding down would remove more than `largest_loss` of the filters, it
    rounds up.

    >>> round_filters(32, 1.1)  # 35.2: 32 is less than 10 % lower
    32
    >>> round_filters(24, 1.5)  # 36: halfway between 32 and 40
    40
    >>> round_filters(3), round_filters(11)  # at least 8; 8 would be 27 % below 11
    (8, 16)
    >>> round_filters(16, 1.2), round_filters(16, 1.2, largest_loss=1.0)  # 19.2: 16 is 17 % lower
    (24, 16)
    """
    scaled = filters * width_coefficient
    rounded = max(8, int(scaled + 4) // 8 * 8)
    return rounded + 8 if rounded < (1 - largest_loss) * scaled else rounded


def round_repeats(repeats: int, depth_coefficient: float = 1.0) -> int:
    """Scales the repeats of one stage and rounds up.

    >>> round_repeats(4, 1.1), round_repeats(1, 3.1), round_repeats(3, 1.0)
    (5, 4, 3)
    >>> round_repeats(25, 2.2)  # 2.2 * 25 is a little above 55 in floating point
    55
    """
    return math.ceil(round(depth_coefficient * repeats, 9))


def scale_total_blocks(stage_blocks: Sequence[int], depth_coefficient: float = 1.0) -> tuple[int, ...]:
    """Scales the total number of blocks, then distributes it over the stacks in the original proportions.

    The total is rounded to the nearest integer (halves up), and is at least one block per stack. It is distributed by
    the largest remainder method: each stack gets the integer part of its share, and the remaining blocks go to the
    stacks with the largest fractions, the earlier stack first if they are equal. Each stack gets at least one block; if
    its share is below one, the block is taken from the stack that exceeds its own share the most.

    >>> scale_total_blocks((2, 2, 2, 2), 1.2)  # 9.6 -> 10 blocks, 2.5 per stack: the first two stacks get one more
    (3, 3, 2, 2)
    >>> scale_total_blocks((3, 4, 6, 3), 2.0)
    (6, 8, 12, 6)
    >>> scale_total_blocks((1, 1, 6, 1), 0.5)  # 4.5 -> 5 blocks
    (1, 1, 2, 1)
    """
    old_total = sum(stage_blocks)
    total = max(len(stage_blocks), half_up(depth_coefficient * old_total))
    # Fractions are compared as integers (numerators over old_total), so that ties are exact.
    blocks = [total * old // old_total for old in stage_blocks]
    remainders = [total * old % old_total for old in stage_blocks]
    by_remainder = sorted(range(len(blocks)), key=lambda stack: (-remainders[stack], stack))
    for stack in by_remainder[: total - sum(blocks)]:
        blocks[stack] += 1
    blocks = [max(1, count) for count in blocks]
    while sum(blocks) > total:
        above = [count * old_total - total * old for count, old in zip(blocks, stage_blocks, strict=True)]
        blocks[max((s for s in range(len(blocks)) if blocks[s] > 1), key=lambda stack: above[stack])] -= 1
    return tuple(blocks)


def half_up(value: float) -> int:
    """Rounds to the nearest integer, halves up, also if floating point makes them a bit less.

    >>> half_up(2.5), half_up(50 * 1.15)
    (3, 58)
    """
    return math.floor(round(value, 9) + 0.5)


def doubled_widths(width: int, width_coefficient: float = 1.0, stacks: int = 4) -> tuple[int, ...]:
    """Scales the channels of the first stack, rounds them (halves up), and doubles them from stack to stack.

    >>> doubled_widths(12)
    (12, 24, 48, 96)
    >>> doubled_widths(12, 1.3)  # 15.6 -> 16
    (16, 32, 64, 128)
    """
    first = max(1, half_up(width * width_coefficient))
    return tuple(first * 2**stack for stack in range(stacks))


def cost_shares(coefficients: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Returns shares of depth, width and resolution in the logarithm of the multiply-adds, float64 [..., 3].

    They are log depth, 2 log width and 2 log resolution, divided by their sum. Coefficients below 1 count by the
    absolute value of their logarithm. If all three are 1, the shares are equal.

    Args:
        coefficients: of depth, width and resolution, [..., 3].

    >>> cost_shares([[2.0, 1.0, 1.0], [1.0, 1.2, 1.2]])
    array([[1. , 0. , 0. ],
           [0. , 0.5, 0.5]])
    """
    logarithms = np.abs(EXPONENTS * np.log(np.asarray(coefficients, np.float64)))
    total = logarithms.sum(axis=-1, keepdims=True)
    return np.divide(logarithms, total, out=np.full_like(logarithms, 1 / 3), where=total > 0)
