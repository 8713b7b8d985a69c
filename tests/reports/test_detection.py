import json
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from sklearn.metrics import precision_score, recall_score

from tfeff.evaluation import Detections, detection_report
from tfeff.rcnn.task import BACKGROUND_OVERLAP
from tfeff.reporting import tables
from tfeff.reports import detection
from tfeff.reports.detection import (
    GALLERY_IMAGES,
    VALIDATED,
    DetectionEvaluator,
    RegionDetectionEvaluator,
    detection_figures,
    galleries,
    predicted_rows,
    region_report,
    summary_rows,
    worst_images,
)

NAMES = ("red cell", "white cell", "platelet", "absent")


class Objects:
    def __init__(self, boxes, labels):
        self.boxes_yxyx, self.labels = np.array(boxes, np.float32).reshape(-1, 4), np.array(labels, np.int32)
        self.difficult = self.crowd = np.zeros(len(labels), bool)
        self.areas = None


@pytest.mark.parametrize("empty", [False, True])
def test_all_figures_of_a_report_are_legible(empty, assert_legible):
    boxes = [[0, 0, 10, 10], [20, 20, 40, 40]]
    truth = Objects([], []) if empty else Objects(boxes, [0, 1])
    found = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.int32), np.zeros(0, np.float32))
    if not empty:
        found = Detections(np.array(boxes, np.float32), np.array([0, 0], np.int32), np.array([0.5, 0.25], np.float32))
    report = detection_report([found], [truth], ("red cell", "white cell"), resamples=5)
    figures = detection_figures(json.loads(json.dumps(report.to_dict())))
    assert list(figures) == ["precision_recall", "confusion", "per_class", "errors"]
    for figure in figures.values():
        assert_legible(figure)
    (legend,) = figures["per_class"].legends
    bars = " and ".join(text.get_text() for text in legend.get_texts())
    assert DetectionEvaluator.captions["per_class"].startswith(f"{bars.capitalize()} of each class")
    cells = figures["confusion"].axes[0].get_yticklabels()
    assert [cell.get_text() for cell in cells] == ["red cell", "white cell", "background"]


def shown(report):
    return "\n".join(map(tables.text, DetectionEvaluator().tables(report.to_dict())))


def test_the_text_names_every_class_metric_and_error_type(make_case):
    text = shown(detection_report(*make_case(0), NAMES, resamples=10, score_threshold=0.5))
    for words in (
        *NAMES,
        "VOC 2007 mAP",
        "COCO AR, large objects",
        "95 % interval",
        "duplicate",
    ):
        assert words in text
    assert max(map(len, text.splitlines())) <= 100


def test_the_rows_of_coco_say_that_difficult_objects_count(make_detections, make_objects):
    def notes(**flags):
        truth = make_objects([[0, 0, 5, 5], [10, 10, 20, 20], [30, 30, 50, 50]], [0, 0, 1], **flags)
        rows = summary_rows(detection_report([make_detections()], [truth], NAMES, resamples=2).to_dict())
        return {row["metric"]: row["note"] for row in rows}

    for name, note in notes(difficult=[True, True, True], crowd=[False, False, True]).items():
        assert ("counts 2 difficult objects as objects to be found" in note) == name.startswith("COCO")
    assert not any("difficult" in note for note in notes().values())


@pytest.mark.parametrize("has_objects", [True, False])
def test_the_text_of_no_detections_and_no_objects(has_objects, make_case, make_detections, make_objects):
    truth = make_case(1)[1] if has_objects else [make_objects()] * 4
    assert "missed" in shown(detection_report([make_detections()] * 4, truth, NAMES, resamples=10))


CLASSES, THRESHOLD = 4, 0.5


def test_metrics_of_regions_match_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    scores = rng.uniform(0, 0.8, (400, CLASSES))
    labels = rng.integers(0, 3, 400)  # nothing belongs to the last class
    scores[np.arange(400), labels] += rng.uniform(0, 0.5, 400)
    scores[::7] = rng.uniform(0, 0.7, (len(scores[::7]), 1))
    scores[scores.argmax(axis=1) == 2, 2] = 0.0  # and the third one is never predicted
    is_object, covered = np.arange(400) < 150, rng.random(400) < 0.2
    overlap = np.where(is_object, 1.0, rng.uniform(0, 1, 400))
    overlap[200:210] = BACKGROUND_OVERLAP
    targets: Any = SimpleNamespace(is_object=is_object, label=labels, overlap=overlap, covered=covered)
    predicted = np.array([int(row.argmax()) if row.max() >= THRESHOLD else CLASSES for row in scores])
    report = region_report(predicted, targets, CLASSES)

    own, wanted = predicted[:150], labels[:150]
    assert report["accuracy"] == pytest.approx(np.mean(own == wanted))
    assert report["called_background"] == pytest.approx(np.mean(own == CLASSES))
    assert 0.05 < report["called_background"] < 0.5
    background = [row for row in range(150, 400) if overlap[row] < BACKGROUND_OVERLAP and not covered[row]]
    assert report["background_recall"] == pytest.approx(np.mean([predicted[row] == CLASSES for row in background]))
    each: Any = {"labels": range(CLASSES), "average": None, "zero_division": np.nan}
    precision, recall = precision_score(wanted, own, **each), recall_score(wanted, own, **each)
    assert [value is None for value in report["object_precision"]] == [False, False, True, False]
    assert [value is None for value in report["object_recall"]] == [False, False, False, True]
    np.testing.assert_allclose(np.array(report["object_precision"], float), precision)
    np.testing.assert_allclose(np.array(report["object_recall"], float), recall)


