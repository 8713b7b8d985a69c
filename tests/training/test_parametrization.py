"""The maximal update parametrization: factors by hand, and one rate for all widths."""

import dataclasses
import random

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfeff import config, models, training
from tfeff.errors import UserError
from tfeff.training import checks
from tfeff.training.parametrization import narrow, parametrization
from tfeff.training.plan import Plan
from tfeff.training.preparation import Preparation

SMALL = models.architecture("resnet", width=8, stage_blocks=(1, 1), resolution=8)


def of(description, *, normalizes):
    network, reference = (models.build(each, num_classes=4) for each in (description, narrow(description)))
    narrower = {each.path: tuple(each.shape) for each in reference.trainable_variables}
    return parametrization(network, description, narrower, normalizes=normalizes)


def test_the_base_is_unchanged():
    for normalizes in (False, True):
        found = of(SMALL, normalizes=normalizes)
        assert set(found.rates.values()) == set(found.initial.values()) == {1.0}


def test_a_network_of_four_times_the_width():
    wide = SMALL.scaled(depth=1, width=4, resolution=8)
    sgd, adam = (of(wide, normalizes=normalizes) for normalizes in (False, True))
    for path, expected in {
        "stem_conv/kernel": (4, 1),  # reads images
        "stem_conv_bn/gamma": (4, 1),
        "stage2_block1_conv1/kernel": (1, 1 / 4),
        "stage2_block1_shortcut_conv/kernel": (1, 1 / 4),
        "head_classifier/kernel": (1 / 4, 1 / 4),
        "head_classifier/bias": (1, 1),
    }.items():
        assert (sgd.rates[path], adam.rates[path]) == pytest.approx(expected), path
    # Glorot's variance, 2 / (n + m), would fall from 2 / (16 + 4) to 2 / (64 + 4); that of μP is divided by 4².
    assert sgd.initial["head_classifier/kernel"] == pytest.approx((20 / 68) ** -0.5 / 4)
    hidden = [factor for path, factor in sgd.initial.items() if "conv" in path and "stem" not in path]
    assert hidden == pytest.approx([1.0] * len(hidden))


def test_a_network_of_four_times_the_blocks():
    deep = SMALL.scaled(depth=4, width=1, resolution=8)
    assert sum(deep.blocks) == 8
    sgd, adam = (of(deep, normalizes=normalizes) for normalizes in (False, True))
    for path, (initial, *rates) in {
        "stage1_block3_conv1/kernel": (1, 1, 1 / 2),
        "stage1_block3_conv2/kernel": (1, 1, 1 / 2),
        "stage1_block3_conv2_bn/gamma": (1 / 2, 1 / 4, 1 / 2),
        "stage2_block1_conv2_bn/beta": (1 / 2, 1 / 4, 1 / 2),
        "stage2_block1_shortcut_conv/kernel": (1, 1, 1),
        "head_classifier/kernel": (1, 1, 1),
    }.items():
        assert sgd.initial[path] == pytest.approx(initial), path
        assert [sgd.rates[path], adam.rates[path]] == pytest.approx(rates), path


def settings(**changes):
    experiment = config.Experiment(
        model=SMALL,
        data=config.Data(source="embedded:digits", channels=1),
        optimizer=config.Optimizer(parametrization="mup"),
        training=config.Training(epochs=1, batch_size=50, precision="float32"),
    )
    return config.override(experiment, changes)


def test_the_average_starts_with_the_weights_of_the_parametrization(tmp_path, monkeypatch):
    prepared = []
    monkeypatch.setattr(
        Preparation, "_announced", lambda self, _, __, assembly, *___: prepared.append(assembly) or 1 / 0
    )
    changes = {"training.ema_decay": 0.9, "model.width_coefficient": 2.0, "schedule.warmup_epochs": 0.0}
    with pytest.raises(ZeroDivisionError):
        training.train(settings(**changes), tmp_path)
    for average, weight in zip(prepared[0].average.variables, prepared[0].model.weights, strict=True):
        np.testing.assert_array_equal(average, weight)


def test_the_narrower_network_takes_no_random_numbers_of_the_process():
    state = random.getstate()
    assert Plan.of(settings(**{"model.width_coefficient": 2.0}))._narrower
    assert random.getstate() == state


@pytest.mark.slow
@pytest.mark.parametrize(("name", "rate"), [("sgd", 0.05), ("adamw", 0.005)])
def test_steps_change_the_logits_of_all_widths_alike(name, rate):
    images = np.random.default_rng(0).uniform(0, 255, (32, 8, 8, 1)).astype(np.float32)
    labels = np.arange(32) % 10

    def change(width, parametrization):
        """Returns the root mean square of the change of the logits after five steps."""
        overrides = {"model.width_coefficient": width, "optimizer.parametrization": parametrization}
        plan = Plan.of(settings(**overrides, **{"optimizer.name": name, "optimizer.learning_rate": rate}))
        plan = dataclasses.replace(plan, class_names=tuple("0123456789"))
        network = plan.build_network()
        plan.load_weights(network)
        optimizer = plan.build_optimizer(network)
        optimizer.learning_rate = rate
        before = network(images, training=True)
        for _ in range(5):
            with tf.GradientTape() as tape:
                losses = keras.losses.sparse_categorical_crossentropy(labels, network(images, training=True), True)
                loss = tf.reduce_mean(losses)
            gradients = tape.gradient(loss, [each.value for each in network.trainable_variables])
            optimizer.apply(gradients)
        return float(np.sqrt(np.mean((network(images, training=True) - before) ** 2)))

    assert change(8, "standard") > 4 * change(1, "standard")
    assert 0.6 < change(8, "mup") / change(1, "mup") < 1.4


def test_weight_decay_does_not_depend_on_the_width():
    plan = Plan.of(settings(**{"model.width_coefficient": 4, "optimizer.name": "adamw", "optimizer.weight_decay": 0.1}))
    network = models.build(plan.network, num_classes=10, channels=1)
    optimizer = dataclasses.replace(plan, class_names=tuple("0123456789")).build_optimizer(network)
    products = {rate * decay for rate, decay in zip(optimizer.factors, optimizer.decays, strict=True) if decay}
    assert min(optimizer.factors) == 1 / 4
    assert products == {0.1}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model.weights": "imagenet", "model.name": "efficientnet-b0"}, "sets random initial weights; omit"),
        ({"optimizer.name": "muon"}, "no rule for muon"),
        ({"task.name": "yolo"}, "is for classifiers"),
    ],
)
def test_what_has_no_rule_is_refused(changes, message):
    with pytest.raises(UserError, match=f"optimizer.parametrization=mup.*{message}"):
        checks.check(Plan.of(settings(**changes)), 1, new_run=True)
