import json

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from tfeff.evaluation import coco
from tfeff.evaluation.average_precision import precision_recall
from tfeff.evaluation.coco import METRICS, bootstrap_coco_ap, coco_scores, images_by_size, to_coco_results
from tfeff.evaluation.matching import match


def reference(found, truth, classes, folder):
    """COCO's twelve metrics, computed from two JSON files as in pycocotools' example."""
    annotations = []
    for image, real in enumerate(truth):
        areas = np.full(len(real.labels), np.nan) if real.areas is None else real.areas
        for box, label, crowd, area in zip(real.boxes_yxyx, real.labels, real.crowd, areas.tolist(), strict=True):
            top, left, bottom, right = box.tolist()
            x, y, w, h = left, top, right - left, bottom - top
            row = {"id": len(annotations) + 1, "image_id": image + 100, "category_id": int(label) + 7}
            size = w * h if np.isnan(area) else area
            annotations.append(row | {"bbox": [x, y, w, h], "area": size, "iscrowd": int(crowd)})
    dataset = {
        "info": {},
        "images": [{"id": image + 100, "width": 500, "height": 500} for image in range(len(truth))],
        "categories": [{"id": label + 7, "name": str(label)} for label in range(classes)],
        "annotations": annotations,
    }
    (folder / "truth.json").write_text(json.dumps(dataset))
    results = to_coco_results(
        found, [image + 100 for image in range(len(truth))], [label + 7 for label in range(classes)]
    )
    (folder / "detections.json").write_text(json.dumps(results))
    annotated = COCO(str(folder / "truth.json"))
    evaluation = COCOeval(annotated, annotated.loadRes(str(folder / "detections.json")), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    per_class = []
    for label in range(classes):
        precision = evaluation.eval["precision"][:, :, label, 0, 2]
        per_class.append(precision[precision > -1].mean() if (precision > -1).any() else -1)
    return evaluation.stats, per_class


@pytest.mark.parametrize("seed", range(4))
def test_metrics_equal_pycocotools(seed, make_case, tmp_path, capsys):
    found, truth = make_case(seed, images=25, side=(100.0, 400.0)[seed % 2], crowd=True, classes=4)
    scores = coco_scores(found, truth, 5)  # one class without objects
    assert capsys.readouterr().out == ""
    expected, per_class = reference(found, truth, 5, tmp_path)
    actual = np.nan_to_num([scores[name] for name in METRICS], nan=-1)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(np.nan_to_num(scores["ap_per_class"], nan=-1), per_class, rtol=0, atol=1e-12)
    assert expected[0] > 0.05


def test_images_count_by_size_if_they_have_objects_that_are_no_crowds(make_objects):
    small, medium, large = [0, 0, 9, 9], [0, 0, 50, 50], [0, 0, 100, 100]
    truth = [
        make_objects([small, large], [0, 1]),
        make_objects([small, medium], [1, 1], difficult=[False, True], crowd=[True, False]),
        make_objects([large], [0]),
        make_objects(),
    ]
    assert images_by_size(truth) == {"ap": 3, "ap_small": 1, "ap_medium": 1, "ap_large": 2}


def test_a_resample_equals_an_evaluation_of_its_images(make_case, make_detections, monkeypatch):
    found, truth = make_case(1, images=15, side=200.0, crowd=True)
    rng = np.random.default_rng(0)
    # Unique scores: ties between images are broken by their order, which resampling changes.
    untied = [make_detections(image.boxes_yxyx, image.labels, rng.random(len(image))) for image in found]
    values = bootstrap_coco_ap(untied, truth, 4, resamples=50, seed=5)
    drawn = np.random.default_rng(5).multinomial(15, np.full(15, 1 / 15), size=50)
    for number, counts in enumerate(drawn):
        chosen = np.repeat(np.arange(15), counts)
        scores = coco_scores([untied[i] for i in chosen], [truth[i] for i in chosen], 4)
        for key, resampled in values.items():
            assert resampled[number] == pytest.approx(scores[key], abs=1e-12, nan_ok=True)
    assert len(np.unique(values["ap_small"])) > 10
    monkeypatch.setattr(coco, "CHUNK", 10)
    in_parts = bootstrap_coco_ap(untied, truth, 4, resamples=50, seed=5)
    np.testing.assert_allclose(in_parts["ap"], values["ap"], rtol=1e-12)


def test_sizes_are_those_of_the_annotations(make_case, tmp_path):
    found, truth = make_case(5, images=25, side=200.0, crowd=True, classes=3)
    of_boxes, rng = coco_scores(found, truth, 3), np.random.default_rng(0)
    for each in truth[::2]:
        sides = each.boxes_yxyx[:, 2:] - each.boxes_yxyx[:, :2]
        each.areas = sides.prod(axis=1).astype(float) * rng.uniform(0.1, 1, len(sides))
        each.areas[::3] = np.nan
    scores = coco_scores(found, truth, 3)
    expected, _ = reference(found, truth, 3, tmp_path)
    actual = np.nan_to_num([scores[name] for name in METRICS], nan=-1)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-12)
    changed = {name for name in METRICS if scores[name] != of_boxes[name]}
    assert changed == {name for name in METRICS if name.endswith(("small", "medium", "large"))}


