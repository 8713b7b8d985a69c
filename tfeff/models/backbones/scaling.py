"""Compound scaling rules: what a coefficient does to a number of filters, of repeats and of blocks.

All rules are pure functions of numbers. Sources: Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional
Neural Networks" (2019), section 3, and its reference implementation for the rounding; Sandler et al., "MobileNetV2"
(2018), for the rule of 10 %.
"""

import math
from collections.abc import Sequence


def round_filters(filters: float, width_coefficient: float = 1.0, divisor: int = 8) -> int:
    """Scale a number of filters and round it to the nearest multiple of `divisor`.

    Halves go up; the result is at least `divisor`; and where rounding down would take off more than 10 %, it rounds up.

    >>> round_filters(32, 1.1)  # 35.2: 32 is less than 10 % below
    32
    >>> round_filters(24, 1.5)  # 36: halfway between 32 and 40
    40
    >>> round_filters(3), round_filters(11)  # never below the divisor; 8 would be 27 % below 11
    (8, 16)
    """
    scaled = filters * width_coefficient
    rounded = max(divisor, int(scaled + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * scaled else rounded


def round_repeats(repeats: int, depth_coefficient: float = 1.0) -> int:
    """Scale the repeats of one stage, rounding up.

    >>> round_repeats(4, 1.1), round_repeats(1, 3.1), round_repeats(3, 1.0)
    (5, 4, 3)
    """
    return math.ceil(depth_coefficient * repeats)


def scale_total_blocks(stage_blocks: Sequence[int], depth_coefficient: float = 1.0) -> tuple[int, ...]:
    """Scale the total number of blocks, then spread it over the stacks in their old proportions.

    The total is rounded to the nearest whole number (halves up) and is at least one block a stack. Its spread is by
    largest remainder: every stack takes the whole part of its share, and the blocks left over go one each to the stacks
    with the largest fractions; of equal fractions the earlier stack is served first. A stack never gets less than one
    block; where a share is below one, the block comes from the stack furthest above its share.

    >>> scale_total_blocks((2, 2, 2, 2), 1.2)  # 9.6 -> 10 blocks, 2.5 a stack: the earlier two get the odd ones
    (3, 3, 2, 2)
    >>> scale_total_blocks((3, 4, 6, 3), 2.0)
    (6, 8, 12, 6)
    >>> scale_total_blocks((1, 1, 6, 1), 0.5)  # 4.5 -> 5 blocks
    (1, 1, 2, 1)
    """
    old_total = sum(stage_blocks)
    total = max(len(stage_blocks), math.floor(depth_coefficient * old_total + 0.5))
    # Fractions are compared as whole numbers (numerators over old_total), so that ties are exact.
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


def doubled_widths(width: int, width_coefficient: float = 1.0, stacks: int = 4) -> tuple[int, ...]:
    """Scale the channels of the first stack to the nearest whole number (halves up) and double them stack by stack.

    >>> doubled_widths(12)
    (12, 24, 48, 96)
    >>> doubled_widths(12, 1.3)  # 15.6 -> 16
    (16, 32, 64, 128)
    """
    first = max(1, math.floor(width * width_coefficient + 0.5))
    return tuple(first * 2**stack for stack in range(stacks))


def halved(size: int, times: int = 1) -> int:
    """Side of a feature map after a number of stride-2 layers, each r -> ceil(r / 2).

    >>> halved(95), halved(95, 3), halved(224, 5)
    (48, 12, 7)
    """
    return math.ceil(size / 2**times)


def survival_probabilities(blocks: int, last: float) -> tuple[float, ...]:
    """Survival probabilities of stochastic depth, falling linearly from the input to `last` at the last block.

    p_l = 1 - (l / L)(1 - p_L) for l = 1..L (Huang et al., "Deep Networks with Stochastic Depth", 2016, equation 4),
    where L is the number of blocks of the network as built, after depth scaling.

    >>> [round(p, 3) for p in survival_probabilities(4, last=0.8)]
    [0.95, 0.9, 0.85, 0.8]
    """
    return tuple(1 - (block / blocks) * (1 - last) for block in range(1, blocks + 1))
