"""Copies of images that were encoded again, resized, brightened, slightly cropped or mirrored.

Two images are near duplicates if their perceptual hashes differ in at most 10 of 64 bits and their thumbnails correlate
with at least 0.93. This finds copies that were encoded again, resized, brightened or mirrored, and three of four that
lost 3 % at each border (docs/analysis.md).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt
from scipy import sparse

from tfeff.analysis.quality.survey import MIN_CONTRAST, Survey

BITS = 10
"""Bits in which the hashes of near duplicates differ, at most."""
CORRELATION = 0.93
"""Correlation of the thumbnails of near duplicates, at least."""
BANDS = 4
"""Parts of 16 bits of a hash. If two hashes differ in at most 11 bits, they differ in at most 2 in one of the parts, so
that all such pairs are found by looking up each part and its neighbors, without comparing all pairs."""
SMALLEST = 32
"""Pixels; smaller images, such as handwritten digits, have too few pixels to tell copies from likeness."""
CANDIDATES = 4_000_000
"""Pairs of hashes that are compared at a time, about."""
SAMPLED = 20_000
"""Random pairs of images, which show how much images of this kind look alike."""
MOST = 20_000_000
"""Pairs of near duplicates; more than these are no copies."""
LARGEST = 0.1
"""Share of all images in one group of near duplicates. More are no copies: all images look alike, as aligned X-rays or
handwritten digits do."""
FEW = 20
"""Images; smaller groups are always copies."""


@dataclass(frozen=True, eq=False)
class Copies:
    """Groups of near duplicates over all splits.

    Attributes:
        groups: per group, its images as (split, position in the survey), two or more; groups with images of several
            splits first, then the largest.
        alike: whether images of this kind look so much alike that near duplicates cannot be told; then, there are no
            groups.
    """

    groups: list[list[tuple[str, int]]]
    alike: bool = False

    @property
    def across(self) -> list[list[tuple[str, int]]]:
        """The groups with images of several splits."""
        return [group for group in self.groups if len({role for role, _ in group}) > 1]


def find(surveys: Mapping[str, Survey]) -> Copies:
    """Finds near duplicates, also equal files, within and across splits; images without contrast and images smaller
    than SMALLEST are left out."""
    places = [
        (role, index)
        for role, each in surveys.items()
        for index, one in enumerate(each.measured)
        if one.highest - one.lowest > MIN_CONTRAST and min(one.size) >= SMALLEST
    ]
    if len(places) < 2:
        return Copies([])
    chosen = [surveys[role].measured[index] for role, index in places]
    hashes, thumbnails = np.stack([each.hashes for each in chosen]), np.stack([each.thumbnail for each in chosen])
    if _random_likeness(hashes, thumbnails) * len(chosen) ** 2 / 2 > MOST:
        return Copies([], alike=True)
    groups = [[places[index] for index in group] for group in joined(len(chosen), list(pairs(hashes, thumbnails)))]
    groups.sort(key=lambda group: (len({role for role, _ in group}) == 1, -len(group)))
    largest = max(map(len, groups), default=0)
    return Copies([], alike=True) if largest > max(FEW, LARGEST * len(chosen)) else Copies(groups)


def pairs(hashes: npt.NDArray[np.uint64], thumbnails: npt.NDArray[np.uint8]) -> Iterator[tuple[int, int]]:
    """Pairs of near duplicates that connect all of them; of images with equal hashes, those with the first one.

    Args:
        hashes: uint64 [n, 2], of each image and its mirror image.
        thumbnails: uint8 [n, side, side, 3].
    """
    unique, first, inverse = np.unique(hashes[:, 0], return_index=True, return_inverse=True)
    others = np.setdiff1d(np.arange(len(hashes)), first)
    equal = np.stack([first[inverse[others]], others], axis=1)
    one, other = _close(unique, unique)
    plain = np.concatenate([equal, np.stack([first[one], first[other]], axis=1)[one < other]])
    yield from _alike(plain, thumbnails, mirrored=False)
    one, other = _close(hashes[:, 1], unique)
    turned = np.stack([one, first[other]], axis=1)
    yield from _alike(turned[turned[:, 0] != turned[:, 1]], thumbnails, mirrored=True)


def _close(queries: npt.NDArray[np.uint64], known: npt.NDArray[np.uint64]) -> tuple[npt.NDArray, npt.NDArray]:
    """All pairs (query, known) of hashes that differ in at most BITS bits, as two arrays of indices."""
    width = 64 // BANDS
    flips = [0, *(1 << bit for bit in range(width)), *(1 << a | 1 << b for a, b in combinations(range(width), 2))]
    found = list[npt.NDArray[np.int64]]()
    for band in range(BANDS):
        part = ((known >> np.uint64(band * width)) & np.uint64(2**width - 1)).astype(np.int64)
        order = np.argsort(part, kind="stable")
        starts = np.searchsorted(part[order], np.arange(2**width + 1))
        own = ((queries >> np.uint64(band * width)) & np.uint64(2**width - 1)).astype(np.int64)
        for flip in flips:
            low, counts = starts[own ^ flip], np.diff(starts)[own ^ flip]
            for block in np.array_split(np.arange(len(queries)), 1 + counts.sum() // CANDIDATES):
                query = np.repeat(block, counts[block])
                inside = np.arange(len(query)) - np.repeat(np.cumsum(counts[block]) - counts[block], counts[block])
                match = order[low[query] + inside]
                near = np.bitwise_count(queries[query] ^ known[match]) <= BITS
                found.append(np.stack([query[near], match[near]], axis=1))
    rows = np.unique(np.concatenate(found), axis=0)
    return rows[:, 0], rows[:, 1]


def _alike(
    candidates: npt.NDArray[np.int64], thumbnails: npt.NDArray[np.uint8], *, mirrored: bool
) -> Iterator[tuple[int, int]]:
    for start in range(0, len(candidates), 4096):
        part = candidates[start : start + 4096]
        one, other = thumbnails[part[:, 0]], thumbnails[part[:, 1]]
        yield from map(tuple, part[correlation(one[:, :, ::-1] if mirrored else one, other) >= CORRELATION].tolist())


def correlation(one: npt.NDArray[np.uint8], other: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Pearson's correlation of each pair of thumbnails, uint8 [n, side, side, 3] each -> float64 [n]; constant: 0."""
    flat = (each.reshape(len(each), int(np.prod(each.shape[1:]))).astype(np.float64) for each in (one, other))
    first, second = (each - each.mean(axis=1, keepdims=True) for each in flat)
    norm = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return (first * second).sum(axis=1) / np.maximum(norm, 1e-9)


def _random_likeness(hashes: npt.NDArray[np.uint64], thumbnails: npt.NDArray[np.uint8]) -> float:
    """Share of random pairs of images that would count as near duplicates."""
    rng = np.random.default_rng(0)
    one, other = (rng.integers(0, len(hashes), SAMPLED) for _ in range(2))
    near = (np.bitwise_count(hashes[one, 0] ^ hashes[other, 0]) <= BITS) & (one != other)
    return int((correlation(thumbnails[one[near]], thumbnails[other[near]]) >= CORRELATION).sum()) / SAMPLED


def joined(count: int, connected: Sequence[tuple[int, int]]) -> list[list[int]]:
    """The groups of two or more of `count` things that pairs connect."""
    one, other = np.array(connected, np.int64).reshape(-1, 2).T
    graph = sparse.coo_array((np.ones(len(one), bool), (one, other)), shape=(count, count))
    _, component = sparse.csgraph.connected_components(graph, directed=False)
    order = np.argsort(component, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(component[order])) + 1)
    return [part.tolist() for part in parts if len(part) > 1]
