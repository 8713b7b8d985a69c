"""Every detector but R-CNN: trained, evaluated, exported, restarted."""

import dataclasses
import json
import subprocess
import sys
import textwrap
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import tfeff
from tests.same_detections import assert_same_detections
from tests.tasks.detection_batches import outputs_of
from tests.tasks.digits_of_many_sizes import write_coco
from tests.thoroughness import THOROUGH, only_thorough, thorough
from tests.verbs import Verbs
from tfeff import config, runs, selection, tasks, training
from tfeff.boxes.tiling import Grid
from tfeff.data.augment.annotated_image import annotated
from tfeff.data.augment.box_geometry import fit
from tfeff.data.augment.counter_rng import Draws
from tfeff.data.augment.policy import BoxAugmentation
from tfeff.data.dataset import Dataset, Objects
from tfeff.data.images import decoding
from tfeff.data.images.storage import EncodedImages
from tfeff.data.sources import catalog
from tfeff.data.sources.source import Options
from tfeff.data.sources.tiles import cut
from tfeff.errors import UserError
from tfeff.evaluation import ConfusionMatrix, detection_report
from tfeff.evaluation.matching import Detections
from tfeff.proposals import ProposalStore
from tfeff.serving import run as serving
from tfeff.serving.detector import ExportedDetector
from tfeff.tasks.object_detection import detections, place, relative_objects, whole_images
from tfeff.tasks.task import BatchPredictor
from tfeff.training import checkpoint
from tfeff.training.assembly import AssemblyCache
from tfeff.trials.intervals import student_quantile

pytestmark = pytest.mark.slow

DETECTORS = {
    "efficientdet": ("task.network.anchor_size=3",),
    "retinanet": (
        "task.network.levels=P2,P3,P4,P5,P6",
        "task.network.convolved_levels=1",
        "task.network.anchor_size=3",
    ),
    "yolo": (),
    "anchor_yolo": (),
    "grid": ("task.network.levels=P3,P4",),
    "fast_rcnn": (
        *("task.network.pooling=align", "task.network.hidden=64", "task.background_overlap=0"),
        *("task.proposals.max_proposals=60", "task.proposals.directory={source}/proposals"),
    ),
    "faster_rcnn": (
        "task.network.hidden=64",
        "task.network.anchor_size=3",
        "task.network.regions=50",
        "task.sampled_regions=64",
    ),
}
SMALL = (
    *("model.name=resnet", "model.width=8", "model.stage_blocks=1,1,1,1", "model.stem=3x3"),
    *("model.resolution=64", "task.network.aspect=1.3333"),
    "task.network.levels=P2,P3,P4",
    "task.network.neck=fpn",
    "task.network.neck_channels=16",
    "task.network.neck_repeats=1",
    *("task.network.separable=false", "task.network.head_repeats=1", "task.max_objects=6"),
    *("data.validation_fraction=0.5", "data.test_split=train", "data.train_split=train"),
    *("training.batch_size=4", "training.precision=float32", "training.deterministic=true"),
    *("optimizer.name=adamw", "optimizer.learning_rate=0.004", "schedule.name=constant"),
)
EACH = pytest.mark.parametrize("name", [*map(thorough, DETECTORS)])


def settings(name: str, source: Path, *overrides: str) -> config.Experiment:
    own = [override.format(source=source) for override in DETECTORS[name]]
    return config.override(
        config.Experiment(), [f"task.name={name}", f"data.source=coco:{source}", *SMALL, *own, *overrides]
    )


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_coco(tmp_path_factory.mktemp("digits"), 8)


