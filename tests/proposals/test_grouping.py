import itertools

import numpy as np
import pytest

from tests.proposals import reference
from tfeff.proposals.grouping import TERMS, group, similarity
from tfeff.proposals.regions import COLOUR_BINS, histograms, measure, neighbours
from tfeff.proposals.texture import BINS as TEXTURE_BINS
from tfeff.proposals.texture import ORIENTATIONS

EVERY_SET = [terms for n in range(1, 5) for terms in itertools.combinations(TERMS, n)]


def labelled(rng, regions=12, height=14, width=17):
    """A random partition: each pixel belongs to the nearest of some points; only connected ones are kept apart."""
    points = rng.uniform(0, [height, width], (regions, 2))
    y, x = np.mgrid[:height, :width]
    nearest = ((y[..., None] - points[:, 0]) ** 2 + (x[..., None] - points[:, 1]) ** 2).argmin(-1)
    _, labels = np.unique(nearest, return_inverse=True)
    return labels.reshape(height, width).astype(np.int32)


def case(seed):
    rng = np.random.default_rng(seed)
    labels = labelled(rng, regions=int(rng.integers(1, 25)))
    size, box = measure(labels)
    count = len(size)
    colour = rng.integers(0, COLOUR_BINS, (*labels.shape, 3)).astype(np.uint8)
    texture = rng.integers(0, TEXTURE_BINS, (*labels.shape, ORIENTATIONS)).astype(np.uint8)
    return (
        labels,
        size,
        box,
        neighbours(labels, count),
        histograms(labels, colour, texture, TEXTURE_BINS, count, 1),
        colour,
        texture,
    )


@pytest.mark.parametrize("seed", range(5))
def test_regions_are_measured_as_their_masks_are(seed):
    labels, size, box, pairs, histogram, colour, texture = case(seed)
    for region in range(len(size)):
        mask = labels == region
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        assert size[region] == mask.sum()
        assert box[region].tolist() == [rows[0], columns[0], rows[-1] + 1, columns[-1] + 1]
        expected = [np.bincount(colour[mask][:, c], minlength=COLOUR_BINS) / mask.sum() / 3 for c in range(3)]
        expected += [
            np.bincount(texture[mask][:, o], minlength=TEXTURE_BINS) / mask.sum() / ORIENTATIONS
            for o in range(ORIENTATIONS)
        ]
        assert histogram[region] == pytest.approx(np.concatenate(expected), abs=1e-6)
    expected = {
        tuple(sorted((a, b)))
        for one, other in ((labels[:, :-1], labels[:, 1:]), (labels[:-1], labels[1:]))
        for a, b in zip(one.ravel().tolist(), other.ravel().tolist(), strict=True)
        if a != b
    }
    assert set(map(tuple, pairs.tolist())) == expected
    assert len(pairs) == len(expected)


def test_many_regions_have_all_their_neighbours():
    labels = np.arange(60 * 70, dtype=np.int32).reshape(60, 70)
    assert len(neighbours(labels, labels.size)) == 59 * 70 + 60 * 69


def test_regions_that_the_stride_misses_are_counted_whole():
    labels = np.zeros((8, 8), np.int32)
    labels[3, 3] = 1
    labels[5:, 5] = 2
    colour = np.full((8, 8, 3), 4, np.uint8)
    texture = np.zeros((8, 8, ORIENTATIONS), np.uint8)
    counts = histograms(labels, colour, texture, TEXTURE_BINS, 3, 4)
    assert counts[:3, 4].tolist() == pytest.approx([1 / 3] * 3)
    assert counts[:3].sum(1).tolist() == pytest.approx([2.0] * 3)


@pytest.mark.parametrize("terms", EVERY_SET)
def test_similarities_follow_their_definitions(terms):
    _, size, box, pairs, histogram, *_ = case(3)
    regions = described(size, box, histogram)
    for one, other in pairs:
        found = similarity(one, other, size, box, histogram, 3 * COLOUR_BINS, size.sum(), sum(TERMS[t] for t in terms))
        expected = reference.similarity(regions[one], regions[other], size.sum(), terms)
        assert found == pytest.approx(expected, abs=1e-5)


def described(size, box, histogram):
    first = 3 * COLOUR_BINS
    return [
        (int(size[i]), tuple(box[i].tolist()), histogram[i, :first].astype(float), histogram[i, first:].astype(float))
        for i in range(len(size))
    ]


@pytest.mark.parametrize("seed", range(30))
def test_grouping_equals_looking_at_every_pair_each_time(seed):
    terms = EVERY_SET[seed % len(EVERY_SET)]
    _, size, box, pairs, histogram, *_ = case(seed)
    boxes, parent = group(
        size, box, pairs, histogram.copy(), 3 * COLOUR_BINS, int(size.sum()), sum(TERMS[t] for t in terms)
    )
    expected = reference.group(described(size, box, histogram), pairs, int(size.sum()), terms)
    assert boxes.tolist() == [list(of) for of in expected]
    assert (parent[:-1] > np.arange(len(boxes) - 1)).all()
    assert parent[-1] == -1
    assert boxes[-1].tolist() == [0, 0, 14, 17]
    for child, up in enumerate(parent[:-1]):
        assert (boxes[child, :2] >= boxes[up, :2]).all()
        assert (boxes[child, 2:] <= boxes[up, 2:]).all()


def test_a_heap_that_runs_full_loses_nothing():
    # A star: every merge of the centre brings all its neighbours up again.
    count = 400
    size = np.full(count, 3, np.int32)
    box = np.tile(np.array([0, 0, 5, 5], np.int32), (count, 1))
    pairs = np.array([(0, i) for i in range(1, count)], np.int32)
    rng = np.random.default_rng(0)
    histogram = np.zeros((2 * count - 1, 155), np.float32)
    histogram[:count] = rng.random((count, 155)) / 155
    boxes, parent = group(size, box, pairs, histogram, 75, 10_000, 3)
    assert len(boxes) == 2 * count - 1
    assert (parent[:-1] >= 0).all()
