"""The published training of EfficientNet, line by line: docs/imagenet.md names a test for each line."""

import json
import re
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.verbs import ROOT
from tfeff import config, models, selection, training
from tfeff.config.section import parse
from tfeff.data import folds
from tfeff.models.layers.residual import StochasticDepth
from tfeff.networks.preprocessing import STANDARDIZATION
from tfeff.serving import run
from tfeff.tasks import create
from tfeff.training import optimizers, schedules

PATH = ROOT / "configs" / "imagenet_efficientnet.py"
TABLE = ROOT / "docs" / "imagenet.md"
IMAGES, HELD_OUT = 1_281_167, 25_023
# `efficientnet_params` in efficientnet_builder.py of tensorflow/tpu: width, depth, resolution, dropout.
MEMBERS = {
    "efficientnet-b0": (1.0, 1.0, 224, 0.2),
    "efficientnet-b1": (1.0, 1.1, 240, 0.2),
    "efficientnet-b2": (1.1, 1.2, 260, 0.3),
    "efficientnet-b3": (1.2, 1.4, 300, 0.3),
    "efficientnet-b4": (1.4, 1.8, 380, 0.4),
    "efficientnet-b5": (1.6, 2.2, 456, 0.4),
    "efficientnet-b6": (1.8, 2.6, 528, 0.5),
    "efficientnet-b7": (2.0, 3.1, 600, 0.5),
}


def settings(*overrides: str) -> config.Experiment:
    """Returns the config with these overrides and the values that it chooses for them."""
    return config.complete(config.load_recipe(PATH, config.Experiment), overrides)[0]


@pytest.fixture(scope="module")
def b0() -> keras.Model:
    """With the normalization and the classes of ImageNet."""
    return (
        training.Plan.of(settings())
        .learned({"mean": None, "class_names": [str(number) for number in range(1000)]})
        .build_network()
    )


def rows() -> list[list[str]]:
    """Returns the cells of the documentation's table."""
    section = TABLE.read_text().split("## The published recipe, line by line")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:]]


def test_the_documentation_states_the_settings_of_the_config() -> None:
    values = config.flatten(settings())
    hints = {"task.center_crop": float, "training.ema_decay": float}
    stated = set()
    for cells in rows():
        for key, text in re.findall(r"`([a-z_0-9.]+)=([^`]+)`", cells[3]):
            kind = hints.get(key, type(values[key]))
            assert values[key] == parse(text, kind), f"{key}: {values[key]} in the config, {text} in the documentation"
            stated.add(key)
    base = config.flatten(config.Experiment(model=config.architecture("efficientnet-b0")))
    unstated = {key for key, value in values.items() if value != base.get(key) and key not in stated}
    assert unstated == {"data.cache", "data.cache_directory", "data.source"}


def test_every_line_of_the_documentation_names_tests_that_exist() -> None:
    assert len(rows()) > 15
    for cells in rows():
        named = re.findall(r"`(tests/[a-z_/0-9]+\.py)::(test_[a-z_0-9]+)`", cells[4])
        assert named, cells
        for path, test in named:
            assert f"def {test}(" in (ROOT / path).read_text(), f"{path}::{test}"


@pytest.mark.parametrize(("batch_size", "rate"), [(2048, 0.128), (4096, 0.256), (16, 0.001)])
def test_the_learning_rate_follows_the_batch_size(batch_size: int, rate: float) -> None:
    """0.256 in the paper; 0.016 for each 256 images in main.py of tensorflow/tpu."""
    assert settings(f"training.batch_size={batch_size}").optimizer.learning_rate == pytest.approx(rate)
    assert settings(f"training.batch_size={batch_size}", "optimizer.learning_rate=0.5").optimizer.learning_rate == 0.5


def test_the_schedule_of_the_config_is_that_of_the_reference_implementation() -> None:
    """tests/training/test_schedules.py compares the schedule with TensorFlow 1; here, some rates of its formula."""
    experiment = settings()
    steps = (IMAGES - HELD_OUT) // experiment.training.batch_size
    rate = schedules.build(
        experiment.schedule,
        peak=experiment.optimizer.learning_rate,
        epochs=experiment.training.epochs,
        steps_per_epoch=steps,
    )
    for epoch, decays in ((5.0, 2), (7.2, 3), (9.59, 3), (9.61, 4), (120.0, 50), (356.99, 148)):
        assert rate(int(np.ceil(epoch * steps))) == pytest.approx(0.128 * 0.97**decays), epoch
    assert rate(int(2.5 * steps)) == pytest.approx(0.064, rel=1e-3)


