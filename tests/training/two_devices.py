"""Checks that two devices compute what one computes.

TensorFlow divides a processor into two devices only when it starts, so they run in a process of their own:
`python -m tests.training.two_devices` prints what is wrong with each of them, as JSON.
"""

import tests.environment  # noqa: F401

# isort: split

import contextlib
import functools
import json
import sys
import traceback
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tests.thoroughness import THOROUGH
from tests.training.test_resolutions import batch_of, classifier, step_of
from tfeff import config, models, tasks
from tfeff.data.input.batches import Batches
from tfeff.data.input.box_transform import BoxTransform
from tfeff.data.input.cache import ImageCache
from tfeff.data.input.reader import Reader
from tfeff.data.sources import catalog
from tfeff.data.sources.source import Options
from tfeff.tasks import ClassificationTask, LocalizationTask
from tfeff.training import optimizers
from tfeff.training.averaging import Average
from tfeff.training.freezing import freeze
from tfeff.training.interruption import Interruption
from tfeff.training.resolutions import Resolutions
from tfeff.training.step import Step
from tfeff.training.validation import Validation


@functools.cache
def strategies() -> tuple[tf.distribute.Strategy, tf.distribute.Strategy]:
    """Returns that of one device and that of two. All checks share it: another one would number its sums over devices
    like the first, with which they would be confused."""
    return tf.distribute.get_strategy(), tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


def steps() -> None:
    """With the same batch, in float64 with synchronized batch normalization and (a thorough test) in float32 without:
    clipping, loss scaling, accumulation, regularization, frozen layers."""
    rng = np.random.default_rng(0)
    batch = {
        "image": rng.uniform(0, 255, (16, 8, 8, 3)).astype(np.float32),
        "label": np.eye(5, dtype=np.float32)[rng.integers(0, 5, 16)],
        "weight": np.ones(16, np.float32),
        "box": np.sort(rng.uniform(0, 1, (16, 2, 2)), axis=1).reshape(16, 4).astype(np.float32),
    }
    smooth = config.ClassificationSettings(label_smoothing=0.1)
    trained: dict[str, Any] = {"classification": ClassificationTask(smooth), "localization": LocalizationTask()}

    def weights(
        strategy: tf.distribute.Strategy,
        task: str,
        batch_norm: bool,
        parts: int = 1,
        rematerialize: bool = False,
        **options: Any,
    ) -> list[np.ndarray]:
        replicas = strategy.num_replicas_in_sync
        # The i-th part of a batch holds the i-th part of each replica's share.
        order = np.arange(16).reshape(replicas, parts, -1).transpose(1, 0, 2).ravel() if replicas > 1 else range(16)
        shares = np.argsort(order).reshape(replicas, -1)

        def share(context: tf.distribute.ReplicaContext) -> dict[str, tf.Tensor]:
            rows = shares[context.replica_id_in_sync_group]
            return {key: tf.constant(values[rows]) for key, values in batch.items()}

        with strategy.scope():
            keras.utils.set_random_seed(0)
            model = models.build(
                "resnet",
                width=2,
                stage_blocks=(1,),
                resolution=8,
                num_classes=5,
                include_top=task == "classification",
                synchronized=True,
                batch_norm=batch_norm,
            )
            if task == "localization":
                model = models.localizer(model, num_classes=5, grid=2, hidden=(8,))
            for layer in model.layers:
                if isinstance(layer, keras.layers.Conv2D):
                    layer.kernel.regularizer = keras.regularizers.L2(1e-2)
            freeze(model, ("stem*",))
            optimizer = optimizers.build("sgd", model, weight_decay=1e-3, **options)
            average = Average(model, 0.9)
        step = Step(
            *(model, optimizer, strategy),
            task=trained[task],
            batch_size=16,
            accumulation_steps=parts,
            rematerialize=rematerialize and replicas > 1,
            average=average,
        )
        distributed = strategy.experimental_distribute_values_from_function(share)
        for index in range(2):
            sums = step.train(distributed, step=index, learning_rate=0.05)
        return [weight.numpy() for weight in (*model.weights, *average.variables)] + [sums.numpy()]

    cases: list[tuple[str, dict[str, Any]]] = [
        ("classification", {"clip_norm": 0.1, "l2": True, "learning_rate_factors": (("stage1*", 0.1),)}),
        ("localization", {"clip_norm": 0.1, "parts": 2, "loss_scaling": True, "rematerialize": True}),
    ]
    if THOROUGH:
        cases.append(("classification", {"parts": 2}))
    in_single = cases if THOROUGH else []
    both = strategies()
    try:
        for floatx, tolerance, tested in (("float64", 1e-9, cases), ("float32", 1e-5, in_single)):
            keras.config.set_floatx(floatx)
            keras.mixed_precision.set_dtype_policy(floatx)
            for task, options in tested:
                one, two = (weights(each, task, floatx == "float64", **options) for each in both)
                for expected, found in zip(one, two, strict=True):
                    np.testing.assert_allclose(found, expected, atol=tolerance, rtol=tolerance, err_msg=str(options))
    finally:
        keras.config.set_floatx("float32")
        keras.mixed_precision.set_dtype_policy("float32")


