"""Export to ONNX: `model.onnx`, by tf2onnx. A detector takes one image at a time, other networks any number."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tfeff.errors import UserError
from tfeff.serving import portable
from tfeff.serving.fitting import Fitting
from tfeff.tasks import ImageTask

FILE = "model.onnx"
OPSET = 17


def convert(model: keras.Model, task: ImageTask, *, fitting: Fitting | None = None) -> dict[str, bytes]:
    """Returns `model.onnx` and its contents; arguments as for `portable.function`.

    Raises:
        UserError: tf2onnx is not installed, or cannot convert an operator of the network.
    """
    try:
        import onnx
        import tf2onnx
    except ImportError:
        raise UserError('--format=onnx requires tf2onnx: pip install "tfeff[onnx]"') from None
    function = portable.function(model, task, batch_size=1 if task.kind.detects else None, fitting=fitting)
    try:
        converted, _ = tf2onnx.convert.from_function(
            function,
            input_signature=function.input_signature,
            opset=OPSET,
            custom_op_handlers={"Erfc": (_complementary_error_function, [])},
        )
        for node in converted.graph.node:
            _modernize(node)
        onnx.checker.check_model(converted)  # tf2onnx only logs which operators it leaves as they are
    except (ValueError, RuntimeError, NotImplementedError, onnx.checker.ValidationError) as error:
        raise UserError(f"ONNX cannot express this network: {error}") from error
    return {FILE: bytes(converted.SerializeToString())}


def _modernize(node: Any) -> None:
    """Replaces a coordinate mode of nearest-neighbor resizing that is deprecated, with a warning, by an equal one.

    tf2onnx takes the pixel floor((x + 0.5) / scale): that is (x + 0.5) / scale - 0.5, rounded.
    """
    attributes = {attribute.name: attribute for attribute in node.attribute}
    mode = attributes.get("coordinate_transformation_mode")
    if node.op_type == "Resize" and mode is not None and mode.s == b"tf_half_pixel_for_nn":
        mode.s, attributes["nearest_mode"].s = b"half_pixel", b"round_prefer_ceil"


def load(file: Path, threads: int) -> portable.Loaded:
    """Returns a model in ONNX Runtime, on the CPU.

    Raises:
        UserError: ONNX Runtime is not installed.
    """
    try:
        import onnxruntime
    except ImportError:
        raise UserError('running ONNX models requires ONNX Runtime: pip install "tfeff[onnx]"') from None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.force_spinning_stop", "1")  # waiting threads would slow other models
    session = onnxruntime.InferenceSession(os.fspath(file), options, ["CPUExecutionProvider"])
    inputs = {
        each.name: tuple(side if isinstance(side, int) else None for side in each.shape)
        for each in session.get_inputs()
    }
    outputs = [each.name for each in session.get_outputs()]

    def run(given: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return dict(zip(outputs, session.run(outputs, given), strict=True))

    return portable.Loaded(inputs, outputs, run, f"onnxruntime {onnxruntime.__version__}")


def _complementary_error_function(graph: Any, node: Any, name: str, _: list[str]) -> None:
    """Replaces TensorFlow's Erfc, which computes GELU and which ONNX lacks, by 1 - Erf."""
    shape, dtype = graph.get_shape(node.output[0]), graph.get_dtype(node.output[0])
    one = graph.make_const(f"{name}_one", np.ones((), np.float32))
    erf = graph.make_node("Erf", node.input, shapes=[shape], dtypes=[dtype])
    outputs = list(node.output)
    graph.remove_node(name)
    graph.make_node("Sub", [one.output[0], erf.output[0]], name=name, outputs=outputs, shapes=[shape], dtypes=[dtype])