def test_the_number_of_steps_is_that_of_the_reference_implementation() -> None:
    """218,949 by default, also if images are held out; the nearest number of whole epochs."""
    section = settings().training
    steps = (IMAGES - HELD_OUT) // section.batch_size
    assert section.batch_size == 2048
    assert abs(section.epochs * steps - 218_949) <= steps / 2


def test_data_loss_and_average_have_the_settings_of_the_reference_implementation() -> None:
    """Defaults of main.py and preprocessing.py in tensorflow/tpu, with `--augment_name=autoaugment`."""
    experiment = settings()
    assert isinstance(experiment.task, config.ClassificationSettings)
    augmentation = experiment.task.augmentation
    assert augmentation == config.Augmentation(horizontal_flip=True, crop_area=0.08, autoaugment=True)
    assert experiment.task.interpolation == "bicubic"
    assert experiment.task.label_smoothing == 0.1
    assert experiment.training.ema_decay == 0.9999
    assert experiment.training.precision == "mixed_bfloat16"
    assert (experiment.training.keep, experiment.training.monitor) == ("best", "accuracy")


def test_the_optimizer_of_the_config(b0: keras.Model) -> None:
    """tests/training/test_optimizers.py compares an optimizer with these values with that of TensorFlow 1."""
    optimizer = training.Plan.of(settings()).build_optimizer(b0)
    assert isinstance(optimizer, optimizers.RMSprop)
    assert (optimizer.rho, optimizer.momentum, optimizer.epsilon, optimizer.centered) == (0.9, 0.9, 1e-3, False)
    assert all((np.asarray(average) == 1).all() for average in optimizer._velocities)
    assert optimizer.l2
    decays = dict(zip([variable.path for variable in b0.trainable_variables], optimizer.decays, strict=True))
    assert {decay for path, decay in decays.items() if path.endswith(("/gamma", "/beta"))} == {0.0}
    assert {decay for path, decay in decays.items() if path.endswith(("/kernel", "/bias"))} == {1e-5}


