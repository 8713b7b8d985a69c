"""Predictions of detectors: which stage loses the objects; and trained runs with one fault each."""

import dataclasses
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from tests.analysis.diagnosis.drawn_objects import drawings, write_coco
from tests.data.input.test_box_transform import rectangles
from tests.thoroughness import only_thorough
from tfeff import checked, config, tasks, training
from tfeff.analysis import diagnosis
from tfeff.analysis.diagnosis import predicted_objects
from tfeff.analysis.diagnosis.network import _validated
from tfeff.analysis.diagnosis.predicted_objects import DetectionStage, DetectorPredictions
from tfeff.data.dataset import Objects
from tfeff.data.input.batches import Batches
from tfeff.data.input.cache import ImageCache
from tfeff.data.input.reader import Reader
from tfeff.errors import UserError
from tfeff.evaluation import Detections
from tfeff.tasks.object_detection import ObjectDetectionTask

NAMES = ("ant", "bee", "fly")
COUNTS = np.array([100, 100, 100])
ONE_STAGE = [stage for stage in DetectionStage if stage != DetectionStage.PROPOSED]


def task(*, end_to_end: bool = False) -> ObjectDetectionTask:
    made = tasks.create(config.YoloSettings(network=config.detector("yolo", end_to_end=end_to_end)))
    assert isinstance(made, ObjectDetectionTask)
    return made


def predictions(
    *, passed: dict[DetectionStage, float], found: bool, shift: int = 0, seed: int = 0
) -> DetectorPredictions:
    """30 images with one object each, of which a share passes each stage; `found`: with correct detections."""
    rng, result = np.random.default_rng(seed), DetectorPredictions(0.001, 0.3)
    result.on_objects, result.on_background = rng.uniform(0.2, 0.9, 40).tolist(), rng.uniform(0, 0.1, 400).tolist()
    result.highest = max(result.on_objects)
    for image in range(30):
        box, label = np.array([[10, 10, 30, 30]], np.float32), np.array([image % 3], np.int32)
        result.labels.append(image % 3)
        result.localized.append((image + shift) % 3)
        score = np.array([0.9], np.float32)
        every = Detections(box, (label + shift) % 3, score)
        result.detections.append(every if found else every.take(np.zeros(1, bool)))
        result.objects.append(Objects(box, label, np.zeros(1, bool), np.zeros(1, bool)))
        for stage in ONE_STAGE:
            result.passed.setdefault(stage, []).append(image < 30 * passed.get(stage, 1.0))
        result.images += 1
    return result


def broken(train: DetectorPredictions, validation: DetectorPredictions | None = None) -> list[str]:
    given = {"train": train} | ({"validation": validation} if validation else {})
    return [fault.sentence for fault in predicted_objects.check_detector(task(), given, NAMES, COUNTS).faults]


def test_nothing_is_wrong_if_all_is_found() -> None:
    assert broken(predictions(passed={}, found=True), predictions(passed={}, found=True, seed=1)) == []


def test_without_objects_in_the_training_images_nothing_is_checked() -> None:
    nothing, none = Objects(np.zeros((0, 4), np.float32), np.zeros(0, np.int32), *[np.zeros(0, bool)] * 2), np.zeros(0)
    train = DetectorPredictions(0.001, 0.3)
    detections = Detections(np.zeros((0, 4), np.float32), none.astype(np.int32), none)
    train.add(nothing, np.array([[0, 0, 9, 9]], np.float32), np.array([[0.1]]), detections, None, (64, 64))
    link = predicted_objects.check_detector(task(), {"train": train}, NAMES, COUNTS)
    assert (link.status, link.skipped) == ("not checked", "no object in the examined images")
    assert predicted_objects.learned(train) is None
    train.finite = False
    assert predicted_objects.learned(train) is False
    assert predicted_objects.check_detector(task(), {"train": train}, NAMES, COUNTS).status == "broken"


@pytest.mark.parametrize("stage", ONE_STAGE)
def test_the_stage_that_loses_the_objects_is_named(stage: DetectionStage) -> None:
    after = ONE_STAGE[ONE_STAGE.index(stage) :]
    (fault,) = broken(predictions(passed=dict.fromkeys(after, 0.1), found=False))
    assert f'the stage "{stage}"' in fault


def test_the_highest_score_may_be_that_of_a_box_beside_an_object() -> None:
    unset = np.zeros(1, bool)
    objects = Objects(np.array([[0, 0, 10, 10]], np.float32), np.zeros(1, np.int32), unset, unset)
    boxes = np.array([[0, 5, 10, 15], [50, 50, 60, 60]], np.float32)  # IoU 1/3 and 0
    train = DetectorPredictions(0.01, 0.3)
    found = Detections(boxes[:1], np.zeros(1, np.int32), np.array([0.9], np.float32))
    for _ in range(30):
        train.add(objects, boxes, np.array([[0.9], [1e-4]]), found, None, (64, 64))
    assert train.highest == 0.9
    assert (train.on_objects, train.on_background) == ([], [1e-4] * 30)
    assert not any("above all scores" in fault for fault in broken(train))


