"""The joint head learns classes and boxes from features, and stops early."""

import keras
import numpy as np
import pytest

from tfeff import config
from tfeff.boxes.assignment import Regions
from tfeff.boxes.coding import decode, encode
from tfeff.errors import UserError
from tfeff.models.heads.region import joint_detector
from tfeff.rcnn.joint import Examples, JointTraining

SIZE, CLASSES = 24, 3


def examples(seed: int, count: int = 3000) -> tuple[Examples, np.ndarray, np.ndarray]:
    """Regions whose features encode their class and box code in a random basis, with noise."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, CLASSES, count)
    overlap = np.where(rng.random(count) < 0.5, rng.uniform(0.55, 1, count), rng.uniform(0, 0.3, count))
    low = rng.uniform(0, 50, (count, 2))
    boxes = np.concatenate([low, low + rng.uniform(20, 40, (count, 2))], axis=1)
    objects = boxes + rng.normal(0, 2.0, (count, 4))
    codes = encode(objects, boxes)
    hidden = np.zeros((count, CLASSES + 1 + 4))
    hidden[np.arange(count), np.where(overlap > 0.5, label, CLASSES)] = 3.0
    hidden[:, CLASSES + 1 :] = 20 * codes
    basis = np.random.default_rng(0).normal(size=(hidden.shape[1], SIZE))
    features = hidden @ basis + rng.normal(0, 0.3, (count, SIZE)) + 5
    targets = Regions(
        overlap=overlap.astype(np.float32),
        label=label.astype(np.int32),
        code=codes.astype(np.float32),
        is_object=overlap > 0.9,
        ignored=np.zeros(count, bool),
        image=np.zeros(count, np.int32),
    )
    return Examples(features.astype(np.float16), targets), boxes, objects


def training(**options: object) -> JointTraining:
    train, _, _ = examples(1)
    held_out, _, _ = examples(2)
    settings = config.Joint(epochs=12, patience_epochs=3, **options)
    x = np.asarray(train.features, np.float64)
    return JointTraining(settings, CLASSES, train, held_out, (x.mean(axis=0), x.std(axis=0)), seed=0)


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_classes_and_boxes_are_learned_in_every_precision(policy: str) -> None:
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy(policy)
    try:
        joint = training(hidden=(32,), dropout=0.0, learning_rate=0.03)
        rows = joint.run()
    finally:
        keras.mixed_precision.set_dtype_policy(before)
    assert rows[-1]["train_loss"] < rows[0]["train_loss"]
    test, boxes, objects = examples(3)
    scores, codes = (np.asarray(output) for output in joint_detector(joint.head)(test.features.astype(np.float32)))
    assert scores.dtype == codes.dtype == np.float32
    positive = test.targets.overlap > 0.5
    predicted = np.where(scores.max(axis=1) > 1 - scores.sum(axis=1), scores.argmax(axis=1), CLASSES)
    assert (predicted == np.where(positive, test.targets.label, CLASSES)).mean() > 0.97
    decoded = decode(codes[positive, 0], boxes[positive])
    proposal_error = np.abs(boxes[positive] - objects[positive]).mean()
    assert np.abs(decoded - objects[positive]).mean() < 0.35 * proposal_error


def test_the_same_seed_gives_the_same_head() -> None:
    first, second = training(), training()
    first.run()
    second.run()
    for one, other in zip(first.head.get_weights(), second.head.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_weights_of_the_best_epoch_are_kept() -> None:
    joint = training(learning_rate=0.5, momentum=0.0)
    rows = joint.run()
    losses = [row["validation_loss"] for row in rows]
    again = joint.validate()
    np.testing.assert_allclose(again[0] + again[1], min(losses), rtol=1e-5)
    assert len(rows) == 12 or losses.index(min(losses)) == len(rows) - 4


def test_missing_positives_are_reported() -> None:
    with pytest.raises(UserError, match="positive_overlap"):
        training(positive_overlap=1.0)


def test_divergence_is_reported() -> None:
    with pytest.raises(UserError, match="learning_rate"):
        training(learning_rate=1e38).run()
