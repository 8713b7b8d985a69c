"""Export to LiteRT (formerly TensorFlow Lite): `model.tflite`, for one image at a time, with built-in operators only.

Current LiteRT runtimes no longer run TensorFlow's operators, so a network that needs one is refused.
"""

from collections.abc import Callable, Iterable

import keras
import numpy as np
import tensorflow as tf

from tfeff.errors import UserError
from tfeff.serving import portable
from tfeff.tasks import ImageTask

FILE = "model.tflite"


def convert(
    model: keras.Model, task: ImageTask, examples: Callable[[], Iterable[dict[str, np.ndarray]]] | None = None
) -> dict[str, bytes]:
    """`model.tflite` and its contents.

    Args:
        model: as for `portable.function`.
        task: as for `portable.function`.
        examples: the inputs of `portable.function` for single images. With them, weights and activations become 8-bit
            integers wherever an operator allows it; input and output stay float32.

    Raises:
        UserError: the network needs an operator that LiteRT lacks.
    """
    module = tf.Module()
    module.network = [variable.value for variable in model.variables]  # what the converter's copy of the graph restores
    module.predict = portable.function(model, task, batch_size=1)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([module.predict.get_concrete_function()], module)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    if examples is not None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_ops.append(tf.lite.OpsSet.TFLITE_BUILTINS_INT8)
        converter.representative_dataset = examples
    try:
        return {FILE: bytes(converter.convert())}
    except Exception as error:  # the converter's type of error is not public
        needed = [line.strip() for line in str(error).splitlines() if "tf." in line]
        raise UserError(f"LiteRT cannot run this network: {'; '.join(needed[:3]) or error}") from error
