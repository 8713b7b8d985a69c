import json

import numpy as np
import pytest

from tfeff.errors import UserError
from tfeff.evaluation import (
    ConfusionMatrix,
    bootstrap_average_precisions,
    coco_scores,
    detection_report,
    match,
    percentile_interval,
)
from tfeff.evaluation.average_precision import precision_recall
from tfeff.evaluation.coco import METRICS

NAMES = ("red cell", "white cell", "platelet", "absent")


def test_the_report_combines_its_parts_and_is_json(make_case):
    found, truth = make_case(0, images=30)
    report = detection_report(found, truth, NAMES, resamples=100)
    plain = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    matching = match(found, truth, 4)
    curves = precision_recall(matching)
    assert plain["ap"] == [*(curve.average_precision for curve in curves[:3]), None]
    assert plain["mean_ap"] == np.mean(plain["ap"][:3])
    assert plain["precision_at_recall"] == [*(curve.interpolated.tolist() for curve in curves[:3]), [None] * 101]
    (resampled,) = bootstrap_average_precisions([matching], resamples=100)
    with_objects = sum((~each.difficult).any() for each in truth)
    assert plain["images_with_objects"] == with_objects < plain["images"]
    low, high = percentile_interval(np.nanmean(resampled, axis=1), with_objects)
    bias = np.mean(np.nanmean(resampled[:, :3], axis=0) - plain["ap"][:3])
    assert bias > 0
    assert plain["mean_ap_interval"] == pytest.approx([low - 2 * bias, high - 2 * bias])
    coco = coco_scores(found, truth, 4)
    assert {name: plain["coco"][name] for name in METRICS} == {
        name: None if np.isnan(coco[name]) else coco[name] for name in METRICS
    }
    matrix = ConfusionMatrix.from_json(plain["confusion"]).dense()
    assert plain["recall"][:3] == pytest.approx(np.diag(matrix)[:3] / matrix[:3].sum(axis=1))
    assert plain["precision"][:3] == pytest.approx(np.diag(matrix)[:3] / matrix[:, :3].sum(axis=0))
    assert plain["objects"] == matrix[:4].sum(axis=1).tolist()
    labels = np.concatenate([image.labels for image in found])
    assert plain["detections"] == [int((labels == label).sum()) for label in range(4)]


def test_the_interval_is_not_moved_by_resamples_without_a_rare_class(make_detections, make_objects):
    """Every second object of a class is found, and the only one of another class."""
    box = [[0, 0, 10, 10]]
    found = [make_detections(box, [0], [0.5]) if image % 2 else make_detections() for image in range(99)]
    truth = [make_objects(box, [0])] * 99
    report = detection_report(
        [*found, make_detections(box, [1], [0.5])], [*truth, make_objects(box, [1])], ("common", "rare")
    )
    assert report.ap == pytest.approx([0.5, 1.0], abs=0.01)
    expected = percentile_interval(report.resampled_mean_ap, 100)
    assert report.mean_ap_interval == pytest.approx(expected, abs=0.01)
    assert expected[0] < 0.5


def test_perfect_detections_have_an_ap_of_one(make_case, make_detections):
    _, truth = make_case(1, images=20)
    found = [make_detections(image.boxes_yxyx, image.labels, np.linspace(1, 0.5, len(image.labels))) for image in truth]
    report = detection_report(found, truth, NAMES, resamples=50)
    assert report.mean_ap == report.mean_ap_eleven_point == 1.0
    assert report.mean_ap_interval == (1.0, 1.0)
    assert report.coco["ap"] == pytest.approx(1.0)
    assert report.errors.counts.sum() == 0
    assert report.confusion.count.sum() == report.confusion.correct.sum() == report.matching.objects.sum()


@pytest.mark.parametrize("has_objects", [True, False])
def test_no_detections_and_no_objects_have_a_report(has_objects, make_case, make_detections, make_objects):
    truth = make_case(1)[1] if has_objects else [make_objects()] * 4
    report = detection_report([make_detections()] * 4, truth, NAMES, resamples=10)
    json.dumps(report.to_dict(), allow_nan=False)
    assert report.mean_ap == 0.0 if has_objects else np.isnan(report.mean_ap)


def test_an_empty_split_is_rejected():
    with pytest.raises(UserError, match="no images"):
        detection_report([], [], NAMES)
