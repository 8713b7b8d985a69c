"""Export to ONNX: `model.onnx`, by tf2onnx. A detector takes one image at a time, other networks any number."""

import keras

from tfeff.errors import UserError
from tfeff.serving import portable
from tfeff.tasks import ImageTask

FILE = "model.onnx"
OPSET = 17


def convert(model: keras.Model, task: ImageTask) -> dict[str, bytes]:
    """`model.onnx` and its contents.

    Args:
        model: the network, as `ImageTask.predictor` returns it.
        task: of the network.

    Raises:
        UserError: tf2onnx is not installed, or cannot convert an operator of the network.
    """
    try:
        import onnx
        import tf2onnx
    except ImportError:
        raise UserError('--format=onnx requires tf2onnx: pip install "tfeff[onnx]"') from None
    function = portable.function(model, task, batch_size=1 if task.detects else None)
    try:
        converted, _ = tf2onnx.convert.from_function(function, input_signature=function.input_signature, opset=OPSET)
        onnx.checker.check_model(converted)  # tf2onnx only logs which operators it leaves as they are
    except (ValueError, RuntimeError, NotImplementedError, onnx.checker.ValidationError) as error:
        raise UserError(f"ONNX cannot express this network: {error}") from error
    return {FILE: bytes(converted.SerializeToString())}
