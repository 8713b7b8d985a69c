import gc
from typing import ClassVar

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfeff.tasks.classification import ClassificationTask, cross_entropy
from tfeff.tasks.task import Task
from tfeff.training import optimizers
from tfeff.training.averaging import Average
from tfeff.training.step import Step


def network(seed=0, batch_norm=False):
    keras.utils.set_random_seed(seed)
    layers = [keras.layers.Input((6, 6, 1)), keras.layers.Conv2D(4, 3, use_bias=True)]
    if batch_norm:
        layers.append(keras.layers.BatchNormalization())
    return keras.Sequential([*layers, keras.layers.ReLU(), keras.layers.Flatten(), keras.layers.Dense(3)])


def sgd(model, name="sgd", **options):
    return optimizers.build(name, model, **{"nesterov": False} | options)


def batch_of(n, seed=0):
    rng = np.random.default_rng(seed)
    return {
        "image": tf.constant(rng.uniform(-1, 1, (n, 6, 6, 1)), tf.float32),
        "label": tf.one_hot(rng.integers(0, 3, n), 3),
        "weight": tf.ones(n),
    }


def run(model, optimizer, batch, steps=3, **options):
    step = Step(
        model,
        optimizer,
        tf.distribute.get_strategy(),
        task=ClassificationTask(),
        batch_size=len(batch["weight"]),
        **options,
    )
    return [step.train(batch, step=i, learning_rate=0.1).numpy() for i in range(steps)]


def test_gradient_accumulation_does_not_change_the_update():
    whole, parts = network(), network()
    batch = batch_of(12)
    sums = run(whole, sgd(whole), batch), run(parts, sgd(parts), batch, accumulation_steps=4)
    np.testing.assert_allclose(sums[0], sums[1], rtol=1e-5)
    for a, b in zip(whole.get_weights(), parts.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


class Foreground(Task):
    """Two losses with different counts, one of which depends on the network's outputs."""

    losses: ClassVar = {"class_loss": "images", "margin_loss": "large"}
    metrics: ClassVar = {"mean_logit": "large"}

    def totals(self, batch, outputs, *, training):
        large = tf.cast(outputs[:, 0] > 0, tf.float32)
        return {
            "class_loss": tf.reduce_sum(cross_entropy(batch["label"], outputs)),
            "margin_loss": tf.reduce_sum(large * (outputs[:, 0] - outputs[:, 1]) ** 2),
            "mean_logit": tf.reduce_sum(large * outputs[:, 0]),
            "images": tf.reduce_sum(batch["weight"]),
            "large": tf.reduce_sum(large),
        }


class PlusOne(Foreground):
    """One of its losses is divided by its count plus 1."""

    added: ClassVar = {"large": 1.0}


def regularized():
    model = network()
    model.layers[0].kernel.regularizer = keras.regularizers.L2(0.3)
    return model


@pytest.mark.parametrize(("parts", "task"), [(1, Foreground()), (4, Foreground()), (1, PlusOne()), (4, PlusOne())])
def test_each_loss_is_divided_by_its_own_count_and_regularization_counts_once(parts, task):
    model, batch = regularized(), batch_of(12)
    step = Step(model, sgd(model), tf.distribute.get_strategy(), task=task, batch_size=12, accumulation_steps=parts)
    with tf.GradientTape() as tape:
        logits = model(batch["image"])
        large = logits[:, 0] > 0
        margin = tf.boolean_mask(logits[:, 0] - logits[:, 1], large)
        count = tf.cast(tf.size(margin), tf.float32) + task.added.get("large", 0.0)
        losses = tf.reduce_mean(cross_entropy(batch["label"], logits)), tf.reduce_sum(margin**2) / count
        loss = tf.add_n(losses) + 0.3 * tf.reduce_sum(model.layers[0].kernel ** 2)
    assert 0 < tf.reduce_sum(tf.cast(large, tf.int32)) < 12
    gradients = tape.gradient(loss, [variable.value for variable in model.trainable_variables])
    before = [variable.numpy() for variable in model.trainable_variables]
    sums = step.train(batch, step=0, learning_rate=0.1).numpy()
    for variable, gradient, old in zip(model.trainable_variables, gradients, before, strict=True):
        np.testing.assert_allclose(variable.numpy(), old - 0.1 * gradient, atol=1e-6, err_msg=variable.path)
    means = step.task.means(sums)
    assert means["loss"] == pytest.approx(sum(map(float, losses)), rel=1e-5)
    assert means["mean_logit"] == pytest.approx(float(tf.reduce_mean(logits[:, 0][large])), rel=1e-5)


def test_a_batch_without_anything_to_count_has_the_loss_that_is_minimized():
    sums = {"class_loss": 6.0, "margin_loss": 5.0, "mean_logit": 0.0, "images": 3.0, "large": 0.0}
    for task, margin in ((PlusOne(), 5.0), (Foreground(), 0.0)):
        means = task.means(np.array([sums[name] for name in task.names]))
        assert means == {"loss": 2.0 + margin, "class_loss": 2.0, "margin_loss": margin, "mean_logit": 0.0}


def test_gradients_of_a_part_are_those_of_a_batch_of_equal_parts():
    model, part = regularized(), batch_of(3)
    batch = {key: tf.concat([value] * 4, axis=0) for key, value in part.items()}
    whole, parts = (
        Step(model, sgd(model), tf.distribute.get_strategy(), task=Foreground(), batch_size=12, accumulation_steps=n)
        for n in (1, 4)
    )
    expected = whole.gradients(batch)
    assert expected
    for path, gradient in parts.gradients(batch).items():
        np.testing.assert_allclose(gradient, expected[path], rtol=1e-4, atol=1e-6, err_msg=path)


def test_update_is_momentum_sgd_on_the_mean_loss():
    model, batch = network(), batch_of(8)
    before = [w.numpy() for w in model.trainable_variables]
    velocity = [np.zeros_like(w) for w in before]
    step = Step(model, sgd(model), tf.distribute.get_strategy(), task=ClassificationTask(), batch_size=8)
    for i in range(3):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(batch["label"], model(batch["image"])))
        gradients = tape.gradient(loss, [v.value for v in model.trainable_variables])
        velocity = [0.9 * v + g.numpy() for v, g in zip(velocity, gradients, strict=True)]
        before = [w - 0.1 * v for w, v in zip(before, velocity, strict=True)]
        step.train(batch, step=i, learning_rate=0.1)
        for expected, got in zip(before, model.trainable_variables, strict=True):
            np.testing.assert_allclose(got.numpy(), expected, atol=1e-6)


