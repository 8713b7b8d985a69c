"""Embedding: losses against loops, and runs from their configs to their reports."""

import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.thoroughness import thorough
from tfeff import config, models, runs, selection, training
from tfeff.errors import UserError
from tfeff.evaluation import contrastive_loss, equal_error_threshold, pairs_of
from tfeff.evaluation.retrieval import retrieval
from tfeff.tasks import EmbeddingTask
from tfeff.tasks.embedding import contrastive
from tfeff.training import checkpoint, optimizers
from tfeff.training.assembly import AssemblyCache
from tfeff.training.step import Step

CLASSES, SIZE = 3, 16
QUIET = training.Reporter(quiet=True)


def embedding(**section):
    return EmbeddingTask(config.EmbeddingSettings(**{"dimension": 6} | section))


def network_of(task, classes=CLASSES):
    described = models.architecture("resnet", width=4, stage_blocks=(1, 1), resolution=SIZE)
    return task.network(described, num_classes=classes, channels=1)


def batch_of(n, classes=CLASSES, seed=0):
    rng = np.random.default_rng(seed)
    return {
        "image": tf.constant(rng.uniform(0, 255, (n, SIZE, SIZE, 1)), tf.float32),
        "label": tf.one_hot(rng.integers(0, classes, n), classes),
        "weight": tf.constant([1.0] * (n - 2) + [0.0] * 2),
    }


def unit(values):
    values = np.asarray(values, np.float64)
    return values / np.linalg.norm(values, axis=-1, keepdims=True)


@pytest.mark.parametrize("temperature", [0.05, 0.5])
def test_normalized_softmax_matches_numpy_without_images_of_other_classes(temperature):
    task = embedding(temperature=temperature)
    network, batch = network_of(task), batch_of(20, classes=CLASSES + 2)
    outputs, total, right, known = network(batch["image"]), 0.0, 0, 0
    proxies = unit(network.get_layer("head_proxies").kernel.numpy().T)
    for vector, label in zip(unit(outputs["vector"]), batch["label"].numpy()[:-2].argmax(axis=1), strict=False):
        if label >= CLASSES:
            continue
        similarity = np.array([vector @ proxy for proxy in proxies])
        total -= similarity[label] / temperature - np.log(np.exp(similarity / temperature).sum())
        right += similarity.argmax() == label
        known += 1
    assert 0 < known < 18
    sums = task.totals(batch, outputs, training=True)
    assert {name: float(value) for name, value in sums.items()} == pytest.approx(
        {"loss": total, "accuracy": right, "compared": known}, rel=1e-4
    )


def test_supervised_contrastive_loss_matches_loops():
    task = embedding(loss="supervised_contrastive")
    network, batch = network_of(task), batch_of(12, classes=6)
    outputs = network(batch["image"])
    assert set(outputs) == {"vector"}
    vectors, labels = unit(outputs["vector"])[:-2], batch["label"].numpy()[:-2].argmax(axis=1)
    total, right, compared = 0.0, 0, 0
    for i in range(10):
        others = [j for j in range(10) if j != i]
        positives = [j for j in others if labels[j] == labels[i]]
        if positives:
            scale = sum(np.exp(vectors[i] @ vectors[j] / 0.1) for j in others)
            total -= np.mean([np.log(np.exp(vectors[i] @ vectors[j] / 0.1) / scale) for j in positives])
            right += labels[max(others, key=lambda j: vectors[i] @ vectors[j])] == labels[i]
            compared += 1
    assert 0 < compared < 10
    sums = task.totals(batch, outputs, training=True)
    assert {name: float(value) for name, value in sums.items()} == pytest.approx(
        {"loss": total, "accuracy": right, "compared": compared}, rel=1e-4
    )
    means = task.means(np.array([float(sums[name]) for name in task.names]))
    assert means["loss"] == pytest.approx(contrastive_loss(vectors, labels, 0.1), rel=1e-4)


def test_the_contrastive_loss_pulls_images_of_a_class_together_and_others_apart():
    vectors = tf.Variable(unit(np.random.default_rng(0).normal(size=(6, 4))).astype(np.float32))
    labels = tf.one_hot([0, 0, 0, 1, 1, 1], 2)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(contrastive(tf.nn.l2_normalize(vectors, -1), labels, tf.ones(6), 0.5)[0])
    before = unit(vectors.numpy()) @ unit(vectors.numpy()).T
    vectors.assign_sub(0.05 * tape.gradient(loss, vectors))
    change = unit(vectors.numpy()) @ unit(vectors.numpy()).T - before
    same = np.equal.outer([0, 0, 0, 1, 1, 1], [0, 0, 0, 1, 1, 1]) & ~np.eye(6, dtype=bool)
    assert change[same].mean() > 0 > change[~same & ~np.eye(6, dtype=bool)].mean()


