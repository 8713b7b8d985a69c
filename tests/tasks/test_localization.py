"""Localization: loss and metrics against NumPy, and a run from its config to its SavedModel."""

import json
import random
import time

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.thoroughness import THOROUGH, only_thorough
from tfeff import config, models, training
from tfeff.boxes import iou, yxyx_from_relative
from tfeff.data.images import graph_decoding, resizing
from tfeff.errors import UserError
from tfeff.serving import run
from tfeff.tasks import LocalizationTask
from tfeff.training import checkpoint, optimizers
from tfeff.training.step import Step

pytestmark = pytest.mark.slow

CLASSES = 3
KILLS = THOROUGH or 1


def localizer(**options):
    plain = models.build("resnet", width=4, stage_blocks=(1, 1), resolution=16, channels=1, include_top=False)
    return models.localizer(plain, num_classes=CLASSES, hidden=(8,), **options)


def localization(**section):
    return LocalizationTask(config.LocalizationSettings(**section))


def batch_of(n, seed=0):
    rng = np.random.default_rng(seed)
    boxes = np.sort(rng.uniform(0, 1, (n, 2, 2)), axis=1).reshape(n, 4)
    return {
        "image": tf.constant(rng.uniform(0, 255, (n, 16, 16, 1)), tf.float32),
        "label": tf.one_hot(rng.integers(0, CLASSES, n), CLASSES),
        "box": tf.constant(boxes, tf.float32),
        "weight": tf.ones(n),
    }


def step_of(network, task, batch_size, **options):
    optimizer = optimizers.build("sgd", network, nesterov=False)
    return Step(network, optimizer, tf.distribute.get_strategy(), task=task, batch_size=batch_size, **options)


def by_hand(network, batch, alpha, beta):
    """Totals of class loss, box loss, accuracy, IoU and localization accuracy, and the number of images, in float64."""
    answers = {name: np.asarray(out, np.float64) for name, out in network(batch["image"]).items()}
    sums = np.zeros(6)
    rows = zip(
        *(batch[key].numpy() for key in ("label", "box", "weight")), answers["logits"], answers["box"], strict=True
    )
    for label, box, weight, logits, found in rows:
        shares = np.exp(logits) / np.exp(logits).sum()
        overlap = iou(found[None], box[None])[0, 0]
        right = shares.argmax() == label.argmax()
        losses = -alpha * np.log(shares[label.argmax()]), beta * ((found - box) ** 2).sum()
        sums += weight * np.array([*losses, right, overlap, right and overlap >= 0.5, 1])
    return sums


def test_loss_and_metrics_match_numpy():
    network, batch = localizer(), batch_of(64)
    answers = network(batch["image"])
    # Boxes near the network's predictions, so that some reach the IoU threshold.
    batch["box"] = tf.where(tf.range(64)[:, None] % 2 == 0, answers["box"] + [[-0.1, -0.1, 0.1, 0.1]], batch["box"])
    batch["weight"] = tf.constant([1.0] * 60 + [0.0] * 4)
    expected = by_hand(network, batch, 0.7, 12.0)
    sums = step_of(network, localization(class_weight=0.7, box_weight=12.0), 64).evaluate(batch).numpy()
    np.testing.assert_allclose(sums, expected, rtol=1e-5)
    means = localization(class_weight=0.7, box_weight=12.0).means(sums)
    assert list(means) == ["loss", "class_loss", "box_loss", "accuracy", "iou", "localization_accuracy"]
    np.testing.assert_allclose(list(means.values()), np.array([expected[:2].sum(), *expected[:5]]) / 60, rtol=1e-5)


@pytest.mark.parametrize(("alpha", "beta", "reached"), [(1.0, 10.0, "both"), (1.0, 0.0, "head"), (0.0, 1.0, "box")])
def test_loss_weights_select_the_heads_with_gradients(alpha, beta, reached):
    network, batch = localizer(), batch_of(32)
    before = {variable.path: variable.numpy() for variable in network.trainable_variables}
    step_of(network, localization(class_weight=alpha, box_weight=beta), 32).train(batch, step=0, learning_rate=0.1)
    moved = {path for path, value in before.items() if (network_value(network, path) != value).any()}
    for head in ("head", "box"):
        of_head = {path for path in before if path.startswith(head)}
        assert (of_head <= moved) if reached in (head, "both") else not (of_head & moved)
    assert "stem_conv/kernel" in moved


def network_value(network, path):
    return next(variable.numpy() for variable in network.trainable_variables if variable.path == path)


