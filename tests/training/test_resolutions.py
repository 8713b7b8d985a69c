"""Steps at several resolutions."""

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.serving.random_detectors import BACKBONE, NETWORK, detector
from tfeff import config, models, tasks, training
from tfeff.data.images import resizing
from tfeff.errors import UserError
from tfeff.tasks import ClassificationTask
from tfeff.training import optimizers
from tfeff.training.resolutions import Resolutions
from tfeff.training.step import Step

RATE = 0.1


def classifier(resolution: int = 32, stage_blocks: tuple[int, ...] = (1, 1), **options: Any) -> models.Network:
    return models.build("resnet", num_classes=3, width=4, stage_blocks=stage_blocks, resolution=resolution, **options)


def batch_of(count: int = 4, side: int = 32) -> dict[str, tf.Tensor]:
    rng = np.random.default_rng(0)
    return {
        "image": tf.constant(rng.uniform(0, 255, (count, side, side, 3)), tf.float32),
        "label": tf.one_hot(rng.integers(0, 3, count), 3),
        "weight": tf.ones(count),
    }


def step_of(network: models.Network, resolutions: Resolutions | None = None, **options: Any) -> Step:
    optimizer = optimizers.build("sgd", network, nesterov=False)
    strategy = options.pop("strategy", None) or tf.distribute.get_strategy()
    return Step(
        network, optimizer, strategy, task=ClassificationTask(), batch_size=4, resolutions=resolutions, **options
    )


def seeds_that_draw(wanted: int, count: int) -> int:
    """Returns a seed with which the first step is made at the wanted one of several resolutions."""
    return next(seed for seed in range(100) if int(np.random.default_rng((seed, 0)).integers(count)) == wanted)