def test_nothing_to_compare_is_a_loss_of_zero():
    task = embedding(loss="supervised_contrastive")
    outputs = {"vector": tf.constant(np.random.default_rng(0).normal(size=(3, 6)), tf.float32)}
    with tf.GradientTape() as tape:
        tape.watch(outputs["vector"])
        sums = task.totals({"label": tf.eye(3), "weight": tf.ones(3)}, outputs, training=True)
    assert [float(sums[name]) for name in task.names] == [0, 0, 0]
    assert np.isfinite(tape.gradient(sums["loss"], outputs["vector"])).all()


@pytest.mark.parametrize("loss", ["normalized_softmax", "supervised_contrastive"])
def test_a_step_changes_backbone_and_head(loss):
    task = embedding(loss=loss)
    network, batch = network_of(task), batch_of(12)
    before = {variable.path: variable.numpy() for variable in network.trainable_variables}
    assert ("head_proxies/kernel" in before) == (loss == "normalized_softmax")
    optimizer = optimizers.build("sgd", network, nesterov=False)
    step = Step(network, optimizer, tf.distribute.get_strategy(), task=task, batch_size=12)
    step.train(batch, step=0, learning_rate=0.1)
    same = [each.path for each in network.trainable_variables if (each.numpy() == before[each.path]).all()]
    assert not same


def test_a_batch_in_parts_has_the_gradient_of_the_whole_with_proxies():
    batch, updated = batch_of(12), []
    for options in ({}, {"accumulation_steps": 3}):
        keras.utils.set_random_seed(1)
        task = embedding()
        network = network_of(task)
        for layer in network.layers:  # batch statistics would differ between parts
            layer.trainable = not isinstance(layer, keras.layers.BatchNormalization)
        optimizer = optimizers.build("sgd", network, nesterov=False)
        step = Step(network, optimizer, tf.distribute.get_strategy(), task=task, batch_size=12, **options)
        step.train(batch, step=0, learning_rate=0.1)
        updated.append(network.get_weights())
    for whole, parts in zip(*updated, strict=True):
        np.testing.assert_allclose(whole, parts, atol=1e-5)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("loss", ["normalized_softmax", "supervised_contrastive"])
def test_losses_and_vectors_are_float32_under_mixed_precision(policy, loss):
    keras.mixed_precision.set_dtype_policy(policy)
    task = embedding(loss=loss)
    network, batch = network_of(task), batch_of(8)
    outputs = network(batch["image"])
    assert {total.dtype for total in task.totals(batch, outputs, training=True).values()} == {tf.float32}
    vectors = task.decode(task.predictor(network)(batch["image"]))["embedding"]
    assert vectors.dtype == tf.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-6)


def test_quantized_training_does_not_round_similarities_to_proxies():
    from tfeff.training.quantization import Quantized

    task = embedding()
    network, batch = network_of(task), batch_of(8)
    quantized = Quantized(network)
    quantized(batch["image"], training=True)
    outputs = quantized(batch["image"])
    proxies = unit(network.get_layer("head_proxies").kernel.numpy().T)
    expected = unit(outputs["vector"]) @ proxies.T
    assert not np.allclose(outputs["vector"], network(batch["image"])["vector"], atol=1e-4)
    # Proxies read the rounded vector.
    np.testing.assert_allclose(outputs["similarities"], expected, atol=1e-5)


SETTINGS = (
    *("task.name=embedding", "task.dimension=8", "data.source=embedded:digits", "data.channels=1"),
    *("data.normalization=dataset", "model.width=4", "model.stage_blocks=1,1", "model.resolution=12"),
    *("optimizer.name=adamw", "optimizer.learning_rate=0.01", "training.batch_size=32", "training.precision=float32"),
    *("training.epochs=2", "training.monitor=recall_at_1", "training.keep=best", "schedule.warmup_epochs=0.5"),
)


def settings_of(*overrides):
    return config.override(config.Experiment(), [*SETTINGS, *overrides])