def test_detections_on_the_padding_are_dropped() -> None:
    """A portrait image of 80x40 pixels covers the left half of a square input of 40 pixels."""
    boxes = [[0, 0, 10, 10], [5, 25, 15, 35], [10, 15, 30, 30], [0, 20, 5, 40], [0, 0, 0, 0]]
    predictions = {
        "boxes": np.array([boxes, boxes], np.float32),
        "labels": np.array([[1, 2, 3, 4, 0]] * 2, np.int32),
        "scores": np.array([[0.9, 0.8, 0.7, 0.6, 0]] * 2, np.float32),
        "count": np.array([4, 2], np.int32),
    }
    placed = place(predictions, [[80, 40], [80, 40]], [[40, 20], [40, 20]])
    assert placed["count"].numpy().tolist() == [2, 1]
    assert placed["labels"].numpy().tolist() == [[1, 3, 0, 0, 0], [1, 0, 0, 0, 0]]
    np.testing.assert_allclose(placed["scores"][0], [0.9, 0.7, 0, 0, 0])
    assert placed["boxes"][0].numpy().tolist() == [[0, 0, 20, 20], [20, 30, 60, 40], *[[0, 0, 0, 0]] * 3]
    window = np.array([[0, 0, 40, 20]] * 2, np.float32)
    found = detections(predictions | {"image_size": np.array([[80, 40]] * 2), "window_yxyx": window})
    assert [each.labels.tolist() for each in found] == [[1, 3], [1]]
    assert not detections({name: values[:0] for name, values in predictions.items()} | {
        "image_size": np.zeros((0, 2), int), "window_yxyx": np.zeros((0, 4), np.float32)
    })  # fmt: skip


def test_detections_in_tiles_are_evaluated_in_whole_images() -> None:
    """A perfect detector of tiles finds each object once, also those that several tiles show, or show in part."""
    source = catalog.open_objects("embedded:placed_digits:96", Options(channels=1))
    images = source.load("validation").take(np.arange(40, 80))
    tiles = cut(images, Grid((64, 64), 40))
    found = [Detections(each.boxes_yxyx, each.labels, np.full(len(each), 0.5, np.float32)) for each in tiles.objects]
    merged, whole = whole_images(found, tiles)
    assert whole.ids == images.ids
    for one, other in zip(merged, images.objects, strict=True):
        order = [np.lexsort(np.rint(each.boxes_yxyx).T) for each in (one, other)]
        np.testing.assert_allclose(one.boxes_yxyx[order[0]], other.boxes_yxyx[order[1]], atol=1e-4)
        assert one.labels[order[0]].tolist() == other.labels[order[1]].tolist()
    some = tiles.take(np.flatnonzero(tiles.owners != 3)[1:])  # without an image and the first tile
    merged, whole = whole_images([found[tiles.ids.index(name)] for name in some.ids], some)
    assert whole.ids == [*images.ids[:3], *images.ids[4:]]
    assert len(merged) == len(whole)
    assert whole_images(found, dataclasses.replace(tiles, grid=None))[0] is found


@pytest.mark.parametrize("stretch", [False, True])
def test_boxes_are_those_of_the_images_that_training_sees(stretch: bool) -> None:
    """Whose sides are whole pixels."""
    sizes, canvas, none = np.array([(100, 33), (37, 400)], np.int32), (32, 48), np.zeros(2, bool)
    boxes = [np.array([[0, 0, h, w], [h / 4, w / 8, h / 2, w]], np.float32) for h, w in sizes]
    objects = [Objects(each, np.zeros(2, np.int32), none, none) for each in boxes]
    images = Dataset("made", ("a",), ["0", "1"], EncodedImages([b""] * 2, ""), objects=objects, sizes=sizes)
    found, one = relative_objects(images, canvas, stretch=stretch), tf.zeros(1, tf.int64)
    for own, each, size in zip(found, objects, sizes, strict=True):
        image = annotated(tf.zeros((*size, 3)), each.boxes_yxyx, each.labels)
        fitted = fit(image, canvas, BoxAugmentation(), Draws(0, tf.constant(0), one, one), stretch=stretch)
        np.testing.assert_allclose(own, fitted.boxes_yxyx / np.tile(canvas, 2), rtol=1e-6)


