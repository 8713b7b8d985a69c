"""Losses and metrics of the region head, against NumPy."""

import numpy as np
import pytest
import tensorflow as tf

from tfeff.tasks import RegionHead

CLASSES = 3


def batch_of(rng: np.random.Generator, positives: int, count: int = 12) -> dict[str, tf.Tensor]:
    positive = np.arange(count) < positives
    return {
        "label": tf.constant(np.where(positive, rng.integers(0, CLASSES, count), CLASSES), tf.int32),
        "code": tf.constant(rng.normal(0, 2, (count, 4)), tf.float32),
        "positive": tf.constant(positive, tf.float32),
    }


@pytest.mark.parametrize("positives", [0, 5, 12])
def test_losses_and_accuracy_match_numpy(positives: int) -> None:
    rng = np.random.default_rng(positives)
    batch, logits, codes = batch_of(rng, positives), rng.normal(0, 2, (12, CLASSES + 1)), rng.normal(0, 2, (12, 1, 4))
    outputs = tf.constant(logits, tf.float32), tf.constant(codes, tf.float32)
    task = RegionHead()
    totals = task.totals(batch, outputs, training=True)
    label, code = batch["label"].numpy(), batch["code"].numpy()
    entropy = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(12), label]
    error = np.abs(codes[:, 0] - code)[:positives]
    smooth = np.where(error < 1, error**2 / 2, error - 0.5).sum()
    assert {total.dtype for total in totals.values()} == {tf.float32}
    means = task.means(np.array([float(totals[name]) for name in task.names]))
    expected = {
        "class_loss": entropy.mean(),
        "box_loss": smooth / max(1, positives),
        "accuracy": (logits.argmax(axis=1) == label).mean(),
    }
    assert list(means) == ["loss", *expected]
    assert means == pytest.approx({"loss": expected["class_loss"] + expected["box_loss"], **expected}, rel=1e-5)


def test_totals_of_half_precision_are_float32() -> None:
    batch = batch_of(np.random.default_rng(0), 5)
    outputs = tf.zeros((12, CLASSES + 1), tf.bfloat16), tf.zeros((12, 1, 4), tf.bfloat16)
    assert {total.dtype for total in RegionHead().totals(batch, outputs, training=False).values()} == {tf.float32}
