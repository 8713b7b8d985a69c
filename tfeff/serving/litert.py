"""Export to LiteRT (formerly TensorFlow Lite): `model.tflite`, for one image at a time, with built-in operators only.

Current LiteRT runtimes no longer run TensorFlow's operators, so a network that needs one is refused.
"""

import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow.lite.python.convert import mlir_quantize  # the public converter cannot leave operators in float32

from tfeff.errors import UserError
from tfeff.execution.startup import captured
from tfeff.serving import portable
from tfeff.serving.fitting import Fitting
from tfeff.tasks import ImageTask

FILE = "model.tflite"


def convert(
    model: keras.Model,
    task: ImageTask,
    examples: Callable[[], Iterable[dict[str, np.ndarray]]] | None = None,
    *,
    fitting: Fitting | None = None,
) -> dict[str, bytes]:
    """Returns `model.tflite` and its contents.

    Args:
        model: as for `portable.function`.
        task, fitting: as for `portable.function`.
        examples: the inputs of `portable.function` for single images. With them, weights and activations become 8-bit
            integers wherever an operator allows it; input, decoding and output stay float32.

    Raises:
        UserError: the network needs an operator that LiteRT lacks.
    """
    module = tf.Module()
    module.network = [variable.value for variable in model.variables]  # what the converter's copy of the graph restores
    module.predict = portable.function(model, task, batch_size=1, fitting=fitting)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([module.predict.get_concrete_function()], module)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    if examples is not None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_ops.append(tf.lite.OpsSet.TFLITE_BUILTINS_INT8)
        converter.representative_dataset = examples
        converter._experimental_calibrate_only = True
    try:
        converted = bytes(converter.convert())
        return {FILE: converted if examples is None else _quantized(converted)}
    except (UserError, OSError):  # of the images
        raise
    except Exception as error:  # the converter's type of error is not public
        needed = [line.strip() for line in str(error).splitlines() if "tf." in line]
        raise UserError(f"LiteRT cannot run this network: {'; '.join(needed[:3]) or error}") from error


def _quantized(calibrated: bytes) -> bytes:
    """Returns a calibrated model in 8-bit integers up to its decoding.

    In 8-bit integers, all coordinates of boxes would have one scale, and be off by several pixels.
    """
    interpreter = _interpreter(model_content=calibrated)
    names = [tensor["name"] for tensor in interpreter.get_tensor_details()]
    decoding = {name for name in names if portable.DECODING in name or name.startswith("StatefulPartitionedCall")}
    return bytes(
        mlir_quantize(calibrated, denylisted_nodes=decoding, input_data_type=tf.float32, output_data_type=tf.float32)
    )


def load(file: Path, threads: int) -> portable.Loaded:
    """Returns a model in LiteRT's interpreter, that of TensorFlow."""
    interpreter = _interpreter(model_content=file.read_bytes(), num_threads=threads)  # which checks it
    with captured():  # the first allocation logs which kernels it uses
        interpreter.allocate_tensors()
    run = interpreter.get_signature_runner()
    inputs = {
        name: tuple(None if side < 0 else int(side) for side in each["shape_signature"])
        for name, each in run.get_input_details().items()
    }
    return portable.Loaded(
        inputs, list(run.get_output_details()), lambda given: run(**given), f"LiteRT of tensorflow {tf.__version__}"
    )


def _interpreter(**arguments: Any) -> Any:
    """Returns TensorFlow's interpreter, without its warning that a later version lacks it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return tf.lite.Interpreter(**arguments)