def test_clipping_bounds_the_update():
    model = network()
    before = [v.numpy() for v in model.trainable_variables]
    run(model, sgd(model, clip_norm=1e-3), batch_of(8), steps=1)
    moved = [v.numpy() - b for v, b in zip(model.trainable_variables, before, strict=True)]
    norm = np.sqrt(sum(float(np.sum(m**2)) for m in moved))
    assert norm == pytest.approx(0.1 * 1e-3, rel=1e-3)


def test_weight_decay_applies_to_kernels_only():
    model = network()
    before = {v.path: v.numpy() for v in model.trainable_variables}
    optimizer = sgd(model, weight_decay=0.5)
    optimizer.learning_rate = 0.1
    optimizer.apply([tf.zeros(v.shape) for v in model.trainable_variables])
    for variable in model.trainable_variables:
        factor = 1.0 if variable.path.endswith("bias") else 1 - 0.1 * 0.5
        np.testing.assert_allclose(variable.numpy(), before[variable.path] * factor, rtol=1e-6)


@pytest.mark.parametrize("name", ["sgd", "rmsprop", "adamw", "muon"])
def test_every_optimizer_lowers_the_loss(name):
    model, batch = network(), batch_of(32)
    step = Step(model, sgd(model, name=name), tf.distribute.get_strategy(), task=ClassificationTask(), batch_size=32)
    losses = [step.train(batch, step=i, learning_rate=0.01)[0].numpy() for i in range(30)]
    assert losses[-1] < 0.9 * losses[0]


