"""A network with its decoding as one function of fixed shapes, for runtimes other than TensorFlow; frozen graphs.

The caller fits images to the input: `metadata.json`, written next to the model, says how.

In frozen graphs, variables have become constants. TensorFlow and other runtimes then fold batch normalization into
convolutions, arrange weights for their kernels once, and fuse operations.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from tfeff.serving import interface
from tfeff.tasks import ImageTask
from tfeff.tasks.task import PROPOSED, PROPOSED_VALID, Batch

DECODING = "decoding"
"""Scope of the names of the operations after the network's."""


@dataclass(frozen=True)
class Loaded:
    """An exported model in its runtime.

    Attributes:
        inputs: name of each input -> its shape; None: any size.
        run: predicts from the inputs by name, and waits for the result.
        runtime: name and version of the package that runs it.
    """

    inputs: Mapping[str, tuple[int | None, ...]]
    run: Callable[[Mapping[str, np.ndarray]], object]
    runtime: str


def function(model: keras.Model, task: ImageTask, *, batch_size: int | None) -> Any:
    """The function that is converted: `images` float32 [batch_size, height, width, channels], raw pixels in
    [0, 255], and the inputs of `serving.interface`, if any, to the predictions of `ImageTask.decode`.

    Args:
        model: the network, as `ImageTask.predictor` returns it.
        task: the network's task.
        batch_size: None: any.
    """
    shape = (batch_size, *model.inputs[0].shape[1:])

    def predict(images: tf.Tensor, *given: tf.Tensor) -> dict[str, tf.Tensor]:
        further = interface.network_inputs(task, *given) if given else {}
        outputs = task.forward(model, {"image": images, **further}, training=False)
        with tf.name_scope(DECODING):
            return task.decode(outputs)

    further = interface.inputs(task, batch_size=batch_size, padded=True)
    signature = [tf.TensorSpec(shape, tf.float32, "images"), *further]
    return tf.function(predict, input_signature=signature, autograph=False)


def inputs(batch: Batch) -> dict[str, np.ndarray]:
    """The inputs of `function`, by name, for a batch of a pipeline."""
    named = {"images": batch["image"]}
    if PROPOSED in batch:
        counts = tf.math.count_nonzero(batch[PROPOSED_VALID], axis=1, dtype=tf.int32)
        named |= {"proposals": batch[PROPOSED], "counts": counts}
    return {name: value.numpy() for name, value in named.items()}


def freeze(function: Any) -> Any:
    """The concrete function of a `tf.function` with one input signature, without variables.

    Its inputs and outputs are flat, in the order of `tf.nest.flatten`.
    """
    return convert_variables_to_constants_v2(function.get_concrete_function())


def frozen(function: Any) -> Callable[..., Any]:
    """A `tf.function` with one input signature, with the same arguments and results but without variables."""
    outputs, constant = function.get_concrete_function().structured_outputs, freeze(function)
    return lambda *inputs: tf.nest.pack_sequence_as(outputs, constant(*tf.nest.flatten(inputs)))
