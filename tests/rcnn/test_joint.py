"""The joint head learns classes and boxes from features, stops early, and resumes; also on two devices."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.thoroughness import only_thorough, thorough
from tfeff import config, training
from tfeff.boxes.assignment import Regions
from tfeff.boxes.coding import decode, encode
from tfeff.errors import Interrupted, UserError
from tfeff.models.heads.region import joint_detector
from tfeff.rcnn import joint
from tfeff.rcnn.examples import Examples
from tfeff.training.interruption import Interruption
from tfeff.training.loop import Hook
from tfeff.training.step import Step

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


def data(digest: str = "") -> joint.JointData:
    train, held_out = examples(1)[0], examples(2)[0]
    x = np.asarray(train.features, np.float64)
    return joint.JointData(train, held_out, (x.mean(axis=0), x.std(axis=0)), CLASSES, digest)


def train(
    directory: Path,
    settings: config.Joint,
    *,
    given: joint.JointData | None = None,
    strategy: tf.distribute.Strategy | None = None,
    hooks: tuple[Hook, ...] = (),
) -> tuple[keras.Model, list[dict]]:
    """The trained head and its rows."""
    with Interruption() as interruption:
        head = joint.train(
            settings,
            given or data(),
            directory,
            seed=0,
            strategy=strategy or tf.distribute.get_strategy(),
            checkpoint_seconds=1e9,
            reporter=training.Reporter(quiet=True),
            interruption=interruption,
            hooks=hooks,
        )
    return head, training.Workdir(directory).rows()


def short(**options: object) -> config.Joint:
    return config.Joint(**{"epochs": 12, "patience_epochs": 3} | options)


def assert_same_weights(one: keras.Model, other: keras.Model) -> None:
    for first, second in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", thorough("mixed_float16")])
def test_classes_and_boxes_are_learned_in_every_precision(policy: str, tmp_path: Path) -> None:
    keras.mixed_precision.set_dtype_policy(policy)
    head, rows = train(tmp_path, short(hidden=(32,), dropout=0.0, learning_rate=0.03))
    assert rows[-1]["train_loss"] < rows[0]["train_loss"]
    test, boxes, objects = examples(3)
    scores, codes = (np.asarray(output) for output in joint_detector(head)(test.features.astype(np.float32)))
    assert scores.dtype == codes.dtype == np.float32
    positive = test.targets.overlap > 0.5
    predicted = np.where(scores.max(axis=1) > 1 - scores.sum(axis=1), scores.argmax(axis=1), CLASSES)
    assert (predicted == np.where(positive, test.targets.label, CLASSES)).mean() > 0.97
    decoded = decode(codes[positive, 0], boxes[positive])
    proposal_error = np.abs(boxes[positive] - objects[positive]).mean()
    assert np.abs(decoded - objects[positive]).mean() < 0.35 * proposal_error


def test_updates_are_those_of_plain_keras(tmp_path: Path) -> None:
    """Mean cross-entropy, mean smooth L1 of the positives, and the L1 penalty, minimized by Keras' own SGD."""
    settings, given = short(epochs=1, hidden=(16,), l1=1e-3, dropout=0.2, learning_rate=0.05), data()
    head, _ = train(tmp_path, settings, given=given)
    pipeline = joint.batches(settings, given.train, CLASSES, seed=0, name="training")
    one = joint.assemble(settings, given, seed=0, strategy=tf.distribute.get_strategy(), batch_size=1).model
    optimizer = keras.optimizers.SGD(settings.learning_rate, momentum=settings.momentum)
    for rows in pipeline.rows(1):
        batch = pipeline.read(rows)
        with tf.GradientTape() as tape:
            logits, codes = one(batch["features"].astype(np.float32), training=True)
            entropy = keras.losses.sparse_categorical_crossentropy(batch["label"], logits, from_logits=True)
            huber = 4 * keras.losses.huber(batch["code"], codes[:, 0])  # Keras averages over the four numbers
            box_loss = tf.reduce_sum(huber * batch["positive"]) / batch["positive"].sum()
            loss = tf.reduce_mean(entropy) + box_loss + tf.add_n(one.losses)
        optimizer.apply(tape.gradient(loss, [v.value for v in one.trainable_variables]), one.trainable_variables)
    for expected, found in zip(one.get_weights(), head.get_weights(), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5)


@only_thorough
def test_the_same_seed_gives_the_same_head(tmp_path: Path) -> None:
    assert_same_weights(train(tmp_path / "one", short())[0], train(tmp_path / "other", short())[0])


def test_the_weights_of_the_best_epoch_are_kept(tmp_path: Path) -> None:
    settings, given = short(learning_rate=0.5, momentum=0.0), data()
    head, rows = train(tmp_path, settings, given=given)
    losses = [row["validation_loss"] for row in rows]
    assembly = joint.assemble(settings, given, seed=0, strategy=tf.distribute.get_strategy(), batch_size=128)
    assembly.model.set_weights(head.get_weights())
    batches = joint.batches(settings, given.validation, CLASSES, seed=0, name="validation").evaluation_batches()
    sums = np.sum([assembly.step.evaluate(batch).numpy() for batch in batches], axis=0)
    np.testing.assert_allclose(assembly.step.task.means(sums)["loss"], min(losses), rtol=1e-5)
    assert len(rows) == 12 or losses.index(min(losses)) == len(rows) - 4