def by_heart(experiment: config.Experiment, directory: Path) -> training.Workdir:
    """Returns a run on all images, which are also its validation images."""
    source = selection.open_source(selection.request(experiment))
    images = source.load("train")
    caches = selection.read(selection.request(experiment), lambda *_: None, given=(images, images))
    return training.train(experiment, directory, caches=caches, tensorboard=False)


@pytest.fixture(scope="module")
def large_digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """So large that selective search finds them."""
    return write_coco(tmp_path_factory.mktemp("large_digits"), 8, scale=4)


OTHERS = ("efficientdet", "retinanet", "anchor_yolo", "grid", "fast_rcnn", "faster_rcnn")


@pytest.fixture(scope="module", params=["yolo", *map(thorough, OTHERS)])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> training.Workdir:
    """A detector that knows its images more or less by heart."""
    epochs = 500 if THOROUGH else 60
    proposes = request.param == "fast_rcnn"
    experiment = settings(
        request.param,
        request.getfixturevalue("large_digits" if proposes else "digits"),
        *(("task.proposals.mode=quality", "task.proposals.max_proposals=300") if proposes else ()),
        *(f"training.epochs={epochs}", f"training.validation_epochs={epochs}", "training.batch_size=8"),
        *("data.validation_fraction=0", "data.train_split=train", "data.test_split=none"),
    )
    return by_heart(experiment, tmp_path_factory.mktemp(request.param))


def test_it_learns_its_images(run: training.Workdir) -> None:
    row = run.rows()[-1]
    assert row["validation_mean_ap"] >= (0.99 if THOROUGH else 0.15)
    assert row["train_loss"] < run.rows()[0]["train_loss"] / 2
    assert 0 < row["validation_score_threshold"] < 1


@pytest.fixture(scope="module")
def predicted(run: training.Workdir) -> tuple[Dataset, list[Detections]]:
    """The images of the run, and what its network detects in them."""
    experiment = run.config()
    task, model = tasks.create(experiment.task), training.trained_model(run)
    source = selection.open_source(selection.request(experiment)).load("train")
    caches = selection.read(selection.request(experiment), lambda *_: None, given=(source, source))
    pipeline = training.Plan.of(experiment).evaluation_pipeline(caches.train, model.size)
    return source, detections(BatchPredictor(model, task)(pipeline))


def test_the_export_detects_what_the_evaluation_does(
    run: training.Workdir, predicted: tuple[Dataset, list[Detections]], tmp_path: Path
) -> None:
    (source, expected), experiment = predicted, run.config()
    task = tasks.create(experiment.task)
    assert sum(map(len, expected)) > 20

    serving.exportable(run).saved_model(tmp_path / "exported")
    exported = ExportedDetector(tmp_path / "exported")
    assert exported.score == pytest.approx(run.rows()[-1]["validation_score_threshold"])
    assert exported.class_names == source.class_names
    assert exported.class_ids == tuple(source.class_ids) == tuple(range(10))
    assert json.loads((tmp_path / "exported/metadata.json").read_text())["class_ids"] == list(source.class_ids)
    for index, wanted in enumerate(expected):
        found = exported.detect(decoding.decode(source.encoded(index), source.ids[index]))
        assert_same_detections(found, (wanted.boxes_yxyx, wanted.labels, wanted.scores), box_atol=1e-2)

    files = Path(experiment.data.source.removeprefix("coco:")) / "train"
    predictor = runs.load_predictor(tmp_path / "exported", score=0.0)
    of_verb = runs.write_predictions(predictor, {"a.png": files / "0.png"}, tmp_path / "out", key="")
    np.testing.assert_allclose(of_verb.rows["a.png"]["scores"], expected[0].scores, atol=1e-4)
    serving_bytes = tf.saved_model.load(str(tmp_path / "exported")).signatures["serving_bytes"]
    encoded = [(files / f"{index}.png").read_bytes() for index in range(3)]
    together = serving_bytes(encoded=tf.constant(encoded), **stored_proposals(task, source.ids[:3]))
    for index, wanted in enumerate(expected[:3]):
        found = tuple(together[name][index][: len(wanted)] for name in ("boxes", "labels", "scores"))
        assert_same_detections(found, (wanted.boxes_yxyx, wanted.labels, wanted.scores), box_atol=1e-2)