def updates() -> None:
    """Every optimizer's, with weight decay and learning-rate factors, bit by bit."""

    def updated(strategy: tf.distribute.Strategy, name: str, l2: bool) -> list[np.ndarray]:
        with strategy.scope():
            keras.utils.set_random_seed(0)
            names = ("first", "second")
            model = keras.Sequential([keras.Input((4, 4, 2)), *(keras.layers.Conv2D(3, 2, name=n) for n in names)])
            factors = (("*first*", 0.1),)
            optimizer = optimizers.build(name, model, weight_decay=0.1, l2=l2, learning_rate_factors=factors)
        optimizer.learning_rate = 0.05
        variables = model.trainable_variables
        for seed in range(2):
            rng = np.random.default_rng(seed)
            sums = [rng.normal(size=v.shape).astype(np.float32) for v in variables]
            strategy.run(lambda sums=sums: optimizer.apply([tf.constant(each) for each in sums], variables))
        return model.get_weights()

    both = strategies()
    for name, l2 in (("sgd", False), ("rmsprop", True), ("adamw", False), ("muon", False)):
        for expected, found in zip(*(updated(each, name, l2) for each in both), strict=True):
            np.testing.assert_array_equal(found, expected, err_msg=name)


def resolutions() -> None:
    """Steps at several resolutions."""
    small = {"resolution": 16, "stage_blocks": (1,)}
    weights, batch, ends = classifier(**small).get_weights(), batch_of(side=16), []
    for strategy in strategies():
        with strategy.scope():
            network = classifier(**small, synchronized=True)
            network.set_weights(weights)
            step = step_of(network, Resolutions(network, (0.5, 1.0), 1), strategy=strategy)
        data = tf.data.Dataset.from_tensors(batch).repeat().unbatch().batch(4)
        batches = iter(strategy.experimental_distribute_dataset(data))
        assert step.resolutions is not None
        assert {step.resolutions.drawn(number) for number in range(4)} == {0, 1}
        for number in range(4):
            step.train(next(batches), step=number, learning_rate=0.1)
        ends.append(network.get_weights())
    for one, other in zip(*ends, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-3)


def predictions() -> None:
    """Of a validation: detections, whose tensors are of all types, come in the order of the images, without those of
    padding."""
    options = Options(channels=1, fractions={"train": 0.9, "test": 0.1})
    images = catalog.open_objects("embedded:placed_digits:48", options).load("test").take(np.arange(13))
    batches = Batches(BoxTransform(Reader(ImageCache.open(images)), (48, 48), max_objects=3), 4)
    section = config.YoloSettings()
    task = tasks.create(section)
    described = section.describe(config.architecture("resnet", width=4, stage_blocks=(1, 1, 1), resolution=48))

    def evaluated(strategy: tf.distribute.Strategy) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        with strategy.scope():
            network = task.network(described, num_classes=10, channels=1)
            rng = np.random.default_rng(0)
            for weight in network.weights:
                values = rng.normal(0, 0.05, weight.shape)
                weight.assign(1 + abs(values) if weight.name in ("gamma", "moving_variance") else values)
        step = Step(network, None, strategy, task=task, batch_size=4)
        found = []

        def scoring(predictions: dict[str, np.ndarray]) -> dict[str, float]:
            found.append(predictions)
            return {}

        hook = Validation(batches.evaluation_batches(), scoring, batch_size=4, monitor="loss", every=1)
        loop: Any = SimpleNamespace(step=step, interruption=Interruption())
        hook.start(loop)
        sums, _ = hook._evaluated(loop)
        return sums, found[0]

    (sums, one), (others, two) = map(evaluated, strategies())
    np.testing.assert_allclose(others, sums, rtol=1e-5)
    assert one["scores"].std() > 0
    assert one.keys() == two.keys()
    assert {"image_size", "window_yxyx"} < one.keys(), one.keys()
    for name, values in one.items():
        assert len(values) == 13, name
        assert values.dtype == two[name].dtype, name
        np.testing.assert_allclose(two[name], values, rtol=1e-4, atol=1e-4, err_msg=name)


CHECKS: tuple[Callable[[], None], ...] = (steps, updates, resolutions, predictions)


def _failure(check: Callable[[], None]) -> str:
    try:
        check()
    except Exception:
        return traceback.format_exc()
    return ""


if __name__ == "__main__":
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    with contextlib.redirect_stdout(sys.stderr):
        failures = {check.__name__: _failure(check) for check in CHECKS}
    print(json.dumps(failures))