def test_missing_positives_are_reported(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="positive_overlap"):
        train(tmp_path, short(positive_overlap=1.0))


def test_divergence_is_reported(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"training diverged.*joint\.learning_rate \(now 1e\+38\)"):
        train(tmp_path, short(learning_rate=1e38))


class Signals(Hook):
    """Sends SIGTERM before some steps."""

    def __init__(self, *steps: int) -> None:
        self.steps = steps

    def step(self, loop, batch) -> None:
        if loop.state.step in self.steps:
            os.kill(os.getpid(), signal.SIGTERM)


@only_thorough
def test_a_signal_saves_the_state_and_the_training_resumes(tmp_path: Path) -> None:
    tf.config.experimental.enable_op_determinism()
    settings = short(epochs=4)
    whole, rows = train(tmp_path / "whole", settings)
    steps = rows[0]["step"]
    assert steps > 5
    for stop in (3, steps - 1, 2 * steps + 4):  # within an epoch, at the end of one, within a later one
        with pytest.raises(Interrupted, match=f"state saved at step {stop + 1}"):
            train(tmp_path / "stopped", settings, hooks=(Signals(stop),))
    head, again = train(tmp_path / "stopped", settings)
    assert_same_weights(whole, head)
    assert joint.curves(rows) == joint.curves(again)


def test_a_finished_head_is_not_trained_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, rows = train(tmp_path, short(epochs=2))
    monkeypatch.setattr(Step, "train", lambda *_, **__: pytest.fail("trained again"))
    second, again = train(tmp_path, short(epochs=2))
    assert_same_weights(first, second)
    assert rows == again


def test_a_checkpoint_of_another_backbone_is_refused(tmp_path: Path) -> None:
    train(tmp_path, short(epochs=1), given=data("one"))
    with pytest.raises(UserError, match="the backbone has changed"):
        train(tmp_path, short(epochs=1), given=data("other"))


def test_hooks_are_called_in_order(tmp_path: Path) -> None:
    calls = list[str]()

    class Recorder(Hook):
        def start(self, loop) -> None:
            calls.append("start")

        def step(self, loop, batch) -> None:
            assert batch["features"].shape == (128, SIZE)
            calls.append("step")

        def best(self, loop, epoch: int) -> None:
            calls.append(f"best {epoch}")

        def epoch(self, loop, row) -> None:
            assert "validation_loss" in row
            assert training.Workdir(tmp_path).epochs(row["step"]) != row["epoch"]  # not saved yet
            calls.append(f"epoch {row['epoch']}")

        def finish(self, loop) -> None:
            calls.append("finish")

        def close(self, loop) -> None:
            calls.append("close")

    _, rows = train(tmp_path, short(epochs=2, learning_rate=1e-3), hooks=(Recorder(),))
    steps = ["step"] * rows[0]["step"]
    assert calls == ["start", *steps, "best 1", "epoch 1", *steps, "best 2", "epoch 2", "finish", "close"]


def test_curves_keep_their_keys() -> None:
    names = ("loss", "class_loss", "box_loss", "accuracy")
    wanted = ["epoch", *(f"{part}_{name}" for part in ("train", "validation") for name in names)]
    row = dict.fromkeys([*wanted[:1], "step", *wanted[1:5], "learning_rate", "seconds", *wanted[5:]], 1)
    assert list(joint.curves([row])[0]) == wanted


def test_devices_must_divide_the_batch() -> None:
    joint.check(config.Joint(), 4)
    with pytest.raises(UserError, match="is 128; it should be a multiple of the 3 devices"):
        joint.check(config.Joint(), 3)


@only_thorough
def test_two_devices_match_one() -> None:
    """Without dropout, whose masks differ between devices."""
    script = """
        import tempfile
        from pathlib import Path
        import keras, numpy as np, tensorflow as tf

        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
        from tests.rcnn.test_joint import short, train

        settings = short(epochs=2, positives=300, negatives=84, hidden=(16,), l1=1e-3, dropout=0.0)
        one, two = tf.distribute.get_strategy(), tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
        for policy, tolerance in (("float64", 1e-9), ("float32", 1e-5), ("mixed_float16", None)):
            keras.config.set_floatx("float64" if policy == "float64" else "float32")
            keras.mixed_precision.set_dtype_policy(policy)
            heads, rows = [], []
            for strategy in (one, two):
                with tempfile.TemporaryDirectory() as directory:
                    head, curve = train(Path(directory), settings, strategy=strategy)
                assert head.trainable_variables[0].dtype == ("float64" if policy == "float64" else "float32")
                heads.append(head.get_weights())
                rows.append(curve)
            if tolerance is None:  # float16 gradients are rounded; the losses still fall together
                first, last = rows[1][0]["validation_loss"], rows[1][-1]["validation_loss"]
                assert last < first, (first, last)
                np.testing.assert_allclose(last, rows[0][-1]["validation_loss"], rtol=0.05)
                continue
            for expected, found in zip(*heads, strict=True):
                np.testing.assert_allclose(found, expected, atol=tolerance, rtol=tolerance, err_msg=policy)
            for key in ("train_loss", "train_box_loss", "train_accuracy", "validation_loss"):
                values = [[row[key] for row in each] for each in rows]
                np.testing.assert_allclose(*values, rtol=tolerance, err_msg=key)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
