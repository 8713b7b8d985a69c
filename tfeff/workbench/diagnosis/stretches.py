"""Stretches of images, in the order of their names, in which something differs: what is merged is rarely shuffled."""

import re

import numpy as np
import numpy.typing as npt


def natural(name: str) -> list[tuple[int, str]]:
    """A key that sorts numbers in names by their value.

    >>> sorted(["img10", "img9"], key=natural)
    ['img9', 'img10']
    """
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def longest(flags: npt.NDArray[np.bool_]) -> tuple[int, int]:
    """Start and end of the longest run of true values.

    >>> longest(np.array([True, False, True, True]))
    (2, 4)
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(int)))
    starts, ends = edges[::2], edges[1::2]
    if not len(starts):
        return 0, 0
    position = int((ends - starts).argmax())
    return int(starts[position]), int(ends[position])


def largest_sum(values: npt.NDArray[np.float64]) -> tuple[int, int, float]:
    """Start, end and sum of the consecutive values with the largest sum; unknown values (NaN) count 0.

    >>> largest_sum(np.array([-1.0, 2.0, -1.0, 3.0, -5.0]))
    (1, 4, 4.0)
    """
    sums = np.concatenate([[0.0], np.nancumsum(values)])
    end = int((sums - np.minimum.accumulate(sums)).argmax())
    start = int(sums[: end + 1].argmin())
    return start, end, float(sums[end] - sums[start])