def test_without_suppression_it_loses_no_objects() -> None:
    train = predictions(passed=dict.fromkeys((DetectionStage.DETECTED, DetectionStage.ACCEPTED), 0.1), found=False)
    made = predicted_objects.check_detector(task(end_to_end=True), {"train": train}, NAMES, COUNTS)
    (fault,) = [each.sentence for each in made.faults]
    assert "too many other boxes score higher" in fault
    assert "task.suppression.overlap" not in fault


def test_scores_that_never_rose() -> None:
    train = predictions(passed=dict.fromkeys(ONE_STAGE, 0.0), found=False)
    train.on_objects = train.on_background[:50]
    (fault,) = broken(train)
    assert "has learned nothing" in fault
    train.on_objects, train.on_background, train.highest = [1e-5], [2e-5], 2e-5
    (fault,) = broken(train)
    assert "above all scores" in fault


def test_other_labels_in_the_validation() -> None:
    other = predictions(passed=dict.fromkeys(ONE_STAGE[1:], 0.0), found=True, shift=1)
    (fault,) = broken(predictions(passed={}, found=True), other)
    assert "labels are off by one between training and this split" in fault


def test_memorized_training_images() -> None:
    (fault,) = broken(
        predictions(passed={}, found=True), predictions(passed=dict.fromkeys(ONE_STAGE[1:], 0.1), found=False)
    )
    assert "validation: recall is 10 %" in fault


@pytest.mark.parametrize(
    ("said", "box"),
    [
        ("x and y of the boxes are swapped", [55, 10, 95, 20]),
        ("the boxes are upside down", [80, 55, 90, 95]),
        ("the boxes are mirrored", [10, 5, 20, 45]),
        # The top right corner of an image turns to its bottom right clockwise, and to its top left counterclockwise.
        ("the boxes were drawn on images rotated by 90 degrees clockwise", [55, 80, 95, 90]),
        ("the boxes were drawn on images rotated by 90 degrees counterclockwise", [5, 10, 45, 20]),
        # (center, size) as (corner, size), and the reverse.
        ("the boxes are written with their centers, but read with their corners", [15, 75, 25, 115]),
        ("the boxes are written with their corners, but read with their centers", [5, 35, 15, 75]),
    ],
)
def test_it_is_said_how_boxes_of_a_split_differ_from_those_of_the_training(said: str, box: list[float]) -> None:
    none, label, size = np.zeros(1, bool), np.zeros(1, np.int32), (100, 100)
    learned = np.array([[10, 55, 20, 95]], np.float32)
    by_role = {"train": learned, "validation": np.array([box], np.float32)}
    result = {role: DetectorPredictions(0.001, 0.3) for role in by_role}
    detections = Detections(learned, label, np.array([0.9], np.float32))
    for role, boxes in by_role.items():
        for _ in range(30):
            result[role].add(Objects(boxes, label, none, none), learned, np.array([[0.9]]), detections, None, size)
    (fault,) = broken(result["train"], result["validation"])
    assert fault.startswith(f"validation: {said}, compared with train")


@pytest.mark.slow
def test_objects_beyond_the_most_of_a_training_image_count() -> None:
    """They are in the boxes of the network's input, as the training images have them, but all of them."""
    images = rectangles()
    reader = Reader(ImageCache.open(images, cache="none", fit="whole"))
    detector = config.detector("yolo", levels=("P3", "P4"), neck_channels=8)
    whole = dataclasses.replace(detector, backbone=dataclasses.replace(detector.backbone, resolution=64, width=8))
    found, truth = [], []
    for most in (1, 50):
        made = tasks.create(config.YoloSettings(network=detector, max_objects=most))
        assert isinstance(made, ObjectDetectionTask)
        network = made.network(whole, num_classes=6, channels=3)
        batches = Batches(made.transform(reader, network.size, seed=0, plain_from=None), 4)
        found.append(predicted_objects.predict(made, network, batches, 0.3))
        pairs = [(each["boxes_yxyx"].numpy(), each["valid"].numpy()) for each in batches.evaluation_batches()]
        truth = [(boxes, valid) for pair in pairs for boxes, valid in zip(*pair, strict=True)]
    assert max(map(len, images.objects)) > 1
    assert found[0].labels == found[1].labels
    assert len(found[0].objects) == len(images)
    for one, other, (boxes, valid) in zip(found[0].objects, found[1].objects, truth, strict=False):
        np.testing.assert_array_equal(one.boxes_yxyx, other.boxes_yxyx)
        np.testing.assert_allclose(one.boxes_yxyx, boxes[valid], atol=1e-3)
    drawn = [each for each in zip(found[0].detections, found[0].sizes, strict=True) if len(each[0])]
    assert drawn
    for each, size in drawn:  # nothing on the padding, nothing beyond the image
        assert (each.boxes_yxyx >= 0).all()
        assert (each.boxes_yxyx <= np.tile(size, 2)).all()
        assert (each.boxes_yxyx[:, 2:] > each.boxes_yxyx[:, :2]).all()