def stored_proposals(task: tasks.ImageTask, ids: Sequence[str]) -> dict[str, tf.Tensor]:
    """Returns the proposals of images as inputs of an exported model, if the task has any."""
    if task.proposals is None:
        return {}
    store = ProposalStore(task.proposals.store)
    counts = [len(store[name]) for name in ids]
    boxes = np.zeros((len(ids), max(counts), 4), np.float32)
    for padded, name in zip(boxes, ids, strict=True):
        padded[: len(store[name])] = store[name].boxes_yxyx
    return {"proposals": tf.constant(boxes), "counts": tf.constant(counts)}


def test_a_detector_of_tiles_is_evaluated_and_detects_in_whole_images(digits: Path, tmp_path: Path) -> None:
    """By default in the tiles of its training: its detections are those of the evaluation."""
    experiment = settings(
        "yolo",
        digits,
        *("data.tile=40", "data.tile_overlap=20", "model.resolution=64", "task.network.aspect=1"),
        *("training.epochs=40", "training.validation_epochs=40", "training.batch_size=8", "data.validation_fraction=0"),
        "data.test_split=none",
    )
    run = by_heart(experiment, tmp_path / "run")
    assert run.rows()[-1]["validation_mean_ap"] > 0.1
    opened = tfeff.open(run.path)
    report = opened.evaluate("train", quiet=True).report
    assert report["images"] == 8  # not tiles
    assert report["mean_ap"] == pytest.approx(run.rows()[-1]["validation_mean_ap"])
    files = sorted((digits / "train").iterdir(), key=lambda path: int(path.stem))
    found = opened.predict(list(map(str, files)), score=0.0)
    truth = selection.open_source(selection.request(experiment)).load("train").cropped
    boxes = [Detections(each.boxes_yxyx, each.labels, each.scores) for each in found]
    assert [Path(name).stem for name in truth.ids] == [path.stem for path in files]
    again = detection_report(boxes, truth.objects, truth.class_names)
    assert again.mean_ap == pytest.approx(report["mean_ap"], abs=1e-3)
    assert again.coco["ap"] == pytest.approx(report["coco"]["ap"], abs=1e-3)
    in_whole = opened.predict(str(files[0]), score=0.0, tile=64)[0]
    assert in_whole.scores.tolist() != found[0].scores.tolist()
    exported = json.loads((run.path / "saved_model" / "metadata.json").read_text())
    assert (exported["tile"], exported["tile_overlap"]) == ([40, 40], 20)


@pytest.fixture(scope="module")
def evaluated(run: training.Workdir) -> runs.EvaluationResult:
    return runs.open_run(run.path).evaluate("train", quiet=True)


def test_a_run_is_evaluated(run: training.Workdir, evaluated: runs.EvaluationResult) -> None:
    assert evaluated.report["mean_ap"] == pytest.approx(run.rows()[-1]["validation_mean_ap"])
    assert evaluated.report["score_threshold"] == run.rows()[-1]["validation_score_threshold"]
    assert "VOC mAP, IoU 0.5" in evaluated.text
    assert (run.path / "figures" / "train_precision_recall.png").is_file()
    assert (run.path / "figures" / "train_worst.png").is_file()
    assert json.loads((run.path / "evaluation_train.json").read_text())["coco"]["ap"] == evaluated.report["coco"]["ap"]


