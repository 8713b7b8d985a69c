import numpy as np
import pytest

from tfeff.evaluation.detection_confusion import best_f1_threshold, detection_confusion
from tfeff.evaluation.matching import match

A, B, C = [0, 0, 10, 10], [20, 20, 30, 30], [50, 50, 60, 60]


def confusion(found, truth, threshold=0.5):
    return detection_confusion(match([found], [truth], 2), [found], [truth], score_threshold=threshold).tolist()


def test_true_positives_confusions_background_and_misses_have_their_cells(make_detections, make_objects):
    found = make_detections([A, A, B, C, C], [0, 1, 0, 1, 0], [0.9, 0.8, 0.7, 0.6, 0.1])
    truth = make_objects([A, B, [80, 80, 90, 90]], [0, 1, 1])
    # A is a true positive and, with the other class, background; B has the wrong class; C is background; one is missed.
    assert confusion(found, truth) == [[1, 0, 0], [1, 0, 1], [0, 2, 0]]
    assert confusion(found, truth, 0.85) == [[1, 0, 0], [0, 0, 2], [0, 0, 0]]


def test_ignored_objects_and_their_detections_are_not_counted(make_detections, make_objects):
    truth = make_objects([A, B], [0, 1], difficult=[True, False])
    assert confusion(make_detections([A], [0], [0.9]), truth) == [[0, 0, 0], [0, 0, 1], [0, 0, 0]]


@pytest.mark.parametrize("seed", range(10))
def test_every_detection_and_every_object_is_counted_once(seed, make_case):
    found, truth = make_case(seed, images=10, crowd=True)
    matching = match(found, truth, 3)
    for threshold in (0.0, 0.4, 0.8):
        matrix = detection_confusion(matching, found, truth, score_threshold=threshold)
        accepted = matching.score >= threshold
        assert (
            np.diag(matrix)[:3].tolist()
            == np.bincount(matching.label[matching.true_positive & accepted], minlength=3).tolist()
        )
        counted = matching.label[accepted & ~matching.ignored]
        assert matrix[:, :3].sum(axis=0).tolist() == np.bincount(counted, minlength=3).tolist()
        assert matrix[:3].sum(axis=1).tolist() == matching.objects.tolist()
        assert matrix[3, 3] == 0


@pytest.mark.parametrize("seed", range(10))
def test_the_best_threshold_equals_an_exhaustive_search(seed, make_case):
    found, truth = make_case(seed, images=10)
    matching = match(found, truth, 3)

    def f1(threshold):
        matrix = detection_confusion(matching, found, truth, score_threshold=threshold)
        hits = np.diag(matrix).sum()
        return 2 * hits / (matrix[:, :3].sum() + matrix[:3].sum())

    scores = sorted(set(matching.score), reverse=True)
    best = max(scores, key=f1)
    found_threshold = best_f1_threshold(matching)
    lower = max([score for score in scores if score < best], default=-np.inf)
    assert lower < found_threshold < best or found_threshold == best == 0
    assert f1(found_threshold) == f1(best)
