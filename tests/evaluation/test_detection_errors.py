import numpy as np
import pytest

from tfeff.evaluation.average_precision import average_precisions, mean_average_precision
from tfeff.evaluation.detection_errors import KINDS, best_f1_threshold, detection_confusion, detection_errors
from tfeff.evaluation.matching import match

BOX, HALF_OFF, FAR = [0, 0, 10, 10], [0, 6, 10, 16], [50, 50, 60, 60]  # the IoU of HALF_OFF and BOX is 4 / 16


def classify(found, truth, classes=2):
    matching = match([found], [truth], classes)
    errors = detection_errors(matching, [found], [truth])
    kinds = np.empty(len(found), object)
    kinds[matching.index] = [KINDS[kind] if kind >= 0 else "" for kind in errors.kind]
    return kinds.tolist(), dict(zip(KINDS, errors.gains.tolist(), strict=True)), errors


@pytest.mark.parametrize(
    ("box", "label", "kind", "missed"),
    [
        (BOX, 0, "", 0),
        (HALF_OFF, 0, "box", 0),
        (BOX, 1, "class", 0),
        (HALF_OFF, 1, "both", 1),
        (FAR, 0, "background", 1),
        (FAR, 1, "background", 1),
        ([0, 9, 10, 19], 0, "background", 1),  # IoU 1 / 19
    ],
)
def test_the_error_type_of_one_detection(box, label, kind, missed, make_detections, make_objects):
    kinds, gains, errors = classify(make_detections([box], [label], [0.5]), make_objects([BOX], [0]))
    assert kinds == [kind]
    assert errors.missed.sum() == missed
    assert errors.counts.sum() == (kind != "") + missed
    fixable = {name for name, gain in gains.items() if gain > 0}
    assert fixable == ({kind} if kind in ("box", "class") else set())
    if fixable:
        assert gains[kind] == 1.0


def test_the_gain_of_duplicates_is_that_of_removing_them(make_detections, make_objects):
    found = make_detections([BOX, BOX, FAR], [0, 0, 0], [0.9, 0.8, 0.7])
    kinds, gains, _ = classify(found, make_objects([BOX, FAR], [0, 0]))
    assert kinds == ["", "duplicate", ""]
    assert gains["duplicate"] == pytest.approx(1.0 - (0.5 + 0.5 * 2 / 3))
    assert gains["missed"] == 0.0


def test_the_gain_of_missed_objects_is_that_of_not_counting_them(make_detections, make_objects):
    kinds, gains, errors = classify(make_detections([BOX], [0], [0.9]), make_objects([BOX, FAR], [0, 0]))
    assert kinds == [""]
    assert errors.missed.tolist() == [False, True]
    assert gains["missed"] == pytest.approx(0.5)


def test_one_of_several_box_errors_of_an_object_is_fixed(make_detections, make_objects):
    found = make_detections([HALF_OFF, HALF_OFF, FAR], [0, 0, 0], [0.9, 0.8, 0.7])
    kinds, gains, _ = classify(found, make_objects([BOX, FAR], [0, 0]))
    assert kinds == ["box", "box", ""]
    assert gains["box"] == pytest.approx(1.0 - 0.5 / 3)


def test_a_class_error_of_a_matched_object_is_removed(make_detections, make_objects):
    found = make_detections([BOX, BOX, FAR], [0, 1, 1], [0.5, 0.9, 0.8])
    kinds, gains, errors = classify(found, make_objects([BOX, FAR], [0, 1]))
    assert kinds == ["", "class", ""]
    assert gains["class"] == pytest.approx((1.0 + 1.0) / 2 - (1.0 + 0.5) / 2)
    assert not errors.missed.any()


def test_ignored_objects_are_neither_targets_nor_missed(make_detections, make_objects):
    truth = make_objects([BOX, FAR], [0, 0], difficult=[True, False])
    kinds, _, errors = classify(make_detections([BOX, HALF_OFF, BOX], [0, 0, 1], [0.9, 0.8, 0.7]), truth)
    assert kinds == ["", "background", "background"]
    assert errors.missed.tolist() == [False, True]


@pytest.mark.parametrize("seed", range(20))
def test_every_error_has_one_type_and_gains_are_not_negative(seed, make_case):
    found, truth = make_case(seed, images=12, crowd=True)
    matching = match(found, truth, 3)
    errors = detection_errors(matching, found, truth)
    np.testing.assert_array_equal(errors.kind >= 0, matching.false_positive)
    assert errors.counts[:-1].sum() == matching.false_positive.sum()
    assert errors.counts[-1].sum() == errors.missed.sum()
    np.testing.assert_array_equal(errors.target >= 0, np.isin(errors.kind, [0, 1]))
    assert (errors.gains >= 0).all()
    assert (errors.gains <= 1 - mean_average_precision(average_precisions(matching)) + 1e-12).all()


def test_no_detections_and_no_objects(make_detections, make_objects):
    _, gains, errors = classify(make_detections(), make_objects())
    assert errors.counts.sum() == 0
    assert np.isnan(list(gains.values())).all()


A, B, C = [0, 0, 10, 10], [20, 20, 30, 30], [50, 50, 60, 60]


def confusion(found, truth, threshold=0.5):
    matrix = detection_confusion(match([found], [truth], 2), [found], [truth], score_threshold=threshold)
    return matrix.dense().tolist()


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
        matrix = detection_confusion(matching, found, truth, score_threshold=threshold).dense()
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
        matrix = detection_confusion(matching, found, truth, score_threshold=threshold).dense()
        hits = np.diag(matrix).sum()
        return 2 * hits / (matrix[:, :3].sum() + matrix[:3].sum())

    scores = sorted(set(matching.score), reverse=True)
    best = max(scores, key=f1)
    found_threshold = best_f1_threshold(matching)
    lower = max([score for score in scores if score < best], default=-np.inf)
    assert lower < found_threshold < best or found_threshold == best == 0
    assert f1(found_threshold) == f1(best)


def test_the_threshold_is_the_default_if_nothing_is_found(make_detections, make_objects):
    truth = [make_objects([[0, 0, 10, 10]], [0])]
    nothing, wrong = make_detections([], [], []), make_detections([[50, 50, 60, 60]], [0], [0.9])
    assert [best_f1_threshold(match([each], truth, 1)) for each in (nothing, wrong)] == [0.5, 0.5]


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.6, 2.0])
def test_counts_at_a_threshold_are_those_of_the_detections_above_it(threshold, make_case):
    found, truth = make_case(0)
    matching = match(found, truth, 4)
    at = detection_errors(matching, found, truth).counts_at(matching, threshold)
    kept = [each.take(each.scores >= threshold) for each in found]
    alone = detection_errors(match(kept, truth, 4), kept, truth)
    assert at.tolist() == alone.counts.sum(axis=1).tolist()
