"""Complete runs on a few images of shapes: train, resume, evaluate, export, predict."""

import dataclasses
import json
import math
import os
import random
import shutil
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tensorflow as tf

import tfeff
from tests.analysis.comparison.classifiers.test_report import save_coarsely
from tests.rcnn.shapes import NAMES, shapes, write_yolo
from tests.rcnn.voc_digits import write_voc
from tests.same_detections import assert_same_detections
from tests.thoroughness import THOROUGH, only_thorough
from tests.undrawn import undrawn
from tests.verbs import Verbs
from tfeff import config, runs, selection, training
from tfeff.analysis import comparison, diagnosis
from tfeff.analysis.diagnosis.network import examine_network
from tfeff.boxes import iou
from tfeff.data.images import decoding
from tfeff.errors import UserError
from tfeff.evaluation import Detections
from tfeff.evaluation.average_precision import average_precisions, mean_average_precision
from tfeff.evaluation.matching import match
from tfeff.rcnn import feature_store, regions
from tfeff.reporting import figure
from tfeff.serving.detector import ExportedDetector
from tfeff.training import checkpoint

KILLS = int(os.environ.get("TFEFF_KILLS", "1"))
HEADS = ("joint", "classic", *(("sliding_window",) if THOROUGH else ()))
IMAGES = 60
MODEL = config.architecture("resnet", width=8, stage_blocks=(1, 1), resolution=16)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A YOLO dataset without splits."""
    return write_yolo(tmp_path_factory.mktemp("shapes"), IMAGES)


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the stores that all runs share."""
    return tmp_path_factory.mktemp("stores")


def proposals(stores: Path) -> config.RegionProposals:
    return config.RegionProposals(max_proposals=60, directory=str(stores / "proposals"))


