from fractions import Fraction

import numpy as np
import pytest

from tfeff.evaluation.average_precision import average_precisions, mean_average_precision, precision_recall
from tfeff.evaluation.matching import match


def iou(first, second):
    height = max(0.0, min(first[2], second[2]) - max(first[0], second[0]))
    width = max(0.0, min(first[3], second[3]) - max(first[1], second[1]))
    areas = [(bottom - top) * (right - left) for top, left, bottom, right in (first, second)]
    union = sum(areas) - height * width
    return height * width / union if union > 0 else 0.0


def in_crowd(box, truth, label):
    """Returns the largest share of the box in a crowd of the class."""
    top, left, bottom, right = map(float, box)
    shares = [0.0]
    for other in truth.boxes_yxyx[truth.crowd & (truth.labels == label)]:
        height = max(0.0, min(bottom, other[2]) - max(top, other[0]))
        width = max(0.0, min(right, other[3]) - max(left, other[1]))
        shares.append(height * width / ((bottom - top) * (right - left)))
    return max(shares)


def by_definition(found, truth, label, threshold):
    """Returns (all-point, 11-point) average precision of one class, computed one detection and one recall at a time."""
    total, rows = 0, []
    for image, (predicted, real) in enumerate(zip(found, truth, strict=True)):
        for name, difficult, crowd in zip(real.labels, real.difficult, real.crowd, strict=True):
            total += name == label and not difficult and not crowd
        for number, score in enumerate(predicted.scores):
            if predicted.labels[number] == label:
                rows.append((-float(score), image, number))
    right, wrong, taken, points = 0, 0, set(), []
    for _, image, number in sorted(rows):
        highest, where = 0.0, None
        for k, box in enumerate(truth[image].boxes_yxyx):
            if truth[image].labels[k] == label and not truth[image].crowd[k]:
                overlap = iou([float(x) for x in found[image].boxes_yxyx[number]], [float(x) for x in box])
                if where is None or overlap > highest:
                    highest, where = overlap, k
        if where is not None and highest >= threshold and truth[image].difficult[where]:
            continue
        if where is not None and highest >= threshold and (image, where) not in taken:
            taken.add((image, where))
            right += 1
        elif in_crowd(found[image].boxes_yxyx[number], truth[image], label) >= threshold:
            continue
        else:
            wrong += 1
        points.append((right, Fraction(right, right + wrong)))
    if total == 0:
        return float("nan"), float("nan")

    def best_from(recall):
        return max((precision for hits, precision in points if Fraction(hits, int(total)) >= recall), default=0)

    area = sum(best_from(Fraction(k, int(total))) for k in range(1, int(total) + 1)) / Fraction(int(total))
    eleven = sum(best_from(Fraction(k, 10)) for k in range(11)) / Fraction(11)
    return float(area), float(eleven)


@pytest.mark.slow
def test_average_precision_equals_its_definition(make_case):
    undefined = 0
    for seed in range(1000):
        found, truth = make_case(seed, images=1 + seed % 5, crowd=seed % 3 == 0)
        threshold = (0.5, 0.3, 0.75)[seed % 3]
        matching = match(found, truth, 3, iou_threshold=threshold)
        expected = np.array([by_definition(found, truth, label, threshold) for label in range(3)])
        np.testing.assert_allclose(average_precisions(matching), expected[:, 0], rtol=0, atol=1e-9)
        np.testing.assert_allclose(average_precisions(matching, eleven_point=True), expected[:, 1], rtol=0, atol=1e-9)
        undefined += np.isnan(expected).any()
    assert 100 < undefined < 900  # some cases have classes without objects, others have none


def test_3_of_10_objects_reach_a_recall_of_0_3(make_detections, make_objects):
    boxes = [[20 * k, 0, 20 * k + 10, 10] for k in range(10)]
    matching = match([make_detections(boxes[:3], [0] * 3, [0.9, 0.8, 0.7])], [make_objects(boxes, [0] * 10)], 1)
    assert average_precisions(matching).tolist() == pytest.approx([0.3])
    assert average_precisions(matching, eleven_point=True).tolist() == pytest.approx([4 / 11])
    curve = precision_recall(matching)[0]
    assert curve.recall.tolist() == pytest.approx([0.1, 0.2, 0.3])
    assert curve.interpolated.tolist() == [1.0] * 31 + [0.0] * 70


def test_the_mean_leaves_out_classes_without_objects(make_detections, make_objects):
    box = [[0, 0, 5, 5]]
    matching = match([make_detections(box, [1], [0.9])], [make_objects(box * 2, [0, 1])], 3)
    ap = average_precisions(matching)
    np.testing.assert_array_equal(ap, [0.0, 1.0, np.nan])
    assert mean_average_precision(ap) == 0.5
    assert np.isnan(mean_average_precision(ap[2:]))
    assert np.isnan(precision_recall(matching)[2].interpolated).all()


def test_the_envelope_is_a_decreasing_upper_bound(make_case):
    found, truth = make_case(7, images=40)
    curve = precision_recall(match(found, truth, 3))[0]
    assert (np.diff(curve.envelope) <= 0).all()
    assert (curve.envelope >= curve.precision).all()
    assert (np.diff(curve.scores) <= 0).all()
    reached = [curve.precision[curve.recall >= recall] for recall in np.arange(1, curve.objects + 1) / curve.objects]
    # Every object adds the highest precision at its recall or above.
    expected = sum(values.max(initial=0) for values in reached) / curve.objects
    assert curve.average_precision == pytest.approx(expected, rel=1e-12)