def test_batch_normalization_activation_and_stochastic_depth(b0: keras.Model) -> None:
    normalizations = [layer for layer in b0.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert len(normalizations) == 49
    assert {(layer.momentum, layer.epsilon) for layer in normalizations} == {(0.99, 1e-3)}
    activations = [layer.activation for layer in b0.layers if isinstance(layer, keras.layers.Activation)]
    # Of stem and head; of the expansion (except in the first block) and the depthwise convolution of each block.
    assert activations == [keras.activations.silu] * (2 + 15 + 16)
    # Of 16 blocks, those with a shortcut: linearly from 1 before the first to 0.8 at the last.
    repeats = [1, 2, 2, 3, 3, 4, 1]
    firsts = np.cumsum([0, *repeats[:-1]])
    expected = [1 - 0.2 * (block + 1) / 16 for block in range(16) if block not in firsts]
    dropped = [layer.survival_probability for layer in b0.layers if isinstance(layer, StochasticDepth)]
    np.testing.assert_allclose(dropped, expected)


@pytest.mark.parametrize("name", MEMBERS)
def test_resolution_dropout_and_center_of_each_member(name: str) -> None:
    width, depth, resolution, dropout = MEMBERS[name]
    experiment = settings(f"model.name={name}")
    described = experiment.description
    assert isinstance(described, models.Architecture)
    found = described.width_coefficient, described.depth_coefficient, described.resolution, described.dropout
    assert found == (width, depth, resolution, dropout)
    task = create(experiment.task)
    assert task.reading.center_crop == pytest.approx(resolution / (resolution + 32))
    default = selection.request(config.Experiment())
    any_images = selection.load(default, selection.open_source(default), "train")
    assert selection.image_size(selection.request(experiment), any_images) == (resolution + 32, resolution + 32)
    smaller = settings(f"model.name={name}", "model.resolution=96")
    assert selection.image_size(selection.request(smaller), any_images) == (128, 128)


def test_the_mean_and_the_standard_deviation_are_those_of_the_reference_implementation(b0: keras.Model) -> None:
    """MEAN_RGB and STDDEV_RGB in efficientnet_builder.py."""
    pixels = np.random.default_rng(0).uniform(0, 255, (1, 224, 224, 3)).astype(np.float32)
    standardized = keras.Model(b0.input, b0.get_layer(STANDARDIZATION).output)(pixels)
    mean, std = np.array([0.485, 0.456, 0.406]) * 255, np.array([0.229, 0.224, 0.225]) * 255
    np.testing.assert_allclose(standardized, (pixels - mean) / std, atol=1e-4)


def test_25_thousand_training_images_are_held_out_and_the_validation_split_is_the_test(image_folder) -> None:
    labels = np.repeat(np.arange(1000), 1300)[:IMAGES]
    part = folds.holdout(labels, settings().data.validation_fraction, 0)
    assert (len(part.train), len(part.validation)) == (IMAGES - HELD_OUT, HELD_OUT)
    counts = np.bincount(labels[part.validation], minlength=1000)
    assert counts.max() - counts[:985].min() <= 1
    root = image_folder({f"{split}/{name}": 2 for split in ("train", "val") for name in ("a", "b")})
    experiment = settings(f"data.source=folder:{root}")
    plan = selection.assign(selection.request(experiment), selection.open_source(selection.request(experiment)))
    assert (plan.train, plan.validation, plan.test) == ("train", None, "validation")


@pytest.mark.slow
def test_the_best_epoch_by_accuracy_is_kept_and_evaluated(image_folder, tmp_path, without_figures) -> None:
    """A whole run of the config with a tiny network, its evaluation on whole images, and the exported model."""
    counts = {"train/a": 20, "train/b": 20, "val/a": 5, "val/b": 4}
    root = image_folder({key: count for key, count in counts.items() if key.endswith("a")}, size=(45, 60))
    image_folder({key: count for key, count in counts.items() if key.endswith("b")}, size=(61, 40))
    experiment = settings(
        *(f"data.source=folder:{root}", "data.validation_fraction=0.25", f"data.cache_directory={tmp_path / 'cache'}"),
        *("model.resolution=32", "model.width_coefficient=0.25", "model.depth_coefficient=0.1"),
        *("training.batch_size=10", "training.epochs=3", "training.precision=float32", "schedule.warmup_epochs=1"),
        *("training.ema_decay=0.1", "task.augmentation.autoaugment=false"),
    )
    workdir = training.train(experiment, tmp_path / "run", tensorboard=False)
    accuracies = [row["validation_accuracy"] for row in workdir.rows()]
    kept = workdir.kept_row()
    assert kept is not None
    assert kept["epoch"] == 1 + int(np.argmax(accuracies))
    assert kept["validation_accuracy"] == max(accuracies)
    record = workdir.dataset()
    assert (record["train_examples"], record["validation_examples"], record["image_size"]) == (30, 10, [64, 64])
    model = training.trained_model(workdir)
    evaluation = training.finish_run(workdir, training.Reporter(quiet=True), model)
    assert evaluation is not None
    assert evaluation.split == "validation"
    assert sum(evaluation.report["confusion"]["count"]) == 9

    loaded = tf.saved_model.load(str(run.exportable(workdir, model).saved_model(tmp_path / "exported")))
    files = sorted((root / "val").rglob("*.png"))
    served = loaded.signatures["serving_bytes"](encoded=[path.read_bytes() for path in files])
    images = selection.evaluation_images(
        selection.request(experiment), "val", record, lambda: pytest.fail("not needed"), lambda *_: None
    )
    assert [Path(each) for each in images.dataset.ids] == files
    batches = training.Plan.of(experiment).evaluation_pipeline(images, model.size).evaluation_batches()
    logits = np.concatenate(
        [model(batch["image"], training=False)[: int(batch["weight"].numpy().sum())] for batch in batches]
    )
    np.testing.assert_allclose(served["probabilities"], tf.nn.softmax(logits), atol=1e-5)
    assert json.loads((workdir.path / "config.json").read_text())["task"]["center_crop"] == 0.5