def test_confusion_precision_and_recall_agree_to_the_last_count(
    evaluated: runs.EvaluationResult, predicted: tuple[Dataset, list[Detections]]
) -> None:
    """With each other, and with a loop over detections at or above the threshold."""
    (source, found), report = predicted, evaluated.report
    confusion, threshold = ConfusionMatrix.from_json(report["confusion"]).dense(), report["score_threshold"]
    classes = len(source.class_names)
    true_positives, detected, objects = (np.zeros(classes, int) for _ in range(3))
    for image, truth in zip(found, source.objects, strict=True):
        assert not truth.ignored.any()
        np.add.at(objects, truth.labels, 1)
        free = set(range(len(truth.labels)))
        for box, label, score in zip(image.boxes_yxyx, image.labels, image.scores, strict=True):
            if score < threshold:
                continue
            detected[label] += 1
            overlaps = {other: overlap(box, truth.boxes_yxyx[other]) for other in free if truth.labels[other] == label}
            best = max(overlaps, key=overlaps.__getitem__, default=None)
            if best is not None and overlaps[best] >= 0.5:
                free.remove(best)
                true_positives[label] += 1
    assert true_positives.sum() > 5
    np.testing.assert_array_equal(np.diag(confusion)[:classes], true_positives)
    np.testing.assert_array_equal(confusion[:, :classes].sum(axis=0), detected)
    np.testing.assert_array_equal(confusion[:classes].sum(axis=1), objects)
    for name, counts in (("precision", detected), ("recall", objects)):
        for value, hits, count in zip(report[name], true_positives, counts, strict=True):
            assert value == (hits / count if count else None)


def overlap(first: np.ndarray, second: np.ndarray) -> float:
    """IoU of two boxes."""
    sides = np.minimum(first[2:], second[2:]) - np.maximum(first[:2], second[:2])
    common = sides.clip(0).prod()
    return common / ((first[2:] - first[:2]).prod() + (second[2:] - second[:2]).prod() - common)


@EACH
def test_a_run_in_several_calls_is_bit_identical(name: str, digits: Path, tmp_path: Path) -> None:
    experiment = settings(name, digits, "training.epochs=4", "data.test_split=none", "training.ema_decay=0.9")
    experiment = config.override(
        experiment, ["task.augmentation.horizontal_flip=true", "task.augmentation.mosaic=0.5", "data.seed=1"]
    )
    whole = training.train(experiment, tmp_path / "whole", tensorboard=False)
    for until in (1, 3, 4):
        parts = training.train(experiment, tmp_path / "parts", until_epoch=until, tensorboard=False)
    one, _ = checkpoint.load(whole.final)
    several, _ = checkpoint.load(parts.final)
    assert one.keys() == several.keys()
    for key, array in one.items():
        np.testing.assert_array_equal(several[key], array, err_msg=key)
    assert [row["validation_mean_ap"] for row in parts.rows()] == [row["validation_mean_ap"] for row in whole.rows()]


@EACH
def test_a_killed_run_is_bit_identical(name: str, digits: Path, tmp_path: Path, verbs: Verbs) -> None:
    experiment = settings(name, digits, "training.epochs=20", "training.checkpoint_seconds=0.1", "data.test_split=none")
    whole = training.train(experiment, tmp_path / "whole", tensorboard=False)
    flags = [f"--config={whole.path / 'config.json'}", f"--workdir={tmp_path / 'killed'}", "--noevaluate"]
    killed = training.Workdir(tmp_path / "killed")
    for _ in range(THOROUGH):
        process, before = verbs.start("train", *flags), killed.checkpoints.latest()
        while killed.checkpoints.latest() == before:
            assert process.poll() is None
            time.sleep(0.02)
        process.kill()
        process.done()
        assert not killed.final.is_file()
    verbs("train", *flags).succeeds()
    first, second = (checkpoint.load(each.final)[0] for each in (whole, killed))
    for key, array in first.items():
        np.testing.assert_array_equal(second[key], array, err_msg=key)


