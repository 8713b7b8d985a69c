"""Learning-rate range test: a short run in which the rate grows tells which rate to train with.

After Smith (arXiv:1506.01186, section 3.3), with the rate growing exponentially, since what suits two networks may lie
decades apart, and the training loss watched instead of the accuracy.
"""

import math
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from tfeff import config
from tfeff.errors import UserError
from tfeff.training import build, selection

STEPS = 120
SPAN = 100.0
"""The rate grows from the config's learning rate divided by SPAN to the same times SPAN."""
WINDOW = 21
"""Losses that are averaged: batches differ, the more so the smaller they are."""
DIVERGED = 4.0
"""A loss so many times the first one ends the test."""
LEAST_GAIN = 0.003
"""Share by which the loss has to fall below that of the best constant answer; less is no learning."""


def range_test(settings: config.Experiment, caches: selection.SplitCaches) -> float:
    """The learning rate to train an experiment's network with, as the peak of a schedule that falls.

    From the run's initial weights, on its batches and with its optimizer, STEPS updates are made, each at a higher rate
    than the one before. The loss falls, then stops falling, since the rate has become too high, and rises or diverges.
    The result is the rate at which the loss, averaged over the WINDOW of steps around it, is least: the upper bound of
    the paper's range.

    With `training.deterministic` every call gives the same rate; without, the rounding of parallel sums may move it.
    Another seed moves it too: by a factor of 2 or 3, where batches are small or the network learns slowly.

    Args:
        settings: the experiment. The rates tried lie around its learning rate; its schedule and precision play no part,
            the test runs in float32.
        caches: its images.

    Raises:
        UserError: when nothing is learnt at any rate, or for another task than classification.
        ValueError: for caches that were read under other settings.
    """
    if settings.task.name != "classification":
        settings.task.wrong("name", '"classification" in a learning-rate range test')
    policy = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy("float32")
    if settings.training.deterministic:
        tf.config.experimental.enable_op_determinism()
    try:
        rates, losses, constant = _losses(settings, caches)
    finally:
        keras.mixed_precision.set_dtype_policy(policy)
    rate, loss = least(rates, losses)
    if not loss < (1 - LEAST_GAIN) * constant:
        raise UserError(
            f"the learning-rate range test learnt nothing in {len(losses)} steps at rates from {rates[0]:.2g} to "
            f"{rates[-1]:.2g}: its least loss is {loss:.4f}, and the same answer for every image gives {constant:.4f}; "
            "look at the images and their labels, or choose another optimizer.learning_rate to test around"
        )
    return rate


def least(rates: Sequence[float], losses: Sequence[float]) -> tuple[float, float]:
    """The rate around which the average of WINDOW losses is least, and that average; nan where there are too few."""
    if len(losses) < WINDOW:
        return math.nan, math.nan
    means = np.convolve(losses, np.full(WINDOW, 1 / WINDOW), "valid")
    lowest = int(np.argmin(means))
    return float(rates[lowest + WINDOW // 2]), float(means[lowest])


def _losses(settings: config.Experiment, caches: selection.SplitCaches) -> tuple[list[float], list[float], float]:
    """The rates tried, the loss of each one's batch before its update, and the loss of the best constant answer."""
    dataset = selection.choose(settings, caches)
    network = build.model(settings, dataset.record())
    build.initial_weights(settings, network)
    step = build.step(settings, network, tf.distribute.get_strategy(), build.optimizer(settings, network, 1))
    pipeline = build.training_pipeline(settings, dataset.train, network.resolution, (0, 1))
    batches = pipeline.training_batches(-(-STEPS // pipeline.steps_per_epoch)).take(STEPS)
    peak = settings.optimizer.learning_rate
    rates, losses, labels = list[float](), list[float](), list[np.ndarray]()
    for index, batch in enumerate(batches):
        rate = peak * SPAN ** (2 * index / (STEPS - 1) - 1)
        loss = step.task.means(step.train(batch, step=index, learning_rate=rate).numpy())["loss"]
        if not loss < DIVERGED * max(losses[:1], default=math.inf):
            break
        rates.append(rate)
        losses.append(loss)
        labels.append(batch["label"].numpy().mean(axis=0))
    share = np.mean(labels, axis=0) * (1 - settings.training.label_smoothing)
    share += settings.training.label_smoothing / len(share)
    return rates, losses, float(-np.sum(share[share > 0] * np.log(share[share > 0])))
