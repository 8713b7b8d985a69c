"""A network with its decoding as one function of fixed shapes, for runtimes other than TensorFlow.

The caller fits images to the input: `metadata.json`, written next to the model, says how.
"""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfeff.serving import proposals
from tfeff.tasks import ImageTask
from tfeff.tasks.task import PROPOSED, PROPOSED_VALID, Batch


def function(model: keras.Model, task: ImageTask, *, batch_size: int | None) -> Any:
    """The function that is converted: `images` float32 [batch_size, height, width, channels], raw pixels in
    [0, 255], and the inputs of `serving.proposals`, if any, to the predictions of `ImageTask.decode`.

    Args:
        model: the network, as `ImageTask.predictor` returns it.
        task: of the network.
        batch_size: None: any.
    """
    shape = (batch_size, *model.inputs[0].shape[1:])

    def predict(images: tf.Tensor, *given: tf.Tensor) -> dict[str, tf.Tensor]:
        further = proposals.network_inputs(task, *given) if given else {}
        return task.decode(task.forward(model, {"image": images, **further}, training=False))

    further = proposals.inputs(task, batch_size=batch_size, padded=True)
    signature = [tf.TensorSpec(shape, tf.float32, "images"), *further]
    return tf.function(predict, input_signature=signature, autograph=False)


def inputs(batch: Batch) -> dict[str, np.ndarray]:
    """The inputs of `function`, by name, for a batch of a pipeline."""
    named = {"images": batch["image"]}
    if PROPOSED in batch:
        counts = tf.math.count_nonzero(batch[PROPOSED_VALID], axis=1, dtype=tf.int32)
        named |= {"proposals": batch[PROPOSED], "counts": counts}
    return {name: value.numpy() for name, value in named.items()}
