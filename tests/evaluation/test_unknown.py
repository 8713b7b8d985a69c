import itertools

import numpy as np
import pytest

from tfeff.evaluation import unknown_threshold, unknown_thresholds


def vectors_of(labels, dimension=4, seed=0):
    rng = np.random.default_rng(seed)
    found = rng.normal(size=(max(labels) + 1, dimension))[labels] + rng.normal(size=(len(labels), dimension))
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


def test_one_in_twenty_unknown_images_reaches_the_threshold_of_all_galleries():
    labels = np.repeat(np.arange(5), [2, 3, 3, 4, 8])
    vectors = vectors_of(labels)
    found = unknown_thresholds(vectors, labels)
    assert list(found) == [1, 8]
    for size, threshold in found.items():
        shares, above = [], []
        for image, label in enumerate(labels):
            similarity = [float(vectors[image] @ vectors[other]) for other in np.flatnonzero(labels != label)]
            highest = np.array([max(drawn) for drawn in itertools.combinations(similarity, size)])
            shares.append(np.mean(highest >= threshold - 1e-6))
            above.append(np.mean(highest >= threshold + 1e-6))
        assert np.mean(above) < 0.05 <= np.mean(shares)


@pytest.mark.parametrize("size", [8, 64])
def test_unknown_images_reach_it_as_often_as_stated(size):
    known, new, images = np.repeat(np.arange(30), 12), np.repeat(np.arange(300), 2), vectors_of(np.arange(400), 8, 3)
    thresholds = unknown_thresholds(vectors_of(known, 8, 1), known)
    gallery, accepted, rng = vectors_of(new, 8, 2), [], np.random.default_rng(0)
    for image in images:
        drawn = rng.choice(len(gallery), size, replace=False)
        accepted.append((gallery[drawn] @ image).max() >= thresholds[size])
    assert 0.02 < np.mean(accepted) < 0.1


def test_too_few_images_have_no_threshold():
    assert unknown_thresholds(vectors_of(np.arange(19)), np.arange(19)) == {}
    assert list(unknown_thresholds(vectors_of(np.arange(20)), np.arange(20))) == [1, 8]
    few_others = np.array([0] * 60 + [1] * 7)  # images of the first class have seven others
    assert unknown_thresholds(vectors_of(few_others), few_others) == {}
    one_class = np.zeros(30, np.int64)
    assert unknown_thresholds(vectors_of(one_class), one_class) == {}


def test_of_many_images_a_part_is_compared():
    labels = np.arange(1500)
    assert list(unknown_thresholds(vectors_of(labels), labels)) == [1, 8, 64, 512]


def test_thresholds_between_and_beyond_known_sizes():
    known = {64: 0.7, 1: 0.1, 8: 0.4}
    for images, threshold in {1: 0.1, 2: 0.2, 8: 0.4, 16: 0.5, 64: 0.7, 256: 0.9, 10_000: 1.0}.items():
        assert unknown_threshold(known, images) == pytest.approx(threshold)
    assert unknown_threshold({}, 5) is None
    assert unknown_threshold({1: 0.5}, 5) is None