@pytest.mark.parametrize("validated", [{}, {"region_threshold": 0.4}])
def test_without_a_region_threshold_the_head_decides_what_is_background(
    validated: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluation: Any = SimpleNamespace(report={})
    monkeypatch.setattr(DetectionEvaluator, "evaluate", lambda *_: evaluation)
    monkeypatch.setattr(detection, "proposal_recall", lambda *_: 1.0)
    is_object = np.array([True, True, False, False])
    targets = SimpleNamespace(
        is_object=is_object, label=np.zeros(4, int), overlap=is_object.astype(float), covered=np.zeros(4, bool)
    )
    dataset = SimpleNamespace(num_classes=CLASSES, objects=[])
    pipeline: Any = SimpleNamespace(
        regions=SimpleNamespace(images=dataset, proposals=[], counts=np.array([3, 1]), targets=targets)
    )
    predictions = {
        "region_score": np.array([[0.9, 0.3, 0.5], [0.1, 0.0, 0.0]]),
        "region_label": np.zeros((2, 3), int),
        "region_background": np.array([[False, True, True], [True, True, True]]),
    }
    report = RegionDetectionEvaluator().evaluate(predictions, pipeline, validated).report
    assert report["region_threshold"] == validated.get("region_threshold")
    assert report["regions"]["called_background"] == 0.5
    assert report["regions"]["background_recall"] == (0.5 if validated else 1.0)
    monkeypatch.setattr(DetectionEvaluator, "tables", lambda *_: ())
    overall, _ = RegionDetectionEvaluator().tables({**report, "class_names": NAMES})
    assert overall[0]["background if"] == ("score < 0.4" if validated else "the head says so")


def listed(make_case: Any, threshold: float) -> tuple[Any, list[dict[str, Any]]]:
    found, truth = make_case(0)
    report = detection_report(found, truth, NAMES, resamples=2, score_threshold=threshold)
    images: Any = Images([f"{number}.png" for number in range(len(found))], NAMES, truth)
    return report, predicted_rows(report, found, images)


class Images:
    grid = None

    def __init__(self, ids: list[str], class_names: tuple[str, ...], objects: Any) -> None:
        self.ids, self.class_names, self.objects = ids, class_names, objects

    def __len__(self) -> int:
        return len(self.ids)


@pytest.mark.parametrize("threshold", [0.0, 0.5])
def test_the_list_of_detections_and_objects_adds_up_to_the_report(threshold: float, make_case: Any) -> None:
    report, rows = listed(make_case, threshold)
    outcomes = [row["outcome"] for row in rows if row["truth"] or row["prediction"]]
    hits, objects = report.confusion.correct.sum(), report.matching.objects.sum()
    assert outcomes.count("right") == hits
    assert outcomes.count("not found") == objects - hits
    wrong = [each for each in outcomes if each not in ("right", "not found")]
    assert len(wrong) == report.confusion.predictions[:-1].sum() - hits
    assert {row["image"] for row in rows} == {f"{number}.png" for number in range(report.matching.images)}
    for row in rows:
        if row["outcome"] == "right":
            assert row["truth"] == row["prediction"]
            assert not row["prediction"] or row["iou"] >= 0.5
        elif row["outcome"] == "not found":
            assert row["truth"]
            assert not row["prediction"]


def test_the_answer_has_the_counts_at_the_threshold(make_case: Any) -> None:
    report, _ = listed(make_case, 0.5)
    said = DetectionEvaluator().answer({"split": "test", VALIDATED: True, **report.to_dict()})
    hits = report.confusion.correct.sum()
    assert said.startswith(f"{hits} of {report.matching.objects.sum()} objects found on {report.matching.images} test")
    assert (
        f"and {report.confusion.predictions[:-1].sum() - hits} wrong detections, at a score of at least 0.5; mAP"
        in said
    )


@pytest.mark.slow
def test_the_threshold_is_that_of_the_export(make_case: Any) -> None:
    """Without validation images, the default; test images never choose it."""
    found, truth = make_case(0)
    most = max(map(len, found))
    sizes = np.full((len(found), 2), 100)
    predictions = {
        "boxes": np.stack([np.pad(each.boxes_yxyx, ((0, most - len(each)), (0, 0))) for each in found]),
        "labels": np.stack([np.pad(each.labels, (0, most - len(each))) for each in found]),
        "scores": np.stack([np.pad(each.scores, (0, most - len(each))) for each in found]),
        "count": np.array([len(each) for each in found], np.int32),
        "image_size": sizes,
        "window_yxyx": np.concatenate([np.zeros_like(sizes), sizes], axis=1).astype(np.float32),
    }
    image = cv2.imencode(".png", np.zeros((100, 100, 3), np.uint8))[1].tobytes()
    images: Any = Images([f"{number}.png" for number in range(len(found))], NAMES, truth)
    images.encoded = lambda _: image
    pipeline: Any = SimpleNamespace(images=SimpleNamespace(dataset=images))
    for validated, threshold, said in (
        ({}, 0.5, "0.5 (the default, because there are no validation images or nothing"),
        ({"score_threshold": 0.3, "mean_ap": 0.1}, 0.3, "0.3;"),
        ({"score_threshold": 0.5, "mean_ap": 0.0}, 0.5, "0.5 (the default, because there are no validation images or"),
    ):
        evaluator = DetectionEvaluator()
        report = evaluator.evaluate(predictions, pipeline, validated).report
        assert report["score_threshold"] == threshold
        assert f"at a score of at least {said}" in evaluator.answer({"split": "test", **report})


def test_images_with_errors_are_named_with_their_counts(make_case: Any) -> None:
    report, rows = listed(make_case, 0.5)
    images: Any = Images([f"{number}.png" for number in range(report.matching.images)], NAMES, ())
    described = worst_images(report, images)
    for line in described:
        name = line.partition(":")[0]
        own = [row for row in rows if row["image"] == name]
        right = sum(row["outcome"] == "right" and bool(row["prediction"]) for row in own)
        missing = sum(row["outcome"] == "not found" for row in own)
        wrong = sum(row["outcome"] not in ("right", "not found") for row in own)
        counts = (right + missing, "object"), (wrong, "wrong detection")
        objects, detections = (f"{count} {noun}{'s' * (count != 1)}" for count, noun in counts)
        assert line == f"{name}: {right} of {objects} found, {detections}"
    bad = {row["image"] for row in rows if row["outcome"] != "right"}
    assert {line.partition(":")[0] for line in described} == bad


def test_the_gallery_of_objects_that_were_not_found_is_at_the_score_threshold(make_case: Any) -> None:
    scores = make_case(0)[0][0].scores
    for threshold in (0.0, float(np.median(scores)), 1.1):
        report, rows = listed(make_case, threshold)
        images: Any = Images([f"{number}.png" for number in range(report.matching.images)], NAMES, make_case(0)[1])
        pixels = np.zeros((100, 100, 3), np.uint8)
        shown = galleries(report, make_case(0)[0], images, lambda _, pixels=pixels: pixels).get("not_found", [])
        missing = [f"{row['truth']} in {row['image']}" for row in rows if row["outcome"] == "not found"]
        assert {title for _, title in shown} <= set(missing)
        assert len(shown) == min(len(missing), GALLERY_IMAGES)


def test_objects_that_were_not_found_are_of_many_images_and_classes(make_objects: Any) -> None:
    box = [0.0, 0.0, 10.0, 10.0]
    truth = [make_objects([box] * 8, [0] * 7 + [1]), make_objects([box], [0]), make_objects([box], [1])]
    nothing = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.int32), np.zeros(0, np.float32))
    report = detection_report([nothing] * 3, truth, ("ant", "bee"), resamples=10)
    images: Any = Images(["1.png", "2.png", "3.png"], ("ant", "bee"), truth)
    shown = galleries(report, [nothing] * 3, images, lambda _: np.zeros((100, 100, 3), np.uint8))["not_found"]
    captions = [text for _, text in shown]
    assert captions[:3] == ["ant in 1.png", "bee in 3.png", "ant in 2.png"]
    assert captions[3:] == ["ant in 1.png"] * 3


