import itertools

import numpy as np
import pytest

from tests.proposals import reference
from tfeff.proposals.grouping import TERMS, group, similarity
from tfeff.proposals.regions import COLOR_BINS, ORIENTATIONS, TEXTURE_BINS, histograms, measure, neighbors

ALL_TERM_SETS = [terms for n in range(1, 5) for terms in itertools.combinations(TERMS, n)]


def random_labels(rng, regions=12, height=14, width=17):
    """Returns a Voronoi partition of random points."""
    points = rng.uniform(0, [height, width], (regions, 2))
    y, x = np.mgrid[:height, :width]
    nearest = ((y[..., None] - points[:, 0]) ** 2 + (x[..., None] - points[:, 1]) ** 2).argmin(-1)
    _, labels = np.unique(nearest, return_inverse=True)
    return labels.reshape(height, width).astype(np.int32)


def case(seed):
    rng = np.random.default_rng(seed)
    labels = random_labels(rng, regions=int(rng.integers(1, 25)))
    size, box = measure(labels)
    count = len(size)
    color = rng.integers(0, COLOR_BINS, (*labels.shape, 3)).astype(np.uint8)
    texture = rng.integers(0, TEXTURE_BINS, (*labels.shape, ORIENTATIONS)).astype(np.uint8)
    return (
        labels,
        size,
        box,
        neighbors(labels, count),
        histograms(labels, color, texture, TEXTURE_BINS, count, 1),
        color,
        texture,
    )


@pytest.mark.parametrize("seed", range(5))
def test_measurements_equal_those_of_masks(seed):
    labels, size, box, pairs, histogram, color, texture = case(seed)
    for region in range(len(size)):
        mask = labels == region
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        assert size[region] == mask.sum()
        assert box[region].tolist() == [rows[0], columns[0], rows[-1] + 1, columns[-1] + 1]
        expected = [np.bincount(color[mask][:, c], minlength=COLOR_BINS) / mask.sum() / 3 for c in range(3)]
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


def test_neighbors_of_many_regions():
    labels = np.arange(60 * 70, dtype=np.int32).reshape(60, 70)
    assert len(neighbors(labels, labels.size)) == 59 * 70 + 60 * 69


def test_regions_between_sampled_pixels_are_counted_fully():
    labels = np.zeros((8, 8), np.int32)
    labels[3, 3] = 1
    labels[5:, 5] = 2
    color = np.full((8, 8, 3), 4, np.uint8)
    texture = np.zeros((8, 8, ORIENTATIONS), np.uint8)
    counts = histograms(labels, color, texture, TEXTURE_BINS, 3, 4)
    assert counts[:3, 4].tolist() == pytest.approx([1 / 3] * 3)
    assert counts[:3].sum(1).tolist() == pytest.approx([2.0] * 3)


@pytest.mark.parametrize("terms", ALL_TERM_SETS)
def test_similarities_equal_the_reference(terms):
    _, size, box, pairs, histogram, *_ = case(3)
    regions = as_reference(size, box, histogram)
    for one, other in pairs:
        found = similarity(one, other, size, box, histogram, 3 * COLOR_BINS, size.sum(), sum(TERMS[t] for t in terms))
        expected = reference.similarity(regions[one], regions[other], size.sum(), terms)
        assert found == pytest.approx(expected, abs=1e-5)


def as_reference(size, box, histogram):
    first = 3 * COLOR_BINS
    return [
        (int(size[i]), tuple(box[i].tolist()), histogram[i, :first].astype(float), histogram[i, first:].astype(float))
        for i in range(len(size))
    ]


@pytest.mark.parametrize("seed", range(30))
def test_grouping_equals_the_reference(seed):
    terms = ALL_TERM_SETS[seed % len(ALL_TERM_SETS)]
    _, size, box, pairs, histogram, *_ = case(seed)
    boxes, parent = group(
        size, box, pairs, histogram.copy(), 3 * COLOR_BINS, int(size.sum()), sum(TERMS[t] for t in terms)
    )
    expected = reference.group(as_reference(size, box, histogram), pairs, int(size.sum()), terms)
    assert boxes.tolist() == [list(corners) for corners in expected]
    assert (parent[:-1] > np.arange(len(boxes) - 1)).all()
    assert parent[-1] == -1
    assert boxes[-1].tolist() == [0, 0, 14, 17]
    for child, up in enumerate(parent[:-1]):
        assert (boxes[child, :2] >= boxes[up, :2]).all()
        assert (boxes[child, 2:] <= boxes[up, 2:]).all()


def test_a_full_heap_loses_no_pairs():
    # A star: every merge of the center pushes all its neighbors again.
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
