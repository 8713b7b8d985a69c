import sys

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from tfeff.errors import UserError
from tfeff.evaluation.retrieval import contrastive_loss, retrieval, sample


def unit(values):
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


def vectors_of(labels, seed=0, dimension=6, noise=1.0):
    rng = np.random.default_rng(seed)
    centers = rng.normal(size=(max(labels) + 1, dimension))
    return unit(centers[labels] + noise * rng.normal(size=(len(labels), dimension)))


LABELS = np.array([0] * 9 + [1] * 2 + [2] * 1 + [3] * 14 + [4] * 3)


def by_hand(vectors, labels, query):
    """Returns the recall at 1 and 5, R-precision and average precision of a query, with loops."""
    similarity = vectors.astype(np.float64) @ vectors[query].astype(np.float64)
    order = [other for other in np.argsort(-similarity) if other != query]
    hits = [labels[other] == labels[query] for other in order]
    others = sum(hits)
    precision = [sum(hits[:k]) / k if hits[k - 1] else 0.0 for k in range(1, others + 1)]
    return hits[0], any(hits[:5]), sum(hits[:others]) / others, sum(precision) / others


@pytest.mark.parametrize("chunk", [2**22, 60])
def test_all_measures_match_loops(monkeypatch, chunk):
    monkeypatch.setattr(sys.modules["tfeff.evaluation.retrieval"], "_CHUNK", chunk)
    vectors = vectors_of(LABELS)
    found = retrieval(vectors, LABELS)
    np.testing.assert_array_equal(found.queries, np.flatnonzero(LABELS != 2))  # the class 2 has a single image
    expected = np.array([by_hand(vectors, LABELS, query) for query in found.queries], np.float64)
    np.testing.assert_array_equal(found.found_within(1), expected[:, 0])
    np.testing.assert_array_equal(found.found_within(5), expected[:, 1])
    np.testing.assert_allclose(found.r_precision, expected[:, 2])
    np.testing.assert_allclose(found.average_precision, expected[:, 3])
    assert 0 < found.average_precision.mean() < found.r_precision.mean() < 1
    own = np.einsum("qd,qkd->qk", vectors[found.queries], vectors[found.nearest])
    np.testing.assert_allclose(found.similarity, own, atol=1e-6)
    assert (np.diff(found.similarity) <= 1e-6).all()


def test_the_nearest_other_image_is_that_of_scikit_learn():
    vectors = vectors_of(LABELS, seed=1)
    found = retrieval(vectors, LABELS)
    for query, correct in zip(found.queries, found.found_within(1), strict=True):
        rest = np.arange(len(LABELS)) != query
        classifier = KNeighborsClassifier(1).fit(vectors[rest], LABELS[rest])
        assert (classifier.predict(vectors[[query]])[0] == LABELS[query]) == correct


def test_average_precision_of_the_paper():
    """arXiv:2003.08505, figure 2: with R = 10, first place right is 10 %, first two 20 %; all ten right 100 %."""
    angles = np.arange(21) * 0.1  # neighbors by angle

    def average_precision(right):
        labels = np.array([0] + [0 if place in right else 1 for place in range(1, 21)])
        vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        return retrieval(vectors, labels).average_precision[0]

    late = tuple(range(12, 21))
    assert average_precision((1, *late)) == pytest.approx(0.1)
    assert average_precision((1, 2, *late[:8])) == pytest.approx(0.2)
    assert average_precision((1, 10, *late[:8])) == pytest.approx((1 + 2 / 10) / 10)
    assert average_precision(range(1, 11)) == 1


def test_a_network_with_one_vector_for_all_images_is_always_wrong():
    vectors = unit(np.ones((40, 8)))
    found = retrieval(vectors, np.repeat(np.arange(4), 10))
    assert not found.found_within(5).any()
    assert found.average_precision.max() < 0.01


def test_queries_are_limited_but_their_neighbors_are_not():
    labels = np.repeat(np.arange(5), 20)
    vectors = vectors_of(labels)
    whole, some = retrieval(vectors, labels), retrieval(vectors, labels, limit=12)
    assert len(some.queries) == 12
    assert (some.queries[0], some.queries[-1]) == (0, 99)
    np.testing.assert_array_equal(some.nearest, whole.nearest[some.queries])
    np.testing.assert_allclose(some.average_precision, whole.average_precision[some.queries])


def test_nothing_to_compare_and_vectors_that_are_not_finite():
    assert retrieval(np.eye(3), [0, 1, 2]).nearest.shape == (0, 2)
    assert not len(retrieval(np.eye(3), [4, 4, 4]).queries)  # of one class
    with pytest.raises(UserError, match="1 of 2 images are not finite: the network has diverged"):
        retrieval([[np.nan, 0], [1, 0]], [0, 0])


def test_contrastive_loss_matches_loops():
    vectors, losses = vectors_of(LABELS), []
    for i in range(len(LABELS)):
        positives = [p for p in range(len(LABELS)) if p != i and LABELS[p] == LABELS[i]]
        total = sum(np.exp(vectors[i] @ vectors[a] / 0.2) for a in range(len(LABELS)) if a != i)
        if positives:
            losses.append(-np.mean([np.log(np.exp(vectors[i] @ vectors[p] / 0.2) / total) for p in positives]))
    assert contrastive_loss(vectors, LABELS, 0.2) == pytest.approx(np.mean(losses), rel=1e-5)


def test_samples_keep_several_images_of_a_class():
    many = np.repeat(np.arange(5000), 2)
    chosen = sample(many, 1000)
    assert len(chosen) == 500  # 250 classes of two images, since four of each were wanted
    assert (np.unique(many[chosen], return_counts=True)[1] == 2).all()
    few = np.random.default_rng(0).integers(0, 10, 20_000)
    counts = np.bincount(few[sample(few, 1000)])
    assert counts.tolist() == [100] * 10
    np.testing.assert_array_equal(sample(LABELS, 100), np.arange(len(LABELS)))