def test_an_unfinished_run_has_the_threshold_of_its_last_validation(tmp_path: Path) -> None:
    workdir = training.Workdir(tmp_path)
    rows = [{"epoch": 1, "validation_score_threshold": 0.1}, {"epoch": 2, "validation_score_threshold": 0.2}]
    for row in [*rows, {"epoch": 3, "train_loss": 1.0}]:
        workdir.append_row(row)
    assert _validated(workdir, task()) == {"score_threshold": 0.2}
    assert _validated(training.Workdir(tmp_path / "new"), task()) == {}


SMALL = (
    *("model.name=resnet", "model.width=8", "model.stage_blocks=1,1,1,1", "model.stem=3x3", "model.resolution=64"),
    "task.network.aspect=1.3333",
    "task.network.levels=P3,P4",
    "task.network.neck=fpn",
    "task.network.neck_channels=16",
    "task.network.neck_repeats=1",
    "task.network.separable=false",
    "task.network.head_repeats=1",
    "task.max_objects=6",
    *("training.batch_size=8", "training.precision=float32", "optimizer.name=adamw", "optimizer.learning_rate=0.004"),
    *("schedule.warmup_epochs=1", "training.validation_epochs=80"),
)


def train(directory: Path, *overrides: str) -> Path:
    # Equal shares: a rare class would be learned badly, and which class is taken for it would be left to chance.
    shown = partial(drawings, objects=2, side=(24, 48), shares=(1 / 3, 1 / 3, 1 / 3))
    splits = {"train": shown(48, 1), "val": shown(16, 2)}
    name = write_coco(directory / "data", splits)
    settings = config.override(config.Experiment(), ["task.name=yolo", f"data.source={name}", *SMALL, *overrides])
    return training.train(settings, directory / "run", tensorboard=False).path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("yolo"), "training.epochs=80")


def diagnosed(path: Path) -> diagnosis.Diagnosis:
    return diagnosis.diagnose(diagnosis.open_run(path), None, training.Reporter(quiet=True), most=1000).diagnosis


@pytest.fixture
def restored(run: Path) -> Iterator[Path]:
    """The run; what a test changes in its files is restored."""
    files = run / "config.json", run.parent / "data" / "annotations" / "instances_val.json"
    before = [path.read_text() for path in files]
    yield run
    for path, text in zip(files, before, strict=True):
        path.write_text(text)


@only_thorough
def test_a_good_run_has_no_broken_link(run: Path) -> None:
    assert diagnosed(run).broken == []


@only_thorough
def test_labels_that_are_permuted_after_training(restored: Path) -> None:
    path = restored.parent / "data" / "annotations" / "instances_val.json"
    record = json.loads(path.read_text())
    for row in record["annotations"]:
        row["category_id"] = row["category_id"] % 3 + 1
    path.write_text(json.dumps(record))
    first = diagnosed(restored).broken[0]
    assert first.name == "predictions"
    assert "labels are off by one between training and this split" in first.faults[0].what


@only_thorough
def test_boxes_that_are_mirrored_after_training(restored: Path) -> None:
    path = restored.parent / "data" / "annotations" / "instances_val.json"
    record = json.loads(path.read_text())
    for row in record["annotations"]:
        left, top, width, height = row["bbox"]
        row["bbox"] = [128 - left - width, top, width, height]
    path.write_text(json.dumps(record))
    found = diagnosed(restored)
    assert "mirrored" in found.broken[0].faults[0].what, found.to_text()


@only_thorough
def test_a_minimum_score_above_all_scores(restored: Path) -> None:
    record = json.loads((restored / "config.json").read_text())
    record["task"]["suppression"]["minimum_score"] = 0.9999
    checked.write_json(restored / "config.json", record)
    first = diagnosed(restored).broken[0]
    assert first.name == "predictions"
    assert "above all scores" in first.faults[0].what


@only_thorough
def test_a_run_that_was_too_short(tmp_path: Path) -> None:
    found = diagnosed(train(tmp_path, "training.epochs=2", "optimizer.learning_rate=0.001"))
    assert [each.name for each in found.broken][:1] == ["training"], found.to_text()
    assert "short: 12 updates" in found.broken[0].faults[0].what, found.to_text()


@only_thorough
def test_a_run_that_diverged(tmp_path: Path) -> None:
    given = (
        "task.name=efficientdet",
        "task.network.anchor_size=1",
        "optimizer.name=sgd",
        "optimizer.learning_rate=1e6",
    )
    with pytest.raises(UserError, match="diverged"):
        train(tmp_path, "training.epochs=3", *given)
    found = diagnosed(tmp_path / "run")
    assert found.broken[0].name == "training"
    assert "diverged in epoch 1" in found.broken[0].faults[0].what


@only_thorough
def test_anchors_that_do_not_fit(tmp_path: Path) -> None:
    name = write_coco(tmp_path / "data", {"train": drawings(20, 1)})
    given = [*SMALL, "task.name=efficientdet", "task.network.anchor_size=16", "data.train_split=train"]
    subject = diagnosis.open_dataset(name, given)
    found = diagnosis.diagnose(subject, None, training.Reporter(quiet=True), most=1000).diagnosis
    assert found.broken[0].name == "assignment"
    assert "task.network.anchor_size" in found.broken[0].faults[0].fix