@pytest.mark.slow
@pytest.mark.parametrize("loss", [thorough("normalized_softmax"), "supervised_contrastive"])
@pytest.mark.usefixtures("without_figures")
def test_a_run_learns_measures_and_resumes(tmp_path, loss, monkeypatch):
    settings, assemblies = settings_of(f"task.loss={loss}"), AssemblyCache()
    for until in (1, None):
        workdir = training.train(settings, tmp_path / "run", until_epoch=until, reporter=QUIET, assemblies=assemblies)
    evaluation = training.finish_run(workdir, QUIET)
    first, last = workdir.rows()
    assert last["train_loss"] < first["train_loss"]
    report, result = evaluation.report, json.loads((workdir.path / "result.json").read_text())
    assert result["recall_at_1"] == report["recall_at_1"] > 0.6  # 0.1 by chance
    assert report["gallery"]["gallery"] == 1294
    assert result["accuracy"] == report["gallery"]["accuracy"] > 0.6
    assert set(evaluation.figures) == {"roc", "similarities", "neighbors", "mistakes"}

    monkeypatch.setattr(sys.modules["tfeff.training.evaluation"], "GALLERY", 3)
    few = training.evaluate_run(workdir, None, QUIET).report["gallery"]
    assert (few["gallery"], few["images"]) == (10, report["gallery"]["images"])  # one of each class

    own = training.evaluate_run(workdir, "train", QUIET)
    assert own.report["gallery"] is None  # each image would be its own neighbor

    # The validation metrics are those of the vectors of all validation images.
    plan, network = training.Plan.opened(workdir), training.trained_model(workdir)
    images = selection.choose(plan.images, selection.read(plan.images, QUIET.reading)).validation
    pipeline = plan.evaluation_pipeline(images, network.size)
    predictor = training.plan.tf.function(lambda batch: plan.task.decode(network(batch["image"], training=False)))
    vectors = np.concatenate(
        [predictor(batch)["embedding"][batch["weight"] > 0] for batch in pipeline.evaluation_batches()]
    )
    labels, row = images.dataset.labels, checkpoint.load(workdir.final)[1]
    found = retrieval(vectors, labels)
    assert row["validation_recall_at_1"] == pytest.approx(found.found_within(1).mean())
    assert row["validation_map_at_r"] == pytest.approx(found.average_precision.mean(), abs=1e-4)
    threshold = equal_error_threshold(pairs_of(vectors, labels))[0]
    assert row["validation_similarity_threshold"] == pytest.approx(threshold, abs=1e-4)
    assert report["threshold"] == row["validation_similarity_threshold"]
    if loss == "supervised_contrastive":  # batches in order hold few classes
        assert row["validation_loss"] == pytest.approx(contrastive_loss(vectors, labels, 0.1), rel=1e-3)
        assert row["validation_accuracy"] == row["validation_recall_at_1"]
    else:
        assert row["validation_loss"] < 3 < contrastive_loss(vectors, labels, 0.1)


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    """Folders of noisy stripes, a direction and a frequency for each class; validation and test classes are others."""
    root, rng = tmp_path_factory.mktemp("people"), np.random.default_rng(0)
    down, right = np.mgrid[:20, :20] / 20 * 2 * np.pi
    splits = {"train": range(0, 8), "val": range(8, 11), "test": range(10, 14)}
    for split, classes in splits.items():
        for label in classes:
            (root / split / f"p{label:02}").mkdir(parents=True)
            for number in range(12):
                wave = np.sin(
                    (1 + label % 5) * (down if label % 2 else right) + (label // 5) * right + rng.uniform(0, 6)
                )
                pixels = 128 + 90 * wave + rng.normal(0, 12, (20, 20))
                path = root / split / f"p{label:02}" / f"{number}.png"
                Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(path)
    return root


@pytest.mark.slow
@pytest.mark.usefixtures("without_figures")
def test_classes_of_validation_and_test_need_not_be_trained_on(tmp_path, people, verbs):
    settings = settings_of(f"data.source=folder:{people}", "training.epochs=3", "training.batch_size=16")
    workdir = training.train(settings, tmp_path / "run", reporter=QUIET)
    assert workdir.dataset()["class_names"] == [f"p{label:02}" for label in range(8)]
    assert training.trained_model(workdir).output["similarities"].shape == (None, 8)
    note = "36 of 36 images are of classes that are not trained on: p08, p09, p10"
    assert any(note in line for line in workdir.dataset()["notes"])
    report = training.finish_run(workdir, QUIET).report
    assert report["class_names"] == [f"p{label}" for label in range(10, 14)]
    assert report["class_images"] == [12] * 4
    assert report["gallery"] is None
    assert report["recall_at_1"] > 0.4  # 0.25 by chance
    # Proxies know none of the validation images, so that these are compared with each other.
    for row in workdir.rows():
        assert row["validation_accuracy"] == row["validation_recall_at_1"]
        assert row["validation_loss"] > 1
    again = training.evaluate_run(workdir, "validation", QUIET)
    assert again.report["class_names"] == ["p08", "p09", "p10"]
    assert again.report["recall_at_1"] == pytest.approx(max(row["validation_recall_at_1"] for row in workdir.rows()))

    # Two images of each test class suffice to recognize the others.
    gallery, new = tmp_path / "gallery", sorted((people / "test").rglob("*.png"))
    known = [path for path in new if path.stem in ("0", "1")]
    for path in known:
        (gallery / path.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, gallery / path.parent.name)
    found = runs.open_run(workdir.path).predict(
        [path for path in new if path not in known], gallery=gallery, threshold=-1
    )
    assert len(found) == 40
    assert np.mean([each.label == Path(each.name).parent.name for each in found]) > 0.4  # 0.25 by chance
    arguments = f"--workdir={workdir.path}", f"--images={people}/val", f"--out={tmp_path}/out"
    shutil.copy(people / "val" / "p08" / "0.png", gallery / "p10" / "copy.png")
    said = verbs("predict", *arguments, f"--gallery={gallery}", "--threshold=0.9999").succeeds()
    assert "unknown below a similarity of 1.000\n" in said.err
    assert "images that are also in the gallery: 1; gallery images that are in several classes: 0" in said.err
    rows = json.loads((tmp_path / "out" / "predictions.json").read_text())["predictions"]
    assert [row["image"] for row in rows if row["label"] != "unknown"] == ["p08/0.png"]  # the copy
    verbs("predict", *arguments, "--neighbors=2").fails_with("--neighbors requires --gallery")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["task.augmentation.mixup_alpha=0.2"], "task.augmentation is .*; it should be without mixup and cutmix"),
        (
            ["task.loss=supervised_contrastive", "task.images_per_class=1"],
            "images_per_class is 1; it should be 2 or more",
        ),
        (["task.label_smoothing=0.1"], 'task has no key "label_smoothing"; it requires task.name=classification'),
        (["task.teacher.runs=runs/a"], 'task has no key "teacher"'),
        (["optimizer.transfer=auto", "model.weights=x"], "only classification supports it; set optimizer.frozen"),
    ],
)
def test_settings_that_do_not_apply(overrides, message):
    with pytest.raises(UserError, match=message):
        settings_of(*overrides)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["task.images_per_class=5"], "training.batch_size is 32; with 5 .* a multiple of 5, at least 10"),
        (["task.images_per_class=32"], "a multiple of 32, at least 64"),
        (
            ["task.loss=supervised_contrastive", "training.accumulation_steps=8"],
            r"training.batch_size is 32 in 8 parts .* with 4 images .* a multiple of 32, at least 64",
        ),
        (["task.images_per_class=4", "data.class_balanced=true"], "data.class_balanced: .* set it to false"),
        (["training.monitor=recall"], "monitor is 'recall'; .*recall_at_1"),
    ],
)
def test_batches_without_classes_to_compare_are_refused(tmp_path, overrides, message):
    with pytest.raises(UserError, match=message):
        training.train(settings_of(*overrides), tmp_path / "run", reporter=QUIET)