def test_an_object_with_a_badly_placed_box_is_not_found_but_not_missed() -> None:
    truth = Objects([[0, 0, 10, 10]], [0])
    found = Detections(np.array([[0, 0, 10, 30]], np.float32), np.zeros(1, np.int32), np.ones(1, np.float32))
    report = detection_report([found], [truth], ("cell",), resamples=10)
    images: Any = Images(["1.png"], ("cell",), [truth])
    assert [row["outcome"] for row in predicted_rows(report, [found], images)] == ["wrong box", "not found"]
    counts = {kind: error["count_at_threshold"] for kind, error in report.to_dict()["errors"].items()}
    assert counts == {"class": 0, "box": 1, "both": 0, "duplicate": 0, "background": 0, "missed": 0}


def test_the_overlap_of_a_wrong_box_is_that_with_its_object() -> None:
    truth = Objects([[0, 0, 10, 10], [0, 0, 10, 55]], [0, 0])
    truth.difficult = np.array([False, True])
    found = Detections(np.array([[0, 0, 10, 25]], np.float32), np.zeros(1, np.int32), np.ones(1, np.float32))
    report = detection_report([found], [truth], ("cell",), resamples=10)
    images: Any = Images(["1.png"], ("cell",), [truth])
    (wrong, missing) = predicted_rows(report, [found], images)
    assert (wrong["outcome"], wrong["iou"], missing["outcome"]) == ("wrong box", 0.4, "not found")


