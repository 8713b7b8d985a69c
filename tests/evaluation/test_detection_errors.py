import numpy as np
import pytest

from tfeff.evaluation.average_precision import average_precisions, mean_average_precision
from tfeff.evaluation.detection_errors import KINDS, detection_errors
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