@pytest.mark.slow
@pytest.mark.parametrize("pairs", [2**15, 300, 1])
def test_metrics_equal_pycocotools_with_more_detections_than_count(pairs, make_case, tmp_path, monkeypatch):
    monkeypatch.setattr(coco, "PAIRS", pairs)
    found, truth = make_case(9, images=6, side=60.0, crowd=True, classes=2, max_objects=200)
    assert max(np.bincount(each.labels, minlength=1).max() for each in found) > 150
    # Two objects in one place: their overlaps are equal, and the last one is matched first.
    truth[0].boxes_yxyx[1], truth[0].labels[1] = truth[0].boxes_yxyx[0], truth[0].labels[0]
    scores = coco_scores(found, truth, 2)
    expected, _ = reference(found, truth, 2, tmp_path)
    actual = np.nan_to_num([scores[name] for name in METRICS], nan=-1)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-12)
    assert scores["ar100"] > scores["ar10"] > scores["ar1"] > 0
    crowded = [np.bincount(each.labels[~each.crowd], minlength=2).max() > 100 for each in truth]
    assert scores["capped"] == sum(crowded)


def test_images_with_more_objects_than_count_are_counted(make_detections, make_objects):
    truth = [make_objects([[0, 0, 10, 10]] * count, [0] * 100 + [1] * (count - 100)) for count in (100, 200, 201)]
    found = [make_detections([], [], [])] * 3
    assert coco_scores(found, truth, 2)["capped"] == 1


def test_few_pairs_are_matched_at_once(monkeypatch):
    monkeypatch.setattr(coco, "PAIRS", 100)
    rank, pairs = np.repeat([0, 1], 50), np.tile([1, 70, 0, 250, 3], 20)
    chunks = list(coco._chunks(np.arange(100), rank, pairs))
    assert sorted(np.concatenate(chunks).tolist()) == list(range(100))
    assert all(len(set(rank[chunk])) == 1 for chunk in chunks)
    assert max(pairs[chunk].sum() for chunk in chunks) <= 100 + 250


def padded(arrays, length, value):
    """Returns [images, length, ...]: the arrays of all images as one, padded with a value."""
    rows = [np.concatenate([x, np.full((length - len(x), *x.shape[1:]), value, np.float32)]) for x in arrays]
    return np.stack(rows).astype(np.float32)


@pytest.mark.parametrize("seed", range(2))
def test_metrics_equal_keras_cv(seed, make_case, make_detections):
    import keras_cv

    # keras-cv skips images without detections, breaks ties in a different order and reports 0 for undefined metrics.
    found, truth = make_case(seed, images=25, side=300.0)
    truth = [x for x, detections in zip(truth, found, strict=True) if len(detections)]
    scores = np.random.default_rng(seed).permutation(1000) / 1000
    found = [
        make_detections(x.boxes_yxyx, x.labels, scores[20 * image : 20 * image + len(x)])
        for image, x in enumerate(x for x in found if len(x))
    ]
    metric = keras_cv.metrics.BoxCOCOMetrics(bounding_box_format="yxyx", evaluate_freq=1)
    metric.update_state(
        {"boxes": padded([x.boxes_yxyx for x in truth], 8, -1), "classes": padded([x.labels for x in truth], 8, -1)},
        {
            "boxes": padded([x.boxes_yxyx for x in found], 20, -1),
            "classes": padded([x.labels for x in found], 20, -1),
            "confidence": padded([x.scores for x in found], 20, -1),
        },
    )
    expected = [float(value) for value in metric.result().values()]  # in pycocotools' order
    ours = coco_scores(found, truth, 3)
    assert np.nan_to_num([ours[name] for name in METRICS]) == pytest.approx(expected, abs=1e-6)
    assert expected[0] > 0.05


def test_ap50_is_the_mean_of_the_interpolated_precision_where_objects_do_not_overlap(make_detections, make_objects):
    # 7 objects: their recalls meet COCO's recall thresholds (k / 100) only at 0 and 1.
    rng = np.random.default_rng(0)
    starts = 100.0 * np.arange(7)
    boxes = np.stack([starts, starts, starts + 40, starts + 40], axis=1)
    chosen = rng.integers(0, 6, 30)  # duplicates; the last object is missed
    shifts = rng.uniform(0, 30, (30, 1)) * [1, 0, 1, 0]  # IoU 1 to 1 / 7
    found = [make_detections(boxes[chosen] + shifts, np.zeros(30), rng.permutation(30) / 30)]
    truth = [make_objects(boxes, [0] * 7)]
    curve = precision_recall(match(found, truth, 1))[0]
    assert 0.1 < curve.interpolated.mean() < 0.9
    assert coco_scores(found, truth, 1)["ap50"] == pytest.approx(curve.interpolated.mean(), abs=1e-12)


def test_metrics_are_zero_without_detections_and_nan_without_objects(make_detections, make_objects):
    box = [[0, 0, 50, 50]]
    nothing = coco_scores([make_detections()], [make_objects(box, [0])], 2)
    assert (nothing["ap"], nothing["ar100"], nothing["ap_medium"]) == (0, 0, 0)
    assert np.isnan([nothing["ap_small"], nothing["ap_per_class"][1]]).all()
    strays = coco_scores([make_detections(box, [0], [0.5])], [make_objects()], 2)
    assert np.isnan([strays["ap"], strays["ar100"]]).all()
    assert np.isnan(coco_scores([make_detections()], [make_objects()], 1)["ap"])


def test_results_are_json_with_boxes_as_left_top_width_height(make_detections):
    found = [make_detections([[1, 2, 11, 22]], [0], [0.25]), make_detections()]
    assert json.loads(json.dumps(to_coco_results(found, ["a", "b"]))) == [
        {"image_id": "a", "category_id": 0, "bbox": [2.0, 1.0, 20.0, 10.0], "score": 0.25}
    ]
