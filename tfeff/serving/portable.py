"""A network with its decoding as one function of fixed shapes, for runtimes other than TensorFlow.

The caller fits images to the input: `metadata.json`, written next to the model, says how.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from tfeff.tasks import ImageTask


def function(model: keras.Model, task: ImageTask, *, batch_size: int | None) -> Any:
    """The function that is converted: `images` float32 [batch_size, height, width, channels], raw pixels in
    [0, 255], to the predictions of `ImageTask.decode`.

    Args:
        model: the network, as `ImageTask.predictor` returns it.
        task: of the network.
        batch_size: None: any.
    """
    shape = (batch_size, *model.inputs[0].shape[1:])

    def predict(images: tf.Tensor) -> dict[str, tf.Tensor]:
        return task.decode(task.forward(model, {"image": images}, training=False))

    return tf.function(predict, input_signature=[tf.TensorSpec(shape, tf.float32, "images")], autograph=False)


def metadata(model: keras.Model, task: ImageTask, class_names: Sequence[str], score: float | None) -> str:
    """What a caller needs to know, as JSON text: how to fit images, the classes, and the detection threshold."""
    record: Mapping[str, Any] = {
        "input": list(model.inputs[0].shape[1:]),
        "fit": task.fit,
        "class_names": list(class_names),
        **({} if score is None else {"score": score, "boxes": "yxyx, in pixels of the input"}),
    }
    return json.dumps(record, indent=2) + "\n"
