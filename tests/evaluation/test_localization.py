"""Localization metrics against a loop over images."""

import json

import numpy as np
import pytest

from tfeff.boxes import iou
from tfeff.errors import UserError
from tfeff.evaluation import localization_report
from tfeff.evaluation.paired import wilson_interval

NAMES = ("a", "b", "c")


def case(count=300, seed=0):
    rng = np.random.default_rng(seed)
    corners = np.sort(rng.uniform(0, 1, (count, 2, 2)), axis=1).reshape(-1, 4)
    boxes = corners + rng.normal(0, 0.06, (count, 4))
    labels = rng.integers(0, 2, count)  # class c has no images
    probabilities = rng.dirichlet(np.ones(3), count)
    return labels, probabilities, corners, boxes


def test_every_metric_equals_a_loop_over_images():
    labels, probabilities, objects, boxes = case()
    report = localization_report(labels, probabilities, objects, boxes, NAMES)
    overlaps, fits, correct = [], 0, 0
    for label, row, true, predicted in zip(labels, probabilities, objects, boxes, strict=True):
        overlap = float(iou(predicted[None], true[None])[0, 0])
        overlaps.append(overlap)
        fits += overlap >= 0.5
        correct += overlap >= 0.5 and int(np.argmax(row)) == label
    assert 0 < correct < fits < 300
    assert report.mean_iou == pytest.approx(np.mean(overlaps))
    assert report.median_iou == pytest.approx(np.median(overlaps))
    assert report.box_accuracy == pytest.approx(fits / 300)
    assert report.localization_accuracy == pytest.approx(correct / 300)
    assert report.localization_error == pytest.approx(1 - correct / 300)
    assert report.localization_accuracy_interval == wilson_interval(correct / 300, 300)
    for index, value in enumerate(report.class_iou[:2]):
        assert value == pytest.approx(
            np.mean([overlap for overlap, label in zip(overlaps, labels, strict=True) if label == index])
        )
    assert np.isnan(report.class_iou[2])
    assert report.iou_counts.tolist() == [
        sum(low <= overlap < low + 0.05 for overlap in overlaps) for low in np.arange(20) / 20
    ]
    assert report.classification.top1 == np.mean(probabilities.argmax(axis=1) == labels)


def test_the_interval_of_the_mean_has_its_coverage():
    covered = 0
    for seed in range(60):
        labels, probabilities, objects, boxes = case(80, seed)
        low, high = localization_report(labels, probabilities, objects, boxes, NAMES).mean_iou_interval
        covered += low <= 0.40994 <= high  # the mean of a million cases
    assert covered >= 51


def test_pixels_and_relative_coordinates_give_equal_metrics():
    labels, probabilities, objects, boxes = case()
    relative = localization_report(labels, probabilities, objects, boxes, NAMES)
    pixels = localization_report(labels, probabilities, objects * [60, 90, 60, 90], boxes * [60, 90, 60, 90], NAMES)
    assert pixels.mean_iou == pytest.approx(relative.mean_iou)
    assert pixels.localization_accuracy == relative.localization_accuracy


def test_perfect_boxes_and_one_class():
    _, _, objects, _ = case(20)
    report = localization_report(np.zeros(20, int), np.ones((20, 1)), objects, objects, ("raccoon",))
    assert report.mean_iou == report.localization_accuracy == report.box_accuracy == 1.0
    assert report.mean_iou_interval == (1.0, 1.0)
    loaded = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert loaded["iou_counts"][-1] == 20
    assert loaded["top1"] == 1.0


def test_invalid_boxes_are_rejected():
    labels, probabilities, objects, boxes = case(10)
    with pytest.raises(UserError, match=r"must have shape \(10, 4\)"):
        localization_report(labels, probabilities, objects, boxes[:9], NAMES)
    boxes[3, 1] = np.nan
    with pytest.raises(UserError, match="NaN or infinite"):
        localization_report(labels, probabilities, objects, boxes, NAMES)
