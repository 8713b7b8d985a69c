"""A network with its decoding as one function, for runtimes other than TensorFlow; frozen graphs.

The function fits images of any size, or the caller does: `metadata.json`, written next to the model, says how.

In frozen graphs, variables have become constants. TensorFlow and other runtimes then fold batch normalization into
convolutions, arrange weights for their kernels once, and fuse operations.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from tfeff.data.images import resizing
from tfeff.serving import interface
from tfeff.serving.fitting import Fitting
from tfeff.tasks import ImageTask
from tfeff.tasks.task import PROPOSED, PROPOSED_VALID, Batch

DECODING = "decoding"
"""Scope of the names of the operations after the network's."""


@dataclass(frozen=True)
class Loaded:
    """An exported model in its runtime.

    Attributes:
        inputs: name of each input -> its shape; None: any size.
        outputs: their names.
        run: predicts from the inputs by name: the outputs by name.
        runtime: name and version of the package that runs it.
    """

    inputs: Mapping[str, tuple[int | None, ...]]
    outputs: Collection[str]
    run: Callable[[Mapping[str, np.ndarray]], Mapping[str, np.ndarray]]
    runtime: str


def function(model: keras.Model, task: ImageTask, *, batch_size: int | None, fitting: Fitting | None = None) -> Any:
    """Returns the function that is converted, from raw pixels to the predictions of `ImageTask.decode`.

    Its inputs are `images` [batch_size, height, width, channels], raw pixels in [0, 255], and those of
    `serving.interface`, if any.

    Args:
        model: the network, as `ImageTask.predictor` returns it.
        task: the network's task.
        batch_size: None: any.
        fitting: how the function fits images, uint8 of any size, which is the same for the images of a call; boxes are
            then in pixels of the images. None: it takes images that fit, float32.
    """

    def predict(images: tf.Tensor, *given: tf.Tensor) -> dict[str, tf.Tensor]:
        sizes, covered, scale = None, None, None
        if fitting is not None:
            images, sizes, covered = _fitted(images, fitting)
            scale = tf.cast(covered, tf.float32) / tf.cast(sizes, tf.float32)
        limit = tf.constant([model.inputs[0].shape[1:3]]) if covered is None else covered
        further = interface.network_inputs(task, *given, scale=scale, covered=limit) if given else {}
        outputs = task.forward(model, {"image": images, **further}, training=False)
        with tf.name_scope(DECODING):
            predictions = task.decode(outputs)
            return predictions if fitting is None else task.placed(predictions, sizes, covered)

    spec = tf.TensorSpec((batch_size, *model.inputs[0].shape[1:]), tf.float32, "images")
    if fitting is not None:
        spec = tf.TensorSpec((batch_size, None, None, fitting.channels), tf.uint8, "images")
    further = interface.inputs(task, batch_size=batch_size, padded=True)
    return tf.function(predict, input_signature=[spec, *further], autograph=False)


def _fitted(images: tf.Tensor, fitting: Fitting) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Fits a batch, uint8 [b, height, width, channels], to the network's input.

    Also returns the sizes of the images, and what they cover of the input, int32 [b, 2] each.
    """
    batch, height, width, _ = tf.unstack(tf.shape(images))
    rows, columns, channels = fitting.fitted.shape[1:]
    with resizing.plain_operators():
        # One image with the channels of all, because they have one size.
        image = tf.reshape(tf.transpose(images, (1, 2, 0, 3)), (height, width, -1))
        fitted = tf.reshape(fitting.fit(image), (rows, columns, -1, channels))
        sizes = tf.tile([[height, width]], (batch, 1))
        return fitting.resize(tf.transpose(fitted, (2, 0, 1, 3))), sizes, fitting.covered(sizes)


def inputs(batch: Batch) -> dict[str, np.ndarray]:
    """Returns the inputs of `function`, by name, for a batch of a pipeline."""
    named = {"images": batch["image"]}
    if PROPOSED in batch:
        counts = tf.math.count_nonzero(batch[PROPOSED_VALID], axis=1, dtype=tf.int32)
        named |= {"proposals": batch[PROPOSED], "counts": counts}
    return {name: value.numpy() for name, value in named.items()}


def freeze(function: Any, *, lower_control_flow: bool = True) -> Any:
    """Returns the concrete function of a `tf.function` with one input signature, without variables.

    Its inputs and outputs are flat, in the order of `tf.nest.flatten`.

    Args:
        function: the `tf.function`.
        lower_control_flow: replace loops that are functions by operations that other runtimes know.
    """
    return convert_variables_to_constants_v2(function.get_concrete_function(), lower_control_flow=lower_control_flow)