def test_update_follows_the_mean_loss_with_and_without_accumulation():
    batch, updated = batch_of(12), []
    for options in ({}, {"accumulation_steps": 3}):
        keras.utils.set_random_seed(1)
        network = localizer()
        # Batch statistics would differ between parts, so batch normalization is frozen.
        for layer in network.layers:
            layer.trainable = not isinstance(layer, keras.layers.BatchNormalization)
        step_of(network, localization(class_weight=1.0, box_weight=5.0), 12, **options).train(
            batch, step=0, learning_rate=0.1
        )
        updated.append(network.get_weights())
    for whole, parts in zip(*updated, strict=True):
        np.testing.assert_allclose(whole, parts, atol=1e-5)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_losses_are_float32_under_mixed_precision(policy):
    keras.mixed_precision.set_dtype_policy(policy)
    network, batch = localizer(), batch_of(8)
    outputs = network(batch["image"])
    task = LocalizationTask()
    assert {total.dtype for total in task.totals(batch, outputs, training=True).values()} == {tf.float32}


def test_label_smoothing_only_in_training():
    batch = batch_of(8)
    outputs = localizer()(batch["image"])
    plain, smooth = (
        localization(class_weight=1.0, box_weight=1.0),
        localization(class_weight=1.0, box_weight=1.0, label_smoothing=0.2),
    )
    losses = [task.totals(batch, outputs, training=True)["class_loss"] for task in (plain, smooth)]
    assert losses[0] != losses[1]
    assert smooth.totals(batch, outputs, training=False)["class_loss"] == losses[0]


def test_dummy_targets_fit_the_training_step():
    task = LocalizationTask()
    blank = {"image": tf.zeros((4, 16, 16, 1)), **task.dummy_targets(4, CLASSES)}
    sums = step_of(localizer(), task, 4).train(blank, step=0, learning_rate=0.0).numpy()
    assert np.isfinite(sums).all()
    assert sums.shape == task.zero_sums().shape


CONFIG = """
from tfeff.config import (
    BoxAugmentation, Data, Experiment, LocalizationSettings, architecture, Optimizer, Schedule, Training
)

def get_config():
    return Experiment(
        task=LocalizationSettings(
            hidden=(16,), grid=2,
            augmentation=BoxAugmentation(horizontal_flip=True, scale=0.2, rotation=3, brightness=0.1),
        ),
        model=architecture("resnet", width=4, stage_blocks=(1, 1), resolution=24, dropout=0.1),
        data=Data(
            source="voc:{data}", channels=1, image_size=32, normalization="dataset",
        ),
        optimizer=Optimizer(name="adamw", learning_rate=0.005),
        schedule=Schedule(name="cosine", warmup_epochs=1),
        training=Training(
            epochs=16, batch_size=32, ema_decay=0.9, deterministic=True, checkpoint_seconds=0.05, validation_epochs=4,
            keep="best",
        ),
    )
"""


