"""Trains and tests the networks of `compare_inheritance`: with JAX several seeds at once, with TensorFlow one by one.

Fine-tuning and training from scratch: AdamW with linear warm-up and cosine decay, batches of 32, cross-entropy, without
dropout and stochastic depth.
"""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import keras
import numpy as np
from inheritance_data import (
    BATCH,
    CHUNK,
    Images,
    described,
    draw,
    hold_out,
    probe,
    rates,
    uninitialized,
    views,
    whole,
    with_heads,
)
from inheritance_jobs import DATA, Job, scaled
from keras import ops

from tfeff import models
from tfeff.networks.heads import CLASSIFIER

DECAY = 0.02
_BETAS = (0.9, 0.999)
RATES = {"pretrained": (3e-4, 1e-3, 3e-3), "random": (1e-3, 3e-3, 1e-2)}
TUNING_SEEDS = (0, 1)
_MACS_AT_ONCE = 1.1e9
"""Multiply-adds per image, over all seeds that are trained at once; more need too much memory and are no faster."""
_MOMENTS_CHUNKS = 10
"""Parts of `CHUNK` training images for batch statistics, at most."""


class Engine:
    """A network whose weights are arguments; subclasses compile. All arrays have a first axis, the seeds.

    Args:
        network: classifier.
        images: training and test images.
        frozen: batch normalization uses its moving statistics, unchanged, in training.
    """

    def __init__(self, network: Any, images: Images, *, frozen: bool) -> None:
        self.network, self.images, self.frozen = network, images, frozen
        self.model = keras.Model(network.inputs, [network.get_layer(CLASSIFIER).input, network.outputs[0]])
        self.resolution = network.resolution
        place = {id(each): number for number, each in enumerate(network.weights)}
        self.trainable = [place[id(each)] for each in self.model.trainable_variables]
        self.others = [place[id(each)] for each in self.model.non_trainable_variables]
        assert len(self.trainable) + len(self.others) == len(network.weights)
        self.decay = [DECAY if len(each.shape) > 1 else 0.0 for each in self.model.trainable_variables]

    def fit(self, weights: list[np.ndarray], epochs: Iterator[tuple[np.ndarray, ...]]) -> tuple[list[np.ndarray], Any]:
        """Trains the network from several initial weights at once.

        Args:
            weights: initial weights, (seeds, ...), in the order of `network.weights`.
            epochs: for each epoch: rates (seeds, steps), order (seeds, steps, batch), boxes (seeds, steps, batch, 4).

        Returns:
            The weights, and the mean loss of each epoch, (epochs, seeds).
        """
        raise NotImplementedError

    def predict(self, weights: list[np.ndarray], images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns features (seeds, n, channels) and logits (seeds, n, classes)."""
        raise NotImplementedError

    def forward(self, weights: list[np.ndarray], images: np.ndarray) -> list[np.ndarray]:
        """Returns the other weights after a training step's pass over the images, (seeds, ...)."""
        raise NotImplementedError

    def recomputed(self, weights: list[np.ndarray], momentum: float) -> list[np.ndarray]:
        """Returns the weights, with moving statistics over training images.

        These are the mean of the statistics of large batches.
        """
        moving = [number for number in self.others if "moving_" in self.network.weights[number].path]
        zeroed = [np.zeros_like(each) if number in moving else each for number, each in enumerate(weights)]
        chunks = max(1, min(len(self.images.train) // CHUNK, _MOMENTS_CHUNKS))
        chosen = np.random.default_rng(0).permutation(len(self.images.train))
        chosen = np.resize(chosen, (chunks, CHUNK))
        parts = [self.forward(zeroed, self.images.train[part]) for part in chosen]
        found = list(weights)
        for place, number in enumerate(self.others):
            if number not in moving:
                continue
            values = np.stack([part[place] for part in parts]) / (1 - momentum)
            found[number] = values.mean(axis=0)
            if self.network.weights[number].path.endswith("moving_variance"):
                name = self.network.weights[number].path.replace("moving_variance", "moving_mean")
                mean = next(each for each in self.others if self.network.weights[each].path == name)
                means = np.stack([part[self.others.index(mean)] for part in parts]) / (1 - momentum)
                found[number] = found[number] + means.var(axis=0)
        return found

    def _batch(self, images: Any, boxes: Any) -> Any:
        return views(images, boxes, self.resolution)


def adamw(values: list, gradients: list, first: list, second: list, step: Any, rate: Any, decay: list[float]) -> tuple:
    """Updates all variables once (Loshchilov and Hutter, arXiv:1711.05101); returns the values and both moments."""
    one, two = _BETAS
    first = [one * m + (1 - one) * g for m, g in zip(first, gradients, strict=True)]
    second = [two * v + (1 - two) * g * g for v, g in zip(second, gradients, strict=True)]
    correction = ops.sqrt(1 - two**step) / (1 - one**step)
    values = [
        value - rate * (correction * m / (ops.sqrt(v) + 1e-8) + share * value)
        for value, m, v, share in zip(values, first, second, decay, strict=True)
    ]
    return values, first, second


def cross_entropy(labels: Any, logits: Any) -> Any:
    """Returns the mean over the batch."""
    return ops.mean(ops.sparse_categorical_crossentropy(labels, logits, from_logits=True))


class JaxEngine(Engine):
    """All seeds at once, an epoch per call."""

    def __init__(self, network: Any, images: Images, *, frozen: bool) -> None:
        import jax

        super().__init__(network, images, frozen=frozen)
        _pointwise_as_products()
        self._epoch = jax.jit(
            jax.vmap(self._one_epoch, in_axes=(0, 0, 0, 0, None, 0, 0, 0, None, None)), donate_argnums=(0, 1, 2, 3)
        )
        self._predict = jax.jit(jax.vmap(self._one_prediction, in_axes=(0, 0, None)))
        self._forward = jax.jit(jax.vmap(self._one_forward, in_axes=(0, 0, None)))
        self._train, self._labels = jax.device_put((images.train, images.train_labels))

    def _one_epoch(
        self,
        values: list,
        others: list,
        first: list,
        second: list,
        start: Any,
        rate: Any,
        order: Any,
        boxes: Any,
        images: Any,
        labels: Any,
    ) -> Any:
        import jax

        def loss_of(values: list, others: list, x: Any, y: Any) -> Any:
            (_, logits), others = self.model.stateless_call(values, others, x, training=not self.frozen)
            return cross_entropy(y, logits), others

        def step(state: Any, item: Any) -> Any:
            values, others, first, second, now = state
            rate, index, box = item
            x = self._batch(images[index], box)
            (loss, others), gradients = jax.value_and_grad(loss_of, has_aux=True)(values, others, x, labels[index])
            values, first, second = adamw(values, gradients, first, second, now + 1.0, rate, self.decay)
            return (values, others, first, second, now + 1.0), loss

        state, losses = jax.lax.scan(step, (values, others, first, second, start), (rate, order, boxes))
        return (*state[:4], losses.mean())

    def _one_prediction(self, values: list, others: list, images: Any) -> Any:
        x = self._batch(images, whole(CHUNK))
        return self.model.stateless_call(values, others, x, training=False)[0]

    def _one_forward(self, values: list, others: list, images: Any) -> Any:
        x = self._batch(images, whole(CHUNK))
        return self.model.stateless_call(values, others, x, training=True)[1]

    def _split(self, weights: list[np.ndarray]) -> tuple[list[Any], list[Any]]:
        import jax

        return jax.device_put(([weights[each] for each in self.trainable], [weights[each] for each in self.others]))

    def fit(self, weights: list[np.ndarray], epochs: Iterator[tuple[np.ndarray, ...]]) -> tuple[list[np.ndarray], Any]:
        """See `Engine`."""
        import jax

        values, others = self._split(weights)
        first, second = jax.device_put([[np.zeros(each.shape, np.float32) for each in values] for _ in range(2)])
        losses, done = [], 0
        for rate, order, boxes in epochs:
            values, others, first, second, loss = self._epoch(
                values, others, first, second, np.float32(done), rate, order, boxes, self._train, self._labels
            )
            done += order.shape[1]
            losses.append(loss)
        found = list(weights)
        for number, value in zip((*self.trainable, *self.others), (*values, *others), strict=True):
            found[number] = np.asarray(value)
        return found, np.asarray(losses)

    def predict(self, weights: list[np.ndarray], images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `Engine`."""
        values, others = self._split(weights)
        starts = range(0, len(images), CHUNK)
        padded = np.concatenate([images, images[:1].repeat(-len(images) % CHUNK, axis=0)])
        parts = [self._predict(values, others, padded[start : start + CHUNK]) for start in starts]
        features, logits = (
            np.concatenate([np.asarray(each) for each in part], axis=1) for part in zip(*parts, strict=True)
        )
        return features[:, : len(images)], logits[:, : len(images)]

    def forward(self, weights: list[np.ndarray], images: np.ndarray) -> list[np.ndarray]:
        """See `Engine`."""
        return [np.asarray(each) for each in self._forward(*self._split(weights), images)]


def _pointwise_as_products() -> None:
    """Makes 1x1 convolutions matrix products, which stay fast when seeds are trained at once; others stay."""
    if hasattr(keras.layers.Conv2D, "plain_convolution"):
        return
    plain = keras.layers.Conv2D.convolution_op

    def convolution_op(layer: Any, inputs: Any, kernel: Any) -> Any:
        if tuple(layer.kernel_size) == tuple(layer.strides) == (1, 1) and layer.groups == 1:
            return ops.matmul(inputs, kernel[0, 0])
        return plain(layer, inputs, kernel)

    keras.layers.Conv2D.plain_convolution = plain
    keras.layers.Conv2D.convolution_op = convolution_op


def on_cpu() -> AbstractContextManager[Any]:
    """Makes JAX run operations outside of compiled functions on the CPU, where they compile sooner."""
    if keras.backend.backend() != "jax":
        return nullcontext()
    import jax

    return jax.default_device(jax.devices("cpu")[0])


class TensorFlowEngine(Engine):
    """One seed after another."""

    def __init__(self, network: Any, images: Images, *, frozen: bool) -> None:
        import tensorflow as tf

        super().__init__(network, images, frozen=frozen)
        self._moments = [
            [tf.Variable(tf.zeros(each.shape)) for each in self.model.trainable_variables] for _ in range(2)
        ]
        self._step = tf.function(self._one_step)
        self._call = tf.function(lambda x, training: self.model(x, training=training))

    def _one_step(self, images: Any, labels: Any, boxes: Any, now: Any, rate: Any) -> Any:
        import tensorflow as tf

        variables = [each.value for each in self.model.trainable_variables]
        with tf.GradientTape() as tape:
            _, logits = self.model(self._batch(images, boxes), training=not self.frozen)
            loss = cross_entropy(labels, logits)
        first, second = self._moments
        found = adamw(variables, tape.gradient(loss, variables), first, second, now, rate, self.decay)
        for old, new in zip((variables, first, second), found, strict=True):
            for variable, value in zip(old, new, strict=True):
                variable.assign(value)
        return loss

    def _set(self, weights: list[np.ndarray], seed: int) -> None:
        for weight, value in zip(self.network.weights, weights, strict=True):
            weight.assign(value[seed])

    def fit(self, weights: list[np.ndarray], epochs: Iterator[tuple[np.ndarray, ...]]) -> tuple[list[np.ndarray], Any]:
        """See `Engine`."""
        found, losses, every = [], [], list(epochs)
        for seed in range(len(weights[0])):
            self._set(weights, seed)
            for variable in (*self._moments[0], *self._moments[1]):
                variable.assign(0.0 * variable)
            now, mean = 0.0, []
            for rate, order, boxes in every:
                parts = []
                for each in range(order.shape[1]):
                    now += 1.0
                    index = order[seed, each]
                    images, labels = self.images.train[index], self.images.train_labels[index]
                    step = [ops.convert_to_tensor(value) for value in (np.float32(now), rate[seed, each])]
                    parts.append(float(self._step(images, labels, boxes[seed, each], *step)))
                mean.append(np.mean(parts))
            losses.append(mean)
            found.append([ops.convert_to_numpy(weight) for weight in self.network.weights])
        return [np.stack(each) for each in zip(*found, strict=True)], np.asarray(losses).T

    def predict(self, weights: list[np.ndarray], images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `Engine`."""
        found = []
        for seed in range(len(weights[0])):
            self._set(weights, seed)
            parts = [
                [ops.convert_to_numpy(each) for each in self._call(self._batch(part, whole(len(part))), False)]
                for part in (images[start : start + CHUNK] for start in range(0, len(images), CHUNK))
            ]
            found.append([np.concatenate(each) for each in zip(*parts, strict=True)])
        features, logits = (np.stack(each) for each in zip(*found, strict=True))
        return features, logits

    def forward(self, weights: list[np.ndarray], images: np.ndarray) -> list[np.ndarray]:
        """See `Engine`."""
        found = []
        for seed in range(len(weights[0])):
            self._set(weights, seed)
            self._call(self._batch(images, whole(len(images))), True)
            found.append([ops.convert_to_numpy(each) for each in self.model.non_trainable_variables])
        return [np.stack(each) for each in zip(*found, strict=True)]


def train(
    job: Job,
    images: Images,
    initial: list[np.ndarray],
    *,
    seeds: int,
    schedule: tuple[float, int],
    resolution: int | None = None,
) -> dict[str, Any]:
    """Trains all seeds of a job, and tests them.

    Args:
        images: the images of its data set.
        initial: weights of `inheritance_data.initial_weights`.
        seeds: number of seeds.
        schedule: peak of the learning rate, and epochs; the rate is not used by a job that tunes it.
        resolution: see `inheritance_data.described`.

    Returns:
        Accuracies by seed, what was correct as bits in hexadecimal, and times. Of tuning, a lane is (rate, seed).
    """
    began, data = time.monotonic(), DATA[job.data]
    if job.held_out:
        images = hold_out(images)
    lanes = [(schedule[0], seed) for seed in range(seeds)]
    if job.held_out:
        lanes = [(rate, seed) for rate in RATES[job.kind] for seed in TUNING_SEEDS[:seeds]]
    keras.utils.clear_session()
    with uninitialized(), on_cpu():
        network = models.build(described(job, resolution), num_classes=data.classes)
    engines = {"jax": JaxEngine, "tensorflow": TensorFlowEngine}
    engine = engines[keras.backend.backend()](network, images, frozen="frozen" in job.variant)
    momentum = 0.9 if job.variant == "momentum0.9" else models.architecture("efficientnet-lite0").bn_momentum
    macs = models.estimate(described(job, resolution), num_classes=data.classes).macs
    at_once = len(lanes) if macs * len(lanes) <= _MACS_AT_ONCE else 1
    steps = max(1, len(images.train) // BATCH)
    found: dict[str, Any] = {"accuracy": [], "correct": [], "loss": []}
    clock: dict[str, float] = {}

    def epochs(part: list[tuple[float, int]]) -> Iterator[tuple[np.ndarray, ...]]:
        planned = np.stack([rates(rate, steps * schedule[1]) for rate, _ in part])
        for epoch in range(schedule[1]):
            clock.setdefault("first", time.monotonic())
            drawn = [draw(data, len(images.train), seed, epoch) for _, seed in part]
            order, boxes = (np.stack(each) for each in zip(*drawn, strict=True))
            yield planned[:, epoch * steps : (epoch + 1) * steps], order, boxes

    for start in range(0, len(lanes), at_once):
        part = lanes[start : start + at_once]
        weights = with_heads(network, initial, job, [seed for _, seed in part])
        if "recomputed" in job.variant:
            weights = engine.recomputed(weights, momentum)
        if start == 0 and job.kind == "pretrained" and not job.held_out and job.variant in ("", "recomputed"):
            x, test = (engine.predict(weights, each)[0][0] for each in (images.train, images.test))
            found["probe"] = probe(x, images.train_labels, test, images.test_labels)
        before = time.monotonic()
        weights, losses = engine.fit(weights, epochs(part))
        found["seconds_training"] = round(time.monotonic() - before + found.get("seconds_training", 0.0), 2)
        found["loss"] += [[round(float(each), 4) for each in lane] for lane in losses.T]
        right = np.argmax(engine.predict(weights, images.test)[1], axis=-1) == images.test_labels
        found["accuracy"] += right.mean(axis=1).tolist()
        found["correct"] += [np.packbits(each).tobytes().hex() for each in right]
        if job.network in ("lite0", "lite0-0.25-compound") and job.start == "inherited" and not job.held_out:
            after = engine.predict(engine.recomputed(weights, momentum), images.test)[1]
            right = np.argmax(after, axis=-1) == images.test_labels
            found["accuracy_recomputed_after"] = [
                *found.get("accuracy_recomputed_after", []),
                *right.mean(axis=1).tolist(),
            ]
    if job.held_out:
        del found["correct"]
    wanted = scaled(job.data, job.network)
    assert wanted is not None
    return found | {
        "lanes": lanes,
        "epochs": schedule[1],
        "at_once": at_once,
        "macs": macs,
        "ratio": wanted.ratio,
        "options": wanted.options,
        "tested": len(images.test),
        "seconds": round(time.monotonic() - began, 2),
    }
