import itertools
import math

import pytest
import tensorflow as tf

from tfeff import config
from tfeff.training import schedules
from tfeff.training.stopping import EarlyStopping


def rates(settings, steps_per_epoch):
    return schedules.build(
        settings.schedule,
        peak=settings.optimizer.learning_rate,
        epochs=settings.training.epochs,
        steps_per_epoch=steps_per_epoch,
        change=settings.training.minimum_change,
    )


def test_efficientnet_decays_by_0_97_every_2_4_epochs():
    steps_per_epoch = 100
    rate = schedules.Exponential(0.256, 0.97, 2.4 * steps_per_epoch)
    assert rate(239) == 0.256
    assert rate(240) == pytest.approx(0.256 * 0.97)
    assert rate(350 * steps_per_epoch) == pytest.approx(0.256 * 0.97**145)


def test_warm_up_is_continuous():
    rate = schedules.WarmUp(schedules.Cosine(0.1, 90), 10, 10)
    values = [rate(step) for step in range(101)]
    assert values[9] == values[10] == 0.1
    assert values[:10] == pytest.approx([0.01 * (i + 1) for i in range(10)])
    assert all(a > b for a, b in itertools.pairwise(values[10:]))
    assert values[100] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("steps_per_epoch", [7, 613])
def test_the_schedule_of_efficientnet_is_that_of_its_reference_implementation(steps_per_epoch: int):
    """`build_learning_rate` in utils.py of tensorflow/tpu, computed by the functions of TensorFlow 1 that it calls."""
    settings = config.Experiment(
        optimizer=config.Optimizer(learning_rate=0.128),
        schedule=config.Schedule(name="exponential", warmup_epochs=5, count_warmup=True),
        training=config.Training(epochs=350),
    )
    rate = rates(settings, steps_per_epoch)
    warm_up = 5 * steps_per_epoch
    # Our warm-up is one step ahead, so that the first update changes something.
    assert rate(0) == pytest.approx(0.128 / warm_up)
    assert rate(warm_up - 1) == pytest.approx(0.128)
    boundaries = [math.ceil(k * 2.4 * steps_per_epoch) + offset for k in range(3, 146) for offset in (-1, 0, 1)]
    for step in (warm_up, warm_up + 1, *boundaries[:30], *boundaries[-9:]):
        theirs = tf.compat.v1.train.exponential_decay(0.128, step, steps_per_epoch * 2.4, 0.97, staircase=True)()
        assert rate(step) == pytest.approx(float(theirs), rel=1e-5), step
    # Two decays of 0.97 lie within the warm-up.
    assert rate(warm_up) == pytest.approx(0.128 * 0.97**2)


def test_a_cosine_that_counts_the_warm_up_ends_with_the_training():
    settings = config.Experiment(
        optimizer=config.Optimizer(learning_rate=0.1),
        schedule=config.Schedule(name="cosine", warmup_epochs=2, count_warmup=True),
        training=config.Training(epochs=10),
    )
    rate = rates(settings, 10)
    assert rate(19) == pytest.approx(0.1)
    for step in (20, 50, 99):
        assert rate(step) == pytest.approx(0.05 * (1 + math.cos(math.pi * step / 100)))


@pytest.mark.parametrize("count_warmup", [False, True])
def test_steps_are_at_the_epochs_of_the_training(count_warmup: bool):
    settings = config.Experiment(
        optimizer=config.Optimizer(learning_rate=0.1),
        schedule=config.Schedule(
            name="step", boundaries=(3, 5), decay_rate=0.5, warmup_epochs=2, count_warmup=count_warmup
        ),
    )
    rate = rates(settings, 10)
    assert [rate(step) for step in (20, 29, 30, 49, 50)] == pytest.approx([0.1, 0.1, 0.05, 0.05, 0.025])


def test_plateau_reduces_the_rate_after_patience_and_can_be_restored():
    losses = [3.0, 2.0, 2.1, 2.2, 2.3, 1.9, 2.0, math.inf, 2.0]
    whole = schedules.Plateau(1.0, 0.1, 2)
    rates = []
    for loss in losses:
        whole.observe(loss, epochs=1)
        rates.append(whole(0))
    assert rates == pytest.approx([1, 1, 1, 0.1, 0.1, 0.1, 0.1, 0.01, 0.01])
    resumed = schedules.Plateau(1.0, 0.1, 2)
    for loss, rate in zip(losses, rates, strict=True):
        again = schedules.Plateau(1.0, 0.1, 2)
        again.restore(resumed.state())
        resumed = again
        resumed.observe(loss, epochs=1)
        assert resumed(0) == rate


def test_a_change_up_to_the_minimum_is_no_improvement():
    rate, stopping = schedules.Plateau(1.0, 0.1, 2, 0.5), EarlyStopping(2, 0.5)
    for value, expected, best in ((3.0, 1, True), (2.5, 1, False), (2.4, 1, True), (2.0, 1, False), (1.9, 0.1, False)):
        rate.observe(value, epochs=1)
        assert stopping.observe(value, epochs=1) == best
        assert rate(0) == expected
    assert stopping.exhausted


def test_plateau_counts_epochs_between_validations():
    rate = schedules.WarmUp(schedules.Plateau(1.0, 0.1, 4), 1, 1)
    for loss, expected in ((3.0, 1), (3.5, 1), (3.5, 0.1), (2.0, 0.1), (2.5, 0.1), (2.5, 0.01)):
        rate.observe(loss, epochs=2)
        assert rate(1) == pytest.approx(expected)


def test_step_decays_at_boundaries():
    rate = schedules.StepDecay(0.8, 0.1, (30, 60))
    assert [rate(step) for step in (0, 29, 30, 59, 60)] == pytest.approx([0.8, 0.8, 0.08, 0.08, 0.008])