@pytest.fixture(scope="module")
def backbone(root: Path, stores: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Workdir of a classifier of crops."""
    settings = config.Experiment(
        model=MODEL,
        data=config.Data(
            source=f"crops:yolo:{root}",
            proposals=proposals(stores),
            image_size=16,
            test_split=None,
            normalization="dataset",
            validation_fraction=0.4,
        ),
        training=config.Training(epochs=2, batch_size=64, precision="float32"),
    )
    with undrawn():
        return tfeff.train(settings, tmp_path_factory.mktemp("backbone") / "run", export=False, quiet=True).workdir


def experiment(root: Path, stores: Path, backbone: Path, head: str, *overrides: str) -> config.Experiment:
    settings = config.Experiment(
        task=config.RCNNSettings(
            network=config.RCNN(head=head, grid=3 if head == "sliding_window" else 2),
            proposals=proposals(stores),
            features=config.RegionFeatures(directory=str(stores / "features")),
            classic=config.Classic(mining_rounds=2),
            windows=config.Windows(max_proposals=40),
        ),
        model=dataclasses.replace(MODEL, weights=str(backbone)),
        data=config.Data(source=f"yolo:{root}", validation_fraction=0.4),  # thresholds need some images
        optimizer=config.Optimizer(learning_rate=1e-2, momentum=0.9, nesterov=False),
        schedule=config.Schedule(name="constant"),
        training=config.Training(epochs=3, batch_size=128, keep="best", precision="float32", deterministic=True),
    )
    return config.override(settings, overrides)


@pytest.fixture(scope="module")
def finished(root: Path, stores: Path, backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, runs.Run]:
    """A finished run of each head."""
    directory = tmp_path_factory.mktemp("runs")
    with undrawn():
        return {
            head: tfeff.train(experiment(root, stores, backbone, head), directory / head, quiet=True) for head in HEADS
        }


def result(run: runs.Run) -> dict:
    return json.loads((run.workdir / "result.json").read_text())


def test_a_run_has_the_files_and_results_of_every_run(finished: dict[str, runs.Run]) -> None:
    for head in HEADS:
        workdir = finished[head].workdir
        assert (workdir / "saved_model" / "saved_model.pb").is_file()
        assert list((workdir / "figures").glob("*precision_recall.png"))
        assert {"mean_ap", "proposal_recall", "background_recall", "score_threshold"} <= result(finished[head]).keys()
        assert "tfeff.export" not in (workdir / "report.html").read_text()  # other formats cannot express it
        report = json.loads((workdir / "evaluation_test.json").read_text())
        assert report["regions"]["object_recall"] == result(finished[head])["object_recall"]
    assert len(finished["joint"].metrics) == 3
    assert {len(finished[head].metrics) for head in HEADS[1:]} == {1}


@pytest.mark.parametrize("width", [8, 6])
def test_a_sliding_window_has_the_classifier_of_its_backbone(
    root: Path, stores: Path, backbone: Path, width: int
) -> None:
    settings = experiment(root, stores, backbone, "sliding_window", f"model.width={width}")
    source, _ = checkpoint.load(training.Workdir(backbone).final)
    plan = dataclasses.replace(training.Plan.of(settings), class_names=NAMES[::-1])
    network = plan.build_network()
    loaded = plan.load_weights(network)
    assert loaded is not None
    if width == 8:  # else it is fitted
        order = [*range(len(NAMES) - 1, -1, -1), len(NAMES)]  # background stays the last one
        bias = network.get_layer("head_classifier").bias
        np.testing.assert_array_equal(bias, source["model/head_classifier/bias"][order])
    task: Any = plan.task
    task.stored.start(network, None, loaded=loaded.loaded, seed=0, report=print)
    with pytest.raises(UserError, match="sliding_window needs a trained classifier"):
        task.stored.start(network, None, loaded=(), seed=0, report=print)


def test_every_epoch_has_the_rates_of_background(finished: dict[str, runs.Run]) -> None:
    for row in finished["joint"].metrics:
        assert 0 <= row["validation_called_background"] <= 1
        assert 0 < row["validation_background_recall"] <= 1


def test_hyperparameters_appear_in_tensorboard(finished: dict[str, runs.Run]) -> None:
    tags = set[str]()
    for path in (finished["joint"].workdir / "tensorboard").rglob("events*"):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            tags |= {value.tag for value in event.summary.value}
    assert any(tag.startswith("_hparams_") for tag in tags)
    assert any("mean_ap" in tag for tag in tags)


def test_runs_share_proposals_and_features(finished: dict[str, runs.Run], stores: Path) -> None:
    for head in HEADS:
        assert not (finished[head].workdir / "proposals").exists()
        assert not (finished[head].workdir / "features").exists()
    # One store for both heads on a grid, with each image once; and one for windows.
    sizes = [len(path.read_text().splitlines()) for path in (stores / "features").rglob("index.jsonl")]
    assert sizes == [IMAGES] * (2 if "sliding_window" in HEADS else 1)


@pytest.mark.slow
def test_layers_are_unfrozen_at_their_epoch_and_features_are_read_once(
    root: Path, stores: Path, backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, numbers = feature_store.stored_features, list[int]()

    def stored_features(directory: Path, digests: list[str], *args: Any) -> Any:
        numbers.append(len(digests))
        return read(directory, digests, *args)

    monkeypatch.setattr(regions, "stored_features", stored_features)
    unfreezing = "optimizer.frozen=hidden_0*", "optimizer.unfreeze=1=hidden_0*"
    settings = experiment(root, stores, backbone, "joint", *unfreezing)
    run = tfeff.train(settings, tmp_path / "run", evaluate=False, export=False, quiet=True)
    assert [row["epoch"] for row in run.metrics] == [1, 2, 3]
    assert numbers == [48, 6]  # of training and validation images, in both phases and for all purposes


@pytest.mark.parametrize("head", ["joint", "classic"])
def test_a_detector_learns(finished: dict[str, runs.Run], head: str) -> None:
    """An untrained head has a mean average precision of about 0."""
    assert result(finished[head])["mean_ap"] > 0.6


@pytest.mark.slow
def test_heads_are_compared(finished: dict[str, runs.Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figure, "save", save_coarsely)
    comparison.write([run.workdir for run in finished.values()], tmp_path, reporter=training.Reporter(quiet=True))
    numbers = json.loads((tmp_path / "report.json").read_text())
    assert not any(model["latencies"] for model in numbers["models"])  # their proposals take most of the time
    for model in numbers["models"]:
        own = result(finished[model["name"]])
        assert {key: model[key] for key in ("mean_ap", "macs", "params")} == {
            key: own[key] for key in ("mean_ap", "macs", "params")
        }
        assert own["regions"] == (40 if model["name"] == "sliding_window" else 60)
    assert "multiply-adds" in (tmp_path / "report.html").read_text()


def test_of_a_detector_on_stored_features_the_dataset_is_analyzed(finished: dict[str, runs.Run]) -> None:
    for head, run in finished.items():
        subject, reporter = diagnosis.open_run(run.workdir), training.Reporter(quiet=True)
        (curve, predictions), _, _ = examine_network(subject, training.Workdir(run.workdir), None, reporter, {})
        assert "stored features of regions" in predictions.skipped
        assert not curve.faults
        assert bool(curve.skipped) == (head != "joint")


@pytest.mark.slow
@pytest.mark.usefixtures("without_figures")
def test_one_box_regressor_for_each_class(root: Path, stores: Path, backbone: Path, tmp_path: Path) -> None:
    settings = experiment(root, stores, backbone, "joint", "task.network.class_boxes=true")
    run = tfeff.train(settings, tmp_path / "run", export=False, quiet=True)
    arrays, _ = checkpoint.load(training.Workdir(run.workdir).final)
    assert arrays["model/codes/kernel"].shape == (256, 4 * len(NAMES))
    assert result(run)["mean_ap"] > 0.6


@pytest.mark.usefixtures("without_figures")
def test_a_fitted_head_is_its_own_average(
    finished: dict[str, runs.Run], root: Path, stores: Path, backbone: Path, tmp_path: Path
) -> None:
    """A moving average, which evaluation and export use, has the fitted weights."""
    settings = experiment(root, stores, backbone, "classic", "training.ema_decay=0.9")
    averaged = tfeff.train(settings, tmp_path / "run", evaluate=False, export=False, quiet=True)
    fitted = json.loads((finished["classic"].workdir / "evaluation_test.json").read_text())
    assert averaged.evaluate("test", quiet=True).report == fitted


def test_a_rerun_trains_nothing(finished: dict[str, runs.Run]) -> None:
    run = finished["joint"]
    final = training.Workdir(run.workdir).final
    before = final.stat().st_mtime_ns
    tfeff.train(tfeff.load_config(run.workdir / "config.json"), run.workdir, evaluate=False, export=False, quiet=True)
    assert final.stat().st_mtime_ns == before


@pytest.mark.slow
@pytest.mark.usefixtures("without_figures")
@pytest.mark.parametrize("head", HEADS)
def test_evaluation_repeats_the_result_of_the_run(finished: dict[str, runs.Run], head: str) -> None:
    before = json.loads((finished[head].workdir / "evaluation_test.json").read_text())
    assert finished[head].evaluate("test", quiet=True).report == before


@pytest.mark.slow
@pytest.mark.parametrize("head", ["joint", "classic"])
def test_objects_of_new_images_are_predicted(finished: dict[str, runs.Run], head: str) -> None:
    """Above the detection threshold that the export carries: most objects, and few other things."""
    rng = np.random.default_rng(1)
    images = [shapes(rng) for _ in range(20)]
    predicted = finished[head].predict([pixels for pixels, _, _ in images])
    hits = objects = detections = 0
    for (_, boxes, labels), found in zip(images, predicted, strict=True):
        overlaps = iou(boxes, found.boxes_yxyx) * (labels[:, None] == found.labels)
        hits += np.count_nonzero((overlaps > 0.5).any(axis=1))
        objects += len(boxes)
        detections += len(found.scores)
    assert hits >= 0.6 * objects
    assert detections <= 2 * objects


@pytest.mark.slow
@pytest.mark.parametrize("head", HEADS)
def test_the_export_detects_what_was_evaluated(finished: dict[str, runs.Run], head: str, root: Path) -> None:
    run = finished[head]
    report = json.loads((run.workdir / "evaluation_test.json").read_text())
    exported = ExportedDetector(run.saved_model)
    assert exported.class_names == NAMES
    assert exported.score == pytest.approx(result(run)["score_threshold"])
    request = selection.request(training.Workdir(run.workdir).config())
    dataset = selection.load(request, selection.open_source(request), "test")
    found = [
        Detections(*exported.detect(decoding.decode(dataset.encoded(index), name)))
        for index, name in enumerate(dataset.ids)
    ]
    precisions = average_precisions(match(found, dataset.objects, len(NAMES)))
    # Stored features are half floats.
    assert mean_average_precision(precisions) == pytest.approx(report["mean_ap"], abs=0.01)


def test_the_export_accepts_an_image_without_proposals(finished: dict[str, runs.Run]) -> None:
    model = tf.saved_model.load(str(finished["joint"].saved_model))
    found = model.signatures["serving_default"](
        images=tf.zeros((1, 30, 40, 3), tf.uint8), proposals=tf.zeros((1, 0, 4)), counts=tf.zeros(1, tf.int32)
    )
    assert found["count"].numpy().tolist() == [0]


@pytest.mark.slow
def test_variables_constants_and_encoded_images_give_the_same_detections(
    finished: dict[str, runs.Run], root: Path, tmp_path: Path
) -> None:
    run = finished["joint"]
    variables = run.export(tmp_path / "model", freeze=False)
    encoded = (root / "images" / "000.png").read_bytes()
    pixels = decoding.decode(encoded, "000.png")
    found, expected = (ExportedDetector(path).detect(pixels) for path in (run.saved_model, variables))
    assert len(expected[0])
    assert_same_detections(found, expected, box_atol=1e-2)
    (predicted,) = run.predict(root / "images" / "000.png", score=0.0)
    assert_same_detections((predicted.boxes_yxyx, predicted.labels, predicted.scores), expected, box_atol=1e-2)


@pytest.mark.parametrize("name", ["model.tflite", "model.onnx", "model.xml"])
def test_other_formats_are_refused(finished: dict[str, runs.Run], tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="exports only as a SavedModel"):
        finished["joint"].export(tmp_path / name)
    assert not (tmp_path / name).exists()


@pytest.mark.slow
def test_predict_draws_and_lists(verbs: Verbs, finished: dict[str, runs.Run], root: Path, tmp_path: Path) -> None:
    (tmp_path / "in" / "deeper").mkdir(parents=True)
    (tmp_path / "in" / "one.png").write_bytes((root / "images" / "000.png").read_bytes())
    (tmp_path / "in" / "deeper" / "two.png").write_bytes((root / "images" / "001.png").read_bytes())
    (tmp_path / "in" / "broken.jpg").write_bytes(b"\xff\xd8 no image")
    out = tmp_path / "in" / "drawn"
    for _ in range(2):  # The second run finds the drawings of the first among the images.
        flags = (f"--workdir={finished['joint'].workdir}", f"--images={tmp_path / 'in'}", f"--out={out}")
        done = verbs("predict", *flags, "--score=0")
        assert "broken.jpg" in done.succeeds().err
    assert len(list(out.rglob("*.png"))) == 2
    assert cv2.imread(str(out / "one.png.png")) is not None
    assert cv2.imread(str(out / "deeper" / "two.png.png")) is not None
    found = json.loads((out / "detections.json").read_text())
    assert {row["image_id"] for row in found} == {"one.png", "deeper/two.png"}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((), "either --workdir=DIR"),
        (("--workdir={workdir}", "--images=nowhere"), "no such file or folder"),
        (("--model={root}",), "no exported model"),
        (("--workdir={root}",), "no config.json"),
        (("--workdir={workdir}", "--out={root}"), "is the same folder as --images"),
    ],
)
def test_mistakes_are_reported_without_a_traceback(
    verbs: Verbs, finished: dict[str, runs.Run], root: Path, tmp_path: Path, flags: tuple[str, ...], message: str
) -> None:
    given = [flag.format(workdir=finished["joint"].workdir, root=root) for flag in flags]
    if not any(flag.startswith("--images") for flag in given):
        given.append(f"--images={root}")
    if not any(flag.startswith("--out") for flag in given):
        given.append(f"--out={tmp_path}")
    verbs("predict", *given).fails_with(message)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.weights=none", "the backbone is frozen and needs weights"),
        ("model.weights=nowhere", "no file and no finished run nowhere"),
        ("task.features.context=8", "leave none for the region"),
        ("task.network.grid=9", "9 x 9 cells are more than"),
        ("task.joint.positive_overlap=1.0", r"task\.joint\.positive_overlap"),
        ("data.test_split=tset", "tset"),
        ("optimizer.learning_rate=1e38", "diverged"),
    ],
)
def test_wrong_settings_are_reported(
    root: Path, stores: Path, backbone: Path, tmp_path: Path, override: str, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        tfeff.train(experiment(root, stores, backbone, "joint", override), tmp_path / "run", quiet=True)


def test_a_backbone_that_is_not_finished_is_refused(root: Path, stores: Path, backbone: Path, tmp_path: Path) -> None:
    shutil.copytree(backbone, tmp_path / "backbone")
    training.Workdir(tmp_path / "backbone").final.unlink()
    with pytest.raises(UserError, match=r"is not finished; rerun its tfeff\.train command"):
        tfeff.train(experiment(root, stores, tmp_path / "backbone", "joint"), tmp_path / "run", quiet=True)


def test_a_workdir_belongs_to_one_config(finished: dict[str, runs.Run]) -> None:
    run = finished["joint"]
    settings = config.override(tfeff.load_config(run.workdir / "config.json"), ["task.network.grid=1"])
    with pytest.raises(UserError, match=r"task\.network\.grid: saved 2, now 1"):
        tfeff.train(settings, run.workdir, quiet=True)


@pytest.mark.slow
def test_a_class_without_objects_is_named(root: Path, stores: Path, backbone: Path, tmp_path: Path) -> None:
    """The number of classes is that of the backbone, which has seen all."""
    copy = tmp_path / "images"
    shutil.copytree(root, copy)
    for path in (copy / "labels").iterdir():
        path.write_text("\n".join(line for line in path.read_text().splitlines() if line.startswith("0 ")))
    with pytest.raises(UserError, match='class "square" has no object'):
        tfeff.train(experiment(copy, stores, backbone, "classic"), tmp_path / "run", quiet=True)


def test_new_images_are_noticed(finished: dict[str, runs.Run], root: Path) -> None:
    image, label = root / "images" / "more.png", root / "labels" / "more.txt"
    image.write_bytes((root / "images" / "000.png").read_bytes())
    label.write_bytes((root / "labels" / "000.txt").read_bytes())
    try:
        with pytest.raises(UserError, match=r"have changed since this run began"):
            finished["joint"].evaluate("validation", quiet=True)
    finally:
        image.unlink()
        label.unlink()


@pytest.mark.slow
@pytest.mark.usefixtures("without_figures")
def test_corrupt_images_are_skipped(backbone: Path, tmp_path: Path) -> None:
    write_voc(tmp_path / "voc", {"train": range(12), "val": range(12, 16)}, truncated=(3,))
    settings = config.Experiment(
        task=config.RCNNSettings(proposals=config.RegionProposals(max_proposals=40)),
        model=config.architecture("resnet", width=4, stage_blocks=(1, 1), resolution=16, weights=str(backbone)),
        data=config.Data(source=f"voc:{tmp_path / 'voc'}", validation_split="val"),
        training=config.Training(epochs=1, precision="float32"),
    )
    settings = config.override(settings, ["model.width=8", "task.network.grid=1"])
    with pytest.raises(UserError, match=r"1 of 12 images cannot be read:\n  003"):
        tfeff.train(settings, tmp_path / "stopped", quiet=True)
    skipping = config.override(settings, ["data.corrupt_images=skip"])
    run = tfeff.train(skipping, tmp_path / "run", export=False, quiet=True)
    assert run.evaluation is not None
    assert run.evaluation.split == "validation"
    assert training.Workdir(run.workdir).dataset()["skipped_images"] == ["003"]
    assert (run.workdir / "proposals").is_dir()  # without a shared store
    assert (run.workdir / "features").is_dir()


@pytest.mark.slow
@pytest.mark.parametrize("head", ["joint", "classic"])
def test_a_stopped_run_resumes_to_the_same_head(
    finished: dict[str, runs.Run], root: Path, stores: Path, backbone: Path, tmp_path: Path, head: str
) -> None:
    """The features of a resumed run are those of the backbone of its checkpoint."""
    settings, whole = experiment(root, stores, backbone, head), training.Workdir(finished[head].workdir)
    known = {path: path.stat().st_size for path in (stores / "features").rglob("*")}
    for until in (1, None) if head == "joint" else (None,):
        part = training.train(settings, tmp_path / "parts", until_epoch=until, tensorboard=False)
    assert {path: path.stat().st_size for path in (stores / "features").rglob("*")} == known
    (one, _), (other, _) = (checkpoint.load(each.final) for each in (whole, part))
    for key, array in one.items():
        np.testing.assert_array_equal(other[key], array, err_msg=key)


@only_thorough
def test_a_killed_run_resumes_to_the_same_head(
    verbs: Verbs, root: Path, stores: Path, backbone: Path, tmp_path: Path
) -> None:
    changes = "training.checkpoint_seconds=0.05", "training.epochs=25"
    settings = experiment(root, stores, backbone, "joint", *changes, "training.batch_size=16", "task.joint.positives=8")
    (tmp_path / "config.json").write_text(config.to_json(settings))

    def flags(name: str) -> list[str]:
        return ["train", f"--config={tmp_path / 'config.json'}", f"--workdir={tmp_path / name}", "--evaluate=false"]

    verbs(*flags("whole")).succeeds()
    whole = training.Workdir(tmp_path / "whole")
    seconds = sum(row["seconds"] for row in whole.rows())
    rng, kills, attempts = random.Random(11), 0, 0
    while kills < KILLS:
        attempts += 1
        run = training.Workdir(tmp_path / f"run{attempts}")
        while kills < KILLS and not run.final.is_file():
            process, before = verbs.start(*flags(run.path.name)), run.checkpoints.latest()
            while run.checkpoints.latest() == before and process.poll() is None:
                time.sleep(0.01)
            time.sleep(rng.uniform(0.0, 0.3) * seconds)
            kills += process.poll() is None
            process.kill()
        verbs(*flags(run.path.name)).succeeds()
        (one, _), (other, _) = (checkpoint.load(each.final) for each in (whole, run))
        for key, array in one.items():
            np.testing.assert_array_equal(other[key], array, err_msg=key)
        assert [row["validation_loss"] for row in run.rows()] == [row["validation_loss"] for row in whole.rows()]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"head": "clasic"}, "head 'clasic': must be one of joint, classic, sliding_window"),
        ({"name": "fast-rcnn"}, "name 'fast-rcnn': must be one of rcnn"),
        ({"hidden": (0,)}, "hidden 0: must be an integer, at least 1"),
        ({"dropout": 1.0}, "dropout 1.0: must be 0 or more and below 1"),
        ({"l1": -1.0}, "l1 -1.0: must be 0 or more"),
        ({"l1": math.inf}, "l1 inf: must be 0 or more and finite"),
    ],
)
def test_a_wrong_description_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        config.RCNN(**options)


def test_the_config_survives_json() -> None:
    assert config.RCNN(hidden=[8, 8]) == config.RCNN(hidden=(8, 8))  # type: ignore[arg-type]
    settings = config.Experiment(task=config.RCNNSettings(network=config.RCNN(head="classic", grid=2)))
    assert config.from_json(config.to_json(settings), config.Experiment) == settings