@EACH
def test_two_devices_and_accumulation_match_one_device(name: str, digits: Path) -> None:
    """In float64, with synchronized batch normalization; images without objects and difficult objects included."""
    script = """
        import dataclasses, sys
        import keras, numpy as np, tensorflow as tf
        from tests.tasks.test_object_detection import settings
        from tfeff import tasks
        from tfeff.training import optimizers
        from tfeff.training.step import Step

        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
        keras.config.set_floatx("float64")
        experiment = settings(sys.argv[1], sys.argv[2])
        rng = np.random.default_rng(0)
        corners = rng.uniform(0, [24, 40], (8, 6, 2))
        batch = {
            "image": rng.uniform(0, 255, (8, 48, 64, 3)),
            "boxes_yxyx": np.concatenate([corners, corners + rng.uniform(6, 24, (8, 6, 2))], -1),
            "label": rng.integers(0, 10, (8, 6)).astype(np.int32),
            "valid": rng.random((8, 6)) < 0.6,
            "difficult": rng.random((8, 6)) < 0.2,
            "crowd": np.zeros((8, 6), bool),
            "weight": np.ones(8),
            "key": rng.integers(0, 2**24, (8, 2)).astype(np.int32),
            "extra_valid": rng.random((8, 60)) < 0.8,
        }
        corners = corners.repeat(10, 1)
        batch["extra_boxes_yxyx"] = np.concatenate([corners - 2, corners + rng.uniform(4, 26, (8, 60, 2))], -1)
        batch["valid"][3] = False
        batch["weight"][5] = 0.0

        def trained(strategy, parts=1, batch_norm=True):
            keras.utils.set_random_seed(0)
            replicas = strategy.num_replicas_in_sync
            task = tasks.create(experiment.task)
            described = experiment.task.describe(dataclasses.replace(experiment.model, synchronized=replicas > 1))
            with strategy.scope():
                network = task.network(described, num_classes=10, channels=3)
                if not batch_norm:
                    for layer in network._flatten_layers():
                        if isinstance(layer, keras.layers.BatchNormalization):
                            layer.trainable = False
                update = optimizers.build("sgd", network, momentum=0.9, nesterov=False, decay=0.9, beta_2=0.999,
                    epsilon=None, weight_decay=0.0, l2=False, learning_rate_factors=(), clip_norm=1.0,
                    loss_scaling=False)
            step = Step(network, update, strategy, task=task, batch_size=8, accumulation_steps=parts)
            order = np.arange(8).reshape(replicas, -1)
            whole = {key: tf.constant(value) for key, value in batch.items()}
            share = whole if replicas == 1 else strategy.experimental_distribute_values_from_function(
                lambda context: {key: tf.gather(value, order[context.replica_id_in_sync_group])
                                 for key, value in whole.items()})
            sums = [step.train(share, step=0, learning_rate=0.05).numpy() for _ in range(2)]
            return np.concatenate([np.array(v).ravel() for v in network.trainable_variables]), np.array(sums)

        one, mirrored = tf.distribute.get_strategy(), tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
        for parts, batch_norm in ((1, True), (2, False)):
            (first, sums), (second, others) = trained(one, parts, batch_norm), trained(mirrored, 1, batch_norm)
            np.testing.assert_allclose(others, sums, rtol=1e-9)
            np.testing.assert_allclose(second, first, rtol=0, atol=1e-9)
        print("equal")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), name, str(digits)], capture_output=True, text=True, check=False
    )
    assert done.stdout.endswith("equal\n"), done.stderr[-3000:]


@only_thorough
@pytest.mark.parametrize("name", list(DETECTORS))
def test_mixed_precision_is_within_the_spread_of_float32(name: str, digits: Path, tmp_path: Path) -> None:
    """The first loss is that of float32 up to rounding; the last lies in the 95 % prediction interval of four runs in
    float32."""
    assemblies = AssemblyCache()

    def losses(precision: str, seed: int) -> tuple[float, float]:
        changed = (
            *("training.epochs=40", "data.test_split=none", "training.validation_epochs=40", "schedule.name=cosine"),
            *(f"training.precision={precision}", f"seed={seed}", "data.seed=0"),
        )
        directory = tmp_path / f"{precision}-{seed}"
        run = training.train(settings(name, digits, *changed), directory, tensorboard=False, assemblies=assemblies)
        return run.rows()[0]["train_loss"], run.rows()[-1]["train_loss"]

    first, last = zip(*(losses("float32", seed) for seed in range(4)), strict=True)
    half_width = student_quantile(len(last) - 1, 0.975) * np.std(last, ddof=1) * np.sqrt(1 + 1 / len(last))
    for precision in ("mixed_bfloat16", "mixed_float16"):
        begins, ends = losses(precision, seed=0)
        assert begins == pytest.approx(first[0], rel=0.02), precision
        assert ends == pytest.approx(np.mean(last), abs=half_width), (precision, last)


@pytest.mark.usefixtures("without_figures")
def test_defects_are_said_before_training_and_a_test_split_without_objects_after_it(tmp_path, capsys):
    source = write_coco(tmp_path / "digits", 8)
    path = source / "annotations" / "instances_train.json"
    record = json.loads(path.read_text())
    for item in record["annotations"][:2]:
        item["bbox"][2] = 0
    path.write_text(json.dumps(record))
    path.with_name("instances_test.json").write_text(json.dumps(record | {"annotations": []}))
    (write_coco(tmp_path / "larger", 8, scale=2) / "train").rename(source / "test")
    quick = (
        *("data.test_split=test", "data.validation_fraction=0.25", "training.epochs=1"),
        *("model.stage_blocks=1,1,1", "task.network.levels=P2,P3"),
    )

    experiment = settings("yolo", source, *quick, "data.max_lost=0.01")
    with pytest.raises(UserError, match=r"2 of \d+ objects are lost .*\n.* 2 x box without area \(object lost\)"):
        tfeff.train(experiment, tmp_path / "refused", quiet=True)
    with pytest.raises(UserError, match=r"object 1: .*: box without area; correct it, or set on_defect=report"):
        tfeff.train(settings("yolo", source, *quick, "data.on_defect=stop"), tmp_path / "stopped", quiet=True)

    run = tfeff.train(settings("yolo", source, *quick), tmp_path / "run")
    out = capsys.readouterr().out
    assert 0 < out.index("train: 2 x box without area (object lost)") < out.index("epoch")
    found = json.loads((tmp_path / "run" / "dataset.json").read_text())["found"]
    assert found["train"]["lost_objects"] == 2
    assert found["train"]["objects"] == len(record["annotations"]) - 2
    assert (found["test"]["images"], found["test"]["objects"]) == (8, 0)
    assert out.count("not evaluated: ") == 1
    assert "have no objects" in json.loads((tmp_path / "run" / "result.json").read_text())["not_evaluated"]
    assert run.evaluation is None
    assert (tmp_path / "run" / "saved_model" / "metadata.json").is_file()


@pytest.mark.parametrize("section", [config.YoloSettings(), config.EfficientDetSettings()])
def test_predictions_that_are_not_finite_are_no_empty_images(section: Any) -> None:
    task = tasks.create(section)
    network, _ = outputs_of(task, classes=2, levels=("P3", "P4"), seed=0)
    predictor = BatchPredictor(network, task)
    images = {"image": tf.zeros((2, 64, 64, 3))}
    assert set(predictor.decoded(images)) == {"boxes", "scores", "labels", "count"}
    bias = next(each for each in network.weights if each.path.startswith("class_head") and each.path.endswith("bias"))
    for number in (np.nan, np.inf):
        bias.assign(np.full(bias.shape, number))
        with pytest.raises(UserError, match="predictions are NaN or infinite: the network has diverged"):
            predictor.decoded(images)
