import json

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from tfeff.evaluation import embedding_report, gallery_accuracy
from tfeff.evaluation.paired import wilson_interval
from tfeff.evaluation.retrieval import retrieval
from tfeff.evaluation.verification import pairs_of

NAMES = ["a", "b", "absent", "c", "single"]
LABELS = np.array([0] * 20 + [1] * 15 + [3] * 10 + [4])


@pytest.fixture(scope="module")
def vectors():
    rng = np.random.default_rng(0)
    found = rng.normal(size=(5, 8))[LABELS] + rng.normal(size=(46, 8))
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def test_report_summarizes_neighbors_and_pairs(vectors):
    report, found = embedding_report(vectors, LABELS, NAMES, threshold=0.3), retrieval(vectors, LABELS)
    assert (report.examples, report.queries) == (46, 45)
    assert report.recall_at_1 == found.found_within(1).mean()
    assert report.recall_at_1_interval == wilson_interval(report.recall_at_1, 45)
    assert report.recall_at_5 == found.found_within(5).mean()
    assert report.map_at_r == found.average_precision.mean()
    assert report.map_at_r_interval[0] < report.map_at_r < report.map_at_r_interval[1]
    assert (report.false_accept_rate, report.false_reject_rate) == pairs_of(vectors, LABELS).rates(0.3)
    assert report.class_names == ("a", "b", "c", "single")
    assert report.class_images.tolist() == [20, 15, 10, 1]
    by_class = [found.found_within(1)[LABELS[found.queries] == label].mean() for label in (0, 1, 3)]
    np.testing.assert_allclose(report.class_recall, [*by_class, np.nan])


def test_json_has_none_for_undefined_values(vectors):
    report = json.loads(json.dumps(embedding_report(vectors, LABELS, NAMES).to_json()))
    assert report["class_recall"][3] is None
    assert report["threshold"] is report["false_accept_rate"] is report["gallery"] is None
    assert report["pairs"]["same"] == 190 + 105 + 45


def test_images_that_are_as_similar_to_another_class_of_a_gallery_are_errors():
    labels, one = np.array([0, 1, 1, 0]), np.tile(np.float32([0.6, 0.8]), (4, 1))
    for order in (np.arange(4), np.arange(4)[::-1]):
        found = gallery_accuracy(one, labels, one[order], labels[order])
        assert (found.images, found.accuracy) == (4, 0)
    apart = np.float32([[1, 0], [0, 1], [0, 1], [1, 0]])
    assert gallery_accuracy(apart, labels, apart, labels).accuracy == 1


def test_accuracy_of_a_gallery_is_that_of_scikit_learn(vectors):
    known = LABELS != 3  # images of the class c are in no gallery
    gallery, queries = np.flatnonzero(known)[::2], np.arange(46)
    found = gallery_accuracy(vectors[queries], LABELS[queries], vectors[gallery], LABELS[gallery])
    among = queries[np.isin(LABELS, LABELS[gallery])]
    classifier = KNeighborsClassifier(1).fit(vectors[gallery], LABELS[gallery])
    assert (found.images, found.gallery) == (len(among), len(gallery))
    assert found.accuracy == classifier.score(vectors[among], LABELS[among])
    assert found.accuracy_interval == wilson_interval(found.accuracy, len(among))
    assert gallery_accuracy(vectors[35:45], LABELS[35:45], vectors[gallery], LABELS[gallery]) is None