def test_batches_hold_several_images_of_each_class(tmp_path):
    settings = settings_of("task.loss=supervised_contrastive")
    plan = training.Plan.of(settings)
    images = selection.choose(plan.images, selection.read(plan.images, QUIET.reading)).train
    batches = iter(plan.training_pipeline(images, (12, 12)).training_batches(1))
    for _ in range(5):
        labels = next(batches)["label"].numpy().argmax(axis=1).reshape(-1, 4)
        assert (labels == labels[:, :1]).all()
        assert len(np.unique(labels[:, 0])) >= 4


def test_validation_images_must_be_comparable(tmp_path):
    with pytest.raises(UserError, match=r"the 10 validation images have no class with two .* data.validation_fraction"):
        training.train(settings_of("data.train_examples=100"), tmp_path / "run", reporter=QUIET)
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


def test_validation_images_of_one_class_are_refused(tmp_path, image_folder):
    root = image_folder({"train/a": 8, "train/b": 8, "val/a": 3})
    settings = settings_of(f"data.source=folder:{root}", "training.batch_size=8")
    with pytest.raises(UserError, match="the 3 validation images are all of one class"):
        training.train(settings, tmp_path / "run", reporter=QUIET)


def test_undefined_thresholds_are_left_out():
    """Images of one class form no pair of different ones; NaN is no JSON."""
    labels = np.array([0] * 30)
    pipeline = SimpleNamespace(images=SimpleNamespace(dataset=SimpleNamespace(labels=labels)))
    vectors = unit(np.random.default_rng(0).normal(size=(30, 4)))
    scores = embedding().score({"embedding": vectors, "similarities": np.zeros((30, 3))}, pipeline)
    assert scores.keys() == {"recall_at_1", "map_at_r"}
    labels[:10] = 1
    scores = embedding().score({"embedding": vectors, "similarities": np.zeros((30, 3))}, pipeline)
    assert scores.keys() == {*("recall_at_1", "map_at_r", "similarity_threshold")} | {
        f"unknown_threshold_{size}" for size in (1, 8)
    }
    json.dumps(scores, allow_nan=False)


def test_a_single_class_is_refused(tmp_path, image_folder):
    root = image_folder({"train/a": 8, "test/a": 2, "test/b": 2})
    with pytest.raises(UserError, match='single class, "a"; at least two are needed'):
        training.train(settings_of(f"data.source=folder:{root}"), tmp_path / "run", reporter=QUIET)