@pytest.mark.slow
@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize(("wanted", "side"), [(0, 16), (1, 32), (2, 48)])
def test_a_step_is_that_of_the_network_of_the_drawn_size(wanted: int, side: int, parts: int) -> None:
    network, built = classifier(), classifier(side)
    built.set_weights(network.get_weights())
    resolutions = Resolutions(network, (0.5, 1.0, 1.5), seeds_that_draw(wanted, 3))
    batch = batch_of()
    smaller = batch | {"image": resizing.resize(batch["image"], (side, side))}
    sums = step_of(network, resolutions, accumulation_steps=parts).train(batch, step=0, learning_rate=RATE)
    expected = step_of(built, accumulation_steps=parts).train(smaller, step=0, learning_rate=RATE)
    np.testing.assert_allclose(sums, expected, rtol=1e-5)
    for one, other in zip(network.get_weights(), built.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_evaluation_stays_at_the_resolution_of_the_network() -> None:
    network, batch = classifier(), batch_of()
    plain = step_of(network).evaluate(batch)
    np.testing.assert_array_equal(step_of(network, Resolutions(network, (0.5,), 0)).evaluate(batch), plain)


def test_every_resolution_is_drawn_equally_often_and_the_same_again() -> None:
    network = classifier()
    made = [Resolutions(network, (0.5, 1.0, 1.5), seed) for seed in (7, 7, 8)]
    drawn, again, others = ([each.drawn(step) for step in range(600)] for each in made)
    assert drawn == again
    assert drawn != others
    assert all(150 < count < 250 for count in Counter(drawn).values())


def test_boxes_stay_on_their_objects() -> None:
    image = np.zeros((1, 64, 64, 3), np.float32)
    image[0, 16:32, 24:56] = 255
    box = [16.0, 24.0, 32.0, 56.0]
    boxes = tf.constant([[box, [0.0] * 4]])
    _, network = detector("yolo", np.random.default_rng(0).uniform(0, 255, image.shape).astype(np.float32))
    resolutions = Resolutions(network, (1.0, 1.4, 2.0), 0)  # 1.4 is rounded to 96 pixels
    assert [each.size for each in resolutions.networks] == [(64, 64), (96, 96), (128, 128)]
    batch = {
        "image": tf.constant(image),
        "boxes_yxyx": boxes,
        "extra_boxes_yxyx": boxes,
        "valid": tf.constant([[True, False]]),
    }
    for index, factor in enumerate((1.0, 1.5, 2.0)):
        found = resolutions.resized(batch, index)
        for name in ("boxes_yxyx", "extra_boxes_yxyx"):
            np.testing.assert_allclose(found[name][0, 0], np.array(box) * factor)
        top, left, bottom, right = np.array(box) * factor
        bright = np.argwhere(found["image"].numpy()[0, ..., 0] > 127.5)
        np.testing.assert_allclose(bright.min(axis=0), [top, left], atol=1)
        np.testing.assert_allclose(bright.max(axis=0) + 1, [bottom, right], atol=1)
        assert found["valid"] is batch["valid"]


@pytest.mark.parametrize("factor", [0.5, 0.75, 1.5])
def test_a_step_is_compiled_by_xla(factor: float) -> None:
    network = classifier(96)
    resolutions = Resolutions(network, (factor, 1.0), 0)
    image = batch_of(2, 96)["image"]
    compiled = tf.function(lambda image: resolutions.resized({"image": image}, 0)["image"], jit_compile=True)
    plain = resizing.resize(image, resolutions.networks[0].size)
    np.testing.assert_allclose(compiled(image), plain, atol=1.0)


@pytest.mark.slow
def test_a_detector_is_trained_on_the_boxes_of_the_drawn_size() -> None:
    image = np.random.default_rng(0).uniform(0, 255, (2, 64, 64, 3)).astype(np.float32)
    task, network = detector("yolo", image[:1])
    batch = {"image": tf.constant(image), **task.dummy_targets(2, 3)}
    batch |= {"label": tf.zeros_like(batch["label"])}
    resolutions = Resolutions(network, (1.0, 2.0), seeds_that_draw(1, 2))
    optimizer = optimizers.build("sgd", network, nesterov=False)
    step = Step(network, optimizer, tf.distribute.get_strategy(), task=task, batch_size=2, resolutions=resolutions)
    larger = resolutions.resized(batch, 1)
    expected = task.totals(larger, task.forward(resolutions.networks[1], larger, training=True), training=True)
    sums = step.train(batch, step=0, learning_rate=0.0)
    np.testing.assert_allclose(sums, [float(expected[name]) for name in task.names], rtol=1e-3)


def yolo(resolution: int, aspect: float) -> models.Network:
    task, backbone = config.YoloSettings(), dataclasses.replace(BACKBONE, resolution=resolution)
    described = dataclasses.replace(task.network, **{**NETWORK, "aspect": aspect}, backbone=backbone)
    return tasks.create(task).network(described, num_classes=3, channels=3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("resolution", "aspect", "advice"), [(320, 4 / 3, (256, 384)), (40, 1.0, (32, 64)), (160, 16 / 9, ())]
)
def test_a_resolution_that_fits_is_suggested(resolution: int, aspect: float, advice: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match="both sides of the input must be multiples of 32, ") as found:
        Resolutions(yolo(resolution, aspect), (0.75, 1.0), 0)
    words = " or ".join(map(str, advice)) or "160 or 192, and task.network.aspect to 1"
    assert str(found.value).endswith(f"; set model.resolution to {words}")
    for each in advice:
        Resolutions(yolo(each, aspect), (1.0, 2.0), 0)


SETTINGS = config.Experiment(
    model=config.architecture("resnet", width=2, stage_blocks=(1, 1), resolution=16),
    data=config.Data(source="embedded:digits", channels=1, train_examples=96),
    training=config.Training(epochs=2, batch_size=32, precision="float32", resolution_factors=(0.5, 1.0, 1.5)),
)


@pytest.mark.slow
def test_a_run(tmp_path: Path) -> None:
    run = training.train(SETTINGS, tmp_path, tensorboard=False)
    assert [np.isfinite(row["train_loss"]) for row in run.rows()] == [True, True]
    assert training.trained_model(run).size == (16, 16)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"training.resolution_factors": (0.0,)}, "training.resolution_factors.*between 0.1 and 10"),
        ({"training.rematerialize": True}, "resolution_factors and training.rematerialize exclude each other"),
        ({"training.feature_variants": 2, "optimizer.frozen": "stem*"}, "and training.feature_variants exclude"),
        (
            {"task.name": "yolo", "model.resolution": 40, "data.source": "embedded:placed_digits:40"},
            r"sides of the input must be multiples of \d+, .*; set model.resolution to \d+ or \d+",
        ),
        ({"training.resolution_factors": (0.3, 1.0)}, "with 0.3, images have 5x5 pixels; give a higher factor"),
        (
            {
                "task.name": "yolo",
                "model.resolution": 64,
                "data.source": "embedded:placed_digits:64",
                "training.resolution_factors": (0.9, 1.0),
            },
            r"0.9 and 1 are all 64x64 pixels, since sides are rounded to multiples of \d+",
        ),
    ],
)
def test_what_excludes_it_is_said(overrides: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        training.train(config.override(SETTINGS, overrides), tmp_path, tensorboard=False)
