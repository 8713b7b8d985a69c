"""The loss against TensorFlow 1; temperature scaling in whole runs."""

import gc
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tfeff import config, evaluation, models, selection, tasks, training
from tfeff.config.task_parts import Teacher
from tfeff.errors import UserError
from tfeff.tasks.classification import ClassificationTask, cross_entropy
from tfeff.tasks.task import BatchPredictor
from tfeff.training import checkpoint

SETTINGS = config.Experiment(
    task=config.ClassificationSettings(temperature_scaling=True, label_smoothing=0.2),
    model=config.architecture("resnet", width=4, stage_blocks=(1, 1), resolution=8),
    data=config.Data(channels=1, validation_fraction=0.3),
    optimizer=config.Optimizer(name="adamw", learning_rate=0.01),
    training=config.Training(epochs=4, batch_size=32, precision="float32", keep="best"),
)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_label_smoothing_is_that_of_tensorflow_1(smoothing: float) -> None:
    """With which EfficientNets were trained."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(6, 1000)).astype(np.float32)
    labels = np.eye(1000, dtype=np.float32)[rng.integers(0, 1000, 6)]
    theirs = tf.compat.v1.losses.softmax_cross_entropy(labels, logits, label_smoothing=smoothing)
    np.testing.assert_allclose(np.mean(cross_entropy(labels, logits, smoothing)), theirs, rtol=1e-5)


@pytest.mark.slow
def test_the_trained_network_is_calibrated_on_the_validation_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def second_pass(*_: object) -> None:
        raise AssertionError("one device predicts the validation images while it computes their loss")

    caches = selection.read(selection.request(SETTINGS), lambda *_: None)
    with monkeypatch.context() as patch:
        patch.setattr(BatchPredictor, "__call__", second_pass)
        workdir = training.train(SETTINGS, tmp_path, caches=caches, tensorboard=False)
    network = training.trained_model(workdir)
    kept = workdir.kept_row()
    assert kept is not None
    value = kept["validation_temperature"]
    assert value != pytest.approx(1, abs=0.05)

    trained, _ = checkpoint.load(workdir.final)
    for name in ("kernel", "bias"):
        scaled = np.asarray(getattr(network.layers[-1], name))
        np.testing.assert_allclose(scaled, trained[f"model/head_classifier/{name}"] / value, rtol=1e-6)

    images = selection.choose(selection.request(SETTINGS), caches).validation
    pipeline = training.Plan.of(SETTINGS).evaluation_pipeline(images, network.size)
    predictions = BatchPredictor(network, tasks.create(SETTINGS.task))(pipeline)
    assert evaluation.temperature(images.dataset.labels, predictions["probabilities"]) == pytest.approx(1, abs=1e-3)
    report = evaluation.classification_report(
        images.dataset.labels, predictions["probabilities"], images.dataset.class_names
    )
    assert report.top1 == pytest.approx(kept["validation_accuracy"], abs=1e-6)


def test_what_cannot_be_calibrated_is_refused() -> None:
    with pytest.raises(UserError, match="temperature_scaling"):
        config.ClassificationSettings(temperature_scaling=True, tta=config.TTA(mirrored=True))
    with pytest.raises(UserError, match="validation_fraction"):
        config.override(SETTINGS, ["data.validation_fraction=0", "training.keep=last"])


def test_networks_whose_features_were_compared_are_not_kept() -> None:
    task = ClassificationTask(config.ClassificationSettings(teacher=Teacher(runs=("x",), features=1.0)))
    batch = {"image": tf.zeros((1, 8, 8, 1))}

    def features(width: int) -> tuple[int, ...]:
        network = models.build("resnet", num_classes=2, resolution=8, channels=1, width=width, stage_blocks=(1,))
        return task.forward_with_features(network, batch, training=False)[1].shape

    assert [features(width) for width in (2, 4)] == [(1, 2), (1, 4)]
    gc.collect()
    assert not task._with_features