def test_captions_of_galleries_have_the_counts_of_an_image_and_its_short_name() -> None:
    boxes = np.array([[0, 0, 10, 10], [20, 20, 40, 40], [60, 60, 70, 70]], np.float32)
    truth = [Objects(boxes[:2], [0, 0]), Objects(boxes[:1], [0])]
    found = [
        Detections(boxes[:1], np.zeros(1, np.int32), np.ones(1, np.float32)),
        Detections(boxes[[0, 2]], np.zeros(2, np.int32), np.ones(2, np.float32)),
    ]
    report = detection_report(found, truth, ("cell",), resamples=10)
    images: Any = Images(["/data/val/a/1.png", "/data/val/b/1.png"], ("cell",), truth)
    shown = galleries(report, found, images, lambda _: np.zeros((100, 100, 3), np.uint8))
    captions = {name: {text for _, text in pictures} for name, pictures in shown.items()}
    counts = {"a/1.png: 1 of 2 found, 0 wrong", "b/1.png: 1 of 1 found, 1 wrong"}
    assert captions == {"worst": counts, "best": counts, "not_found": {"cell in a/1.png"}}


def test_scalars_are_the_defined_metrics(make_case: Any, make_detections: Any, make_objects: Any) -> None:
    report = detection_report(*make_case(0), NAMES, resamples=10).to_dict()
    regions = {"accuracy": 0.5, "called_background": None, "background_recall": 0.25, "object_recall": [0.5]}
    expected = {"mean_ap": report["mean_ap"], "coco_ap": report["coco"]["ap"]}
    assert DetectionEvaluator().scalars(report) == expected
    own = {"accuracy": 0.5, "background_recall": 0.25}
    assert RegionDetectionEvaluator().scalars({**report, "regions": regions}) == expected | own
    empty = detection_report([make_detections()], [make_objects()], NAMES, resamples=10).to_dict()
    assert DetectionEvaluator().scalars(empty) == {}


@pytest.mark.parametrize(
    ("images", "empty", "said"),
    [
        (29, 0, "too narrow for so few images"),
        (29, 500, "too narrow for so few images"),  # those without objects do not count
        (30, 0, "too narrow because no resample differs"),
    ],
)
def test_an_interval_without_width_is_called_too_narrow(images: int, empty: int, said: str) -> None:
    """Images that are all right have one, however few they are."""
    truth, none = Objects([[0, 0, 10, 10]], [0]), Objects(np.zeros((0, 4)), [])
    box = np.array([[0, 0, 10, 10]], np.float32)
    found = Detections(box, np.zeros(1, np.int32), np.ones(1, np.float32))
    nothing = found.take(np.zeros(0, np.int64))
    report = detection_report(
        [found] * images + [nothing] * empty, [truth] * images + [none] * empty, ("cell",), resamples=10
    ).to_dict()
    note = f"95 % interval 1.0000 to 1.0000, {said}"
    assert DetectionEvaluator().answer({"split": "test", VALIDATED: True, **report}).endswith(f"({note})")
    assert summary_rows(report)[0]["note"] == note


@pytest.mark.parametrize("objects", [100, 101])
def test_a_limit_of_coco_s_metrics_is_noted(objects: int) -> None:
    truth = Objects([[0, 0, 10, 10]] * objects, [0] * objects)
    found = Detections(np.array([[0, 0, 10, 10]], np.float32), np.zeros(1, np.int32), np.ones(1, np.float32))
    rows = summary_rows(detection_report([found], [truth], ("cell",), resamples=10).to_dict())
    noted = {row["metric"] for row in rows if "1 image with more objects" in row["note"]}
    assert len(noted) == (10 if objects > 100 else 0)
    assert not noted & {"COCO AR, 1 detection", "VOC mAP, IoU 0.5"}