def test_float16_skips_overflowing_updates_and_halves_the_loss_scale():
    keras.mixed_precision.set_dtype_policy("mixed_float16")
    model = network()
    optimizer = sgd(model, loss_scaling=True)
    before = [v.numpy() for v in model.trainable_variables]
    scale = float(optimizer.dynamic_scale)
    batch = batch_of(8)
    batch["image"] = batch["image"] * 1e6
    run(model, optimizer, batch, steps=1)
    assert float(optimizer.dynamic_scale) == scale / 2
    for a, b in zip(before, model.trainable_variables, strict=True):
        np.testing.assert_array_equal(a, b.numpy())


def test_float16_doubles_the_loss_scale_after_a_number_of_finite_updates():
    keras.mixed_precision.set_dtype_policy("mixed_float16")
    model = network()
    optimizer = sgd(model, loss_scaling=True)
    optimizer.dynamic_growth_steps = 3
    optimizer.dynamic_scale.assign(64.0)
    good, bad = batch_of(8), batch_of(8)
    bad["image"] = bad["image"] * 1e6
    step = Step(model, optimizer, tf.distribute.get_strategy(), task=ClassificationTask(), batch_size=8)
    scales, moved = [], []
    for index, batch in enumerate((good, good, bad, good, good, good, good)):
        before = [v.numpy() for v in model.trainable_variables]
        step.train(batch, step=index, learning_rate=0.01)
        scales.append(float(optimizer.dynamic_scale))
        moved.append(any((a != b.numpy()).any() for a, b in zip(before, model.trainable_variables, strict=True)))
    assert scales == [64, 64, 32, 32, 32, 64, 64]  # an overflow starts the count again
    assert moved == [True, True, False, True, True, True, True]


def test_label_smoothing_matches_its_definition():
    logits = tf.constant([[1.0, -2.0, 0.5]])
    smoothed = np.array([0.9 + 0.1 / 3, 0.1 / 3, 0.1 / 3])
    expected = -(smoothed * tf.nn.log_softmax(logits).numpy()).sum()
    assert cross_entropy(tf.constant([[1.0, 0.0, 0.0]]), logits, 0.1).numpy()[0] == pytest.approx(expected, rel=1e-6)


def test_evaluate_ignores_padding():
    model = network()
    step = Step(model, sgd(model), tf.distribute.get_strategy(), task=ClassificationTask(), batch_size=8)
    batch = batch_of(8)
    batch["weight"] = tf.constant([1.0] * 5 + [0.0] * 3)
    first_five = {key: value[:5] for key, value in batch.items()}
    np.testing.assert_allclose(step.evaluate(batch), step.evaluate(first_five), rtol=1e-6)


def test_average_matches_its_definition_and_includes_batch_statistics():
    model, batch = network(batch_norm=True), batch_of(8)
    average = Average(model, decay=0.5)
    expected = [w.copy() for w in model.get_weights()]
    step = Step(
        model, sgd(model), tf.distribute.get_strategy(), task=ClassificationTask(), batch_size=8, average=average
    )
    for i in range(12):
        step.train(batch, step=i, learning_rate=0.1)
        decay = min(0.5, (1 + i) / (10 + i))
        expected = [decay * e + (1 - decay) * w for e, w in zip(expected, model.get_weights(), strict=True)]
    for e, a in zip(expected, average.variables, strict=True):
        np.testing.assert_allclose(a.numpy(), e, atol=1e-5)
    weights = model.get_weights()
    average.swap()
    for e, w in zip(expected, model.get_weights(), strict=True):
        np.testing.assert_allclose(w, e, atol=1e-5)
    average.swap()
    for before, after in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)


@pytest.mark.slow
def test_graphs_of_trained_networks_are_freed():
    """Otherwise a process that trains many networks runs out of memory."""

    def graphs():
        keras.backend.clear_session()
        gc.collect()
        return sum(type(alive).__name__ == "FuncGraph" for alive in gc.get_objects())

    def once():
        model = network()
        step = Step(
            model, sgd(model, weight_decay=0.1), tf.distribute.get_strategy(), task=ClassificationTask(), batch_size=4
        )
        batch = {"image": tf.zeros((4, 6, 6, 1)), "label": tf.one_hot([0, 1, 2, 0], 3), "weight": tf.ones(4)}
        step.train(batch, step=0, learning_rate=0.1)
        step.evaluate(batch)

    before = graphs()
    once()
    assert graphs() == before
