"""Copies of images: equal files, and images that were encoded again, resized, brightened, slightly cropped or mirrored.

Two images are near duplicates if their perceptual hashes differ in at most 10 of 64 bits and their thumbnails correlate
with at least 0.93. This finds copies that were encoded again, resized, brightened or mirrored, and three of four that
lost 3 % at each border (docs/analysis.md).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt
from scipy import sparse

from tfeff.analysis.quality.survey import MIN_CONTRAST, Measurements, Place, Survey, places_in

BITS = 10
"""Bits in which the hashes of near duplicates differ, at most."""
CORRELATION = 0.93
"""Correlation of the thumbnails of near duplicates, at least."""
BANDS, WIDTH = 4, 16
"""Parts of a hash, and bits of a part. If two hashes differ in at most 4 * radius + 3 bits, they differ in at most
`radius` bits in one of the parts. Looking up each part and its neighbors therefore finds all such pairs without
comparing all pairs."""
SMALLEST = 32
"""Pixels. Smaller images, such as handwritten digits, have too few pixels to distinguish copies from similar images, so
only equal files count as copies."""
BLOCK, BUDGET = 4_000_000, 200_000_000
"""Pairs of hashes that are compared at a time, and in all, about. If images look so much alike that there are more,
hashes must agree in more bits."""
LARGEST, FEW = 0.1, 20
"""Groups with more than this share of all images, and with more than FEW, must pass two tests to count as copies: most
pairs of their images are near duplicates, and most images are not in them. Other groups look alike without being
copies, as aligned X-rays do."""
SAMPLED = 2000
"""Pairs of a group that are compared to tell this."""

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Copies:
    """Groups of copies over all splits.

    Attributes:
        groups: per group, its images as (split, position in the survey), two or more; groups with images of several
            splits first, then the largest.
        alike: number of images in groups that were left out because all their images look alike.
        bits: bits in which the hashes of copies differ, at most; below BITS if there were too many pairs to compare.
    """

    groups: list[list[Place]]
    alike: int = 0
    bits: int = BITS

    @property
    def across(self) -> list[list[Place]]:
        """The groups with images of several splits."""
        return [group for group in self.groups if len({role for role, _ in group}) > 1]


def find(surveys: Mapping[str, Survey]) -> Copies:
    """Finds copies within and across splits; images without contrast are copies only if their files are equal."""
    places = places_in(surveys)
    if len(places) < 2:
        return Copies([])
    images = [surveys[role].measured[index] for role, index in places]
    equal = _equal([each.digest for each in images])
    usable = [
        number
        for number, each in enumerate(images)
        if each.highest - each.lowest > MIN_CONTRAST and min(each.size) >= SMALLEST
    ]
    near, bits = np.zeros((0, 2), np.int64), BITS
    if len(usable) > 1:
        hashes = np.stack([images[number].hashes for number in usable])
        thumbnails = np.stack([images[number].thumbnail for number in usable])
        found, bits = pairs(hashes, thumbnails)
        near = np.array(usable)[found]
    groups, alike = list[list[Place]](), 0
    for group in joined(len(places), np.concatenate([equal, near])):
        if len(group) > max(FEW, LARGEST * len(places)) and not _is_one_image(group, images, len(places)):
            alike += len(group)
            groups += [[places[group[number]] for number in part] for part in _same([images[n].digest for n in group])]
        else:
            groups.append([places[number] for number in group])
    groups.sort(key=lambda group: (len({role for role, _ in group}) == 1, -len(group)))
    return Copies(groups, alike, bits)


def _equal(digests: Sequence[bytes]) -> Indices:
    """Returns pairs of equal files: each with the first one of its content, [m, 2]."""
    first = dict[bytes, int]()
    rows = [(first.setdefault(digest, number), number) for number, digest in enumerate(digests)]
    return np.array([row for row in rows if row[0] != row[1]], np.int64).reshape(-1, 2)


def _same(digests: Sequence[bytes]) -> list[list[int]]:
    return joined(len(digests), _equal(digests))


def _is_one_image(group: Sequence[int], images: Sequence[Measurements], total: int) -> bool:
    """Returns whether a large group has copies of one image, not images that look alike in a chain."""
    if len(group) > total / 2:
        return False
    rng = np.random.default_rng(0)
    one, other = rng.integers(0, len(group), (2, SAMPLED))
    chosen = [images[number] for number in group]
    thumbnails = np.stack([each.thumbnail for each in chosen])
    return bool((correlation(thumbnails[one], thumbnails[other]) >= CORRELATION).mean() > 0.5)


def pairs(hashes: npt.NDArray[np.uint64], thumbnails: npt.NDArray[np.uint8]) -> tuple[Indices, int]:
    """Returns pairs of near duplicates, [m, 2], and the bits in which their hashes differ, at most.

    Of images with equal hashes, those with the first one and with their neighbors in the order of thumbnails.

    Args:
        hashes: uint64 [n, 2], of each image and its mirror image.
        thumbnails: uint8 [n, side, side, 3].
    """
    unique, first, inverse = np.unique(hashes[:, 0], return_index=True, return_inverse=True)
    others = np.setdiff1d(np.arange(len(hashes)), first)
    equal = [np.stack([first[inverse[others]], others], axis=1)]
    order = np.array(sorted(range(len(hashes)), key=lambda index: (inverse[index], thumbnails[index].tobytes())))
    following = np.stack([order[:-1], order[1:]], axis=1)
    equal.append(following[inverse[following[:, 0]] == inverse[following[:, 1]]])
    one, other, bits = close(unique, unique)
    plain = np.concatenate([*equal, np.stack([first[one], first[other]], axis=1)[one < other]])
    one, other, mirrored_bits = close(hashes[:, 1], unique)
    turned = np.stack([one, first[other]], axis=1)
    turned = turned[turned[:, 0] != turned[:, 1]]
    found = [*_alike(plain, thumbnails, mirrored=False), *_alike(turned, thumbnails, mirrored=True)]
    return np.concatenate([np.zeros((0, 2), np.int64), *found]), min(bits, mirrored_bits)


def close(queries: npt.NDArray[np.uint64], known: npt.NDArray[np.uint64]) -> tuple[Indices, Indices, int]:
    """Returns all pairs (query, known) of hashes that differ in at most so many bits.

    The result is two arrays of indices, and the number of bits.

    The number is BITS, or less if more than BUDGET pairs would have to be compared.
    """
    bands = [(_part(queries, band), _part(known, band)) for band in range(BANDS)]
    chosen, bits = [0], 0  # equal parts always have to be compared
    for radius in range(3):
        flips = [
            sum(1 << bit for bit in each) for count in range(radius + 1) for each in combinations(range(WIDTH), count)
        ]
        if sum(_candidates(own, part, flips) for own, part in bands) > BUDGET:
            break
        chosen, bits = flips, min(BITS, BANDS * radius + BANDS - 1)
    if bits == 0:  # even equal parts are too frequent
        order = np.argsort(known, kind="stable")
        low, high = (np.searchsorted(known[order], queries, side) for side in ("left", "right"))
        query, match = _expanded(np.arange(len(queries)), low, high - low, order)
        return query, match, 0
    found = [np.zeros((0, 2), np.int64)]
    for own, part in bands:
        order = np.argsort(part, kind="stable")
        starts = np.searchsorted(part[order], np.arange(2**WIDTH + 1))
        for flip in chosen:
            low, counts = starts[own ^ flip], np.diff(starts)[own ^ flip]
            for block in np.array_split(np.arange(len(queries)), 1 + counts.sum() // BLOCK):
                query, match = _expanded(block, low, counts, order)
                near = np.bitwise_count(queries[query] ^ known[match]) <= bits
                found.append(np.stack([query[near], match[near]], axis=1))
    rows = np.unique(np.concatenate(found), axis=0)
    return rows[:, 0], rows[:, 1], bits


def _part(hashes: npt.NDArray[np.uint64], band: int) -> Indices:
    return ((hashes >> np.uint64(band * WIDTH)) & np.uint64(2**WIDTH - 1)).astype(np.int64)


def _candidates(queries: Indices, known: Indices, flips: Sequence[int]) -> int:
    """Returns the number of pairs of parts that are equal after one of the flips."""
    counts, own = (np.bincount(each, minlength=2**WIDTH) for each in (known, queries))
    places = np.flatnonzero(own)
    return int(sum((own[places] * counts[places ^ flip]).sum() for flip in flips))


def _expanded(queries: Indices, low: Indices, counts: Indices, order: Indices) -> tuple[Indices, Indices]:
    """Returns the pairs of each query with the entries low to low + count of `order`."""
    query = np.repeat(queries, counts[queries])
    inside = np.arange(len(query)) - np.repeat(np.cumsum(counts[queries]) - counts[queries], counts[queries])
    return query, order[low[query] + inside]


def _alike(candidates: Indices, thumbnails: npt.NDArray[np.uint8], *, mirrored: bool) -> list[Indices]:
    """Returns the candidates whose thumbnails correlate, in blocks."""
    found = list[Indices]()
    for start in range(0, len(candidates), 4096):
        part = candidates[start : start + 4096]
        one, other = thumbnails[part[:, 0]], thumbnails[part[:, 1]]
        found.append(part[correlation(one[:, :, ::-1] if mirrored else one, other) >= CORRELATION])
    return found


def correlation(one: npt.NDArray[np.uint8], other: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Correlates (Pearson) pairs of thumbnails, uint8 [n, side, side, 3] each -> float64 [n]; constant: 0."""
    flat = (each.reshape(len(each), int(np.prod(each.shape[1:]))).astype(np.float64) for each in (one, other))
    first, second = (each - each.mean(axis=1, keepdims=True) for each in flat)
    norm = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return (first * second).sum(axis=1) / np.maximum(norm, 1e-9)


def joined(count: int, connected: Indices) -> list[list[int]]:
    """Returns the groups of two or more of `count` things that pairs, [m, 2], connect."""
    one, other = connected.reshape(-1, 2).T
    graph = sparse.coo_array((np.ones(len(one), bool), (one, other)), shape=(count, count))
    _, component = sparse.csgraph.connected_components(graph, directed=False)
    order = np.argsort(component, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(component[order])) + 1)
    return [part.tolist() for part in parts if len(part) > 1]