@pytest.fixture(scope="module")
def squares(tmp_path_factory):
    """A VOC dataset of 240 images of different sizes: a bright or a dark rectangle on gray."""
    root, rng = tmp_path_factory.mktemp("squares"), np.random.default_rng(0)
    for folder in ("Annotations", "JPEGImages"):
        (root / folder).mkdir()
    for number in range(240):
        height, width = rng.integers(30, 60, 2)
        pixels = rng.integers(110, 140, (height, width), np.uint8)
        top, left = rng.integers(0, height // 2), rng.integers(0, width // 2)
        bottom, right = rng.integers(top + height // 3, height), rng.integers(left + width // 3, width)
        label = int(rng.integers(2))
        pixels[top:bottom, left:right] = (250, 10)[label]
        Image.fromarray(pixels).save(root / "JPEGImages" / f"{number:03}.png")
        box = f"<xmin>{left + 1}</xmin><ymin>{top + 1}</ymin><xmax>{right}</xmax><ymax>{bottom}</ymax>"
        name = ("bright", "dark")[label]
        text = f"<annotation><object><name>{name}</name><bndbox>{box}</bndbox></object></annotation>"
        (root / "Annotations" / f"{number:03}.xml").write_text(text)
    text = "<annotation><filename>000.png</filename></annotation>"
    (root / "Annotations" / "000.xml").write_text(text)
    return root


def command(path, workdir):
    return ["train", f"--config={path}", f"--workdir={workdir}"]


@pytest.fixture(scope="module")
def finished(verbs, tmp_path_factory, squares):
    directory = tmp_path_factory.mktemp("finished")
    path = directory / "config.py"
    path.write_text(CONFIG.replace("{data}", str(squares)))
    began = time.monotonic()
    done = verbs(*command(path, directory / "run"), figures=True).succeeds()
    return path, training.Workdir(directory / "run"), time.monotonic() - began, done.out


def test_a_run_localizes_rectangles(finished):
    _, workdir, _, said = finished
    result = json.loads((workdir.path / "result.json").read_text())
    assert result["split"] == "test"
    assert result["iou"] > 0.5
    assert result["accuracy"] > 0.9
    assert result["localization_accuracy"] > 0.5
    low, high = result["iou_interval"]
    assert low < result["iou"] < high
    row = workdir.rows()[-1]
    assert {"train_iou", "validation_iou", "train_localization_accuracy", "validation_accuracy"} <= row.keys()
    for words in ("mean IoU", "localization error", "val. iou", "skipped 1 of"):
        assert words in said
    for name in ("overlaps", "worst_boxes", "best_boxes", "confusion"):
        assert (workdir.figures / f"test_{name}.png").is_file()


@pytest.mark.usefixtures("without_figures")
def test_evaluation_repeats_the_results_of_the_run(finished):
    _, workdir, _, _ = finished
    again = training.evaluate_run(workdir, "test", training.Reporter(quiet=True))
    assert again.report["mean_iou"] == json.loads((workdir.path / "result.json").read_text())["iou"]
    validation = training.evaluate_run(workdir, "validation", training.Reporter(quiet=True))
    kept = json.loads((workdir.path / "result.json").read_text())
    assert validation.report["mean_iou"] == pytest.approx(kept["validation_iou"], abs=1e-5)


def test_saved_model_returns_boxes_in_pixels_of_the_original_image(finished, squares, tmp_path):
    _, workdir, _, _ = finished
    network = training.trained_model(workdir)
    files = [path.read_bytes() for path in sorted((squares / "JPEGImages").glob("*.png"))[:30]]
    images = [graph_decoding.decode(file, 1) for file in files]
    fitted = resizing.resize(tf.stack([resizing.fit(image, (32, 32)) for image in images]), (24, 24))
    answers = network(fitted, training=False)
    expected = np.stack(
        [yxyx_from_relative(box, image.shape[:2]) for box, image in zip(answers["box"].numpy(), images, strict=True)]
    )
    variables = run.exportable(workdir, network).saved_model(tmp_path / "variables", freeze=False)
    for directory in (workdir.saved_model, variables):
        loaded = tf.saved_model.load(directory)
        served = loaded.signatures["serving_bytes"](encoded=tf.constant(files))
        np.testing.assert_allclose(served["box"], expected, atol=1e-3)
        np.testing.assert_allclose(served["probabilities"], tf.nn.softmax(answers["logits"]), atol=1e-5)
        one = loaded.signatures["serving_default"](images=images[4][None])
        np.testing.assert_allclose(one["box"], expected[4:5], atol=1e-3)
        assert one["label"].numpy()[0].decode() in ("bright", "dark")
        none = loaded.signatures["serving_default"](images=tf.zeros((0, 20, 30, 1), tf.uint8))
        assert none["box"].shape == (0, 4)


@only_thorough
def test_restarts_after_kills_are_bit_identical(verbs, finished, tmp_path):
    path, whole, seconds, _ = finished
    rng, workdir = random.Random(3), training.Workdir(tmp_path / "run")
    for _ in range(KILLS):
        process = verbs.start(*command(path, workdir.path), "--noevaluate")
        before = workdir.checkpoints.latest()
        patience = time.monotonic() + 10 * seconds
        while workdir.checkpoints.latest() == before and process.poll() is None and time.monotonic() < patience:
            time.sleep(0.02)
        time.sleep(rng.uniform(0.0, 0.1))
        process.kill()
        assert workdir.checkpoints.latest() is not None
    assert not workdir.final.is_file()
    verbs(*command(path, workdir.path), "--noevaluate").succeeds()
    first, again = (checkpoint.load(run.final) for run in (whole, workdir))
    assert first[1] == again[1]
    for name, array in first[0].items():
        np.testing.assert_array_equal(array, again[0][name], err_msg=name)
    assert timeless(whole) == timeless(workdir)


def timeless(workdir):
    watch = ("seconds", "images_per_second", "input_wait")
    return [{key: value for key, value in row.items() if key not in watch} for row in workdir.rows()]


def test_constant_loss_is_the_lowest_loss_of_a_constant_prediction():
    task, batch = localization(class_weight=0.7, box_weight=3.0, label_smoothing=0.2), batch_of(40)
    targets = {name: batch[name].numpy() for name in ("label", "box")}
    share = 0.8 * targets["label"].mean(axis=0) + 0.2 / CLASSES

    def loss(logits, box):
        outputs = {"logits": tf.tile([logits], (40, 1)), "box": tf.tile([box], (40, 1))}
        totals = task.totals(batch, outputs, training=True)
        return float(totals["class_loss"] + totals["box_loss"]) / 40

    logits, box = np.log(share).astype(np.float32), targets["box"].mean(axis=0)
    assert task.constant_loss(targets) == pytest.approx(loss(logits, box), rel=1e-5)
    for index in range(3):
        assert loss(logits + 0.3 * np.eye(3, dtype=np.float32)[index], box) > task.constant_loss(targets)
        assert loss(logits, box + 0.1 * np.eye(4, dtype=np.float32)[index]) > task.constant_loss(targets)


def test_error_if_the_dataset_has_no_boxes(tmp_path):
    settings = config.Experiment(task=config.LocalizationSettings())
    with pytest.raises(UserError, match="embedded:digits: no such dataset with boxes"):
        training.train(settings, tmp_path / "run", tensorboard=False, reporter=training.Reporter(quiet=True))
