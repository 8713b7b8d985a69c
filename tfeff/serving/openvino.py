"""Export to OpenVINO: `model.xml` (the graph) and `model.bin` (the float32 weights), from the frozen graph.

A detector takes one image at a time, other networks any number. Of boxes with equal scores, others may be kept than in
other formats, and in another order.
On CPUs with bfloat16 instructions, OpenVINO computes in bfloat16 unless the property `INFERENCE_PRECISION_HINT` is
`f32`. Which one an export is for is in its metadata.
"""

import functools
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tfeff.errors import UserError
from tfeff.serving import portable
from tfeff.serving.fitting import Fitting
from tfeff.tasks import ImageTask

FILE, WEIGHTS = "model.xml", "model.bin"
HINTS = {"float32": "f32", "bfloat16": "bf16"}
"""Precision -> OpenVINO's name of it."""


@functools.cache
def core() -> Any:
    """Returns the `openvino.Core` of this process, which stays open.

    Each core gives the thread that opens it a stack for signal handlers and, once it is closed, the stack before that
    (OpenVINO 2026.4). If that was the one of a core closed earlier, the next Ctrl-C is a segmentation fault.
    """
    import openvino

    return openvino.Core()


def convert(model: keras.Model, task: ImageTask, *, fitting: Fitting | None = None) -> dict[str, bytes]:
    """Returns `model.xml` and `model.bin`, and their contents; arguments as for `portable.function`.

    Raises:
        UserError: OpenVINO is not installed, cannot convert an operator of the network, or cannot run the model.
    """
    try:
        import openvino
    except ImportError:
        raise UserError('--format=openvino requires OpenVINO: pip install "tfeff[openvino]"') from None
    if fitting is not None and task.kind.detects and fitting.reading.fit == "stretch":
        # OpenVINO 2026.4 ends the process in the multiplication that brings boxes to the size of the image.
        raise UserError("OpenVINO cannot run detectors that stretch images of any size; add --nofit")
    function = portable.function(model, task, batch_size=1 if task.kind.detects else None, fitting=fitting)
    names = sorted(function.get_concrete_function().structured_outputs)  # in the order of `tf.nest.flatten`
    frozen = portable.freeze(function)
    with tempfile.TemporaryDirectory() as directory:
        graph, file = Path(directory) / "frozen.pb", Path(directory) / FILE
        graph.write_bytes(frozen.graph.as_graph_def().SerializeToString())
        try:
            converted = core().read_model(graph)
        except RuntimeError as error:
            raise UserError(f"OpenVINO cannot express this network: {error}") from error
        for operation in converted.get_ops():
            if operation.get_type_name() != "TopK":
                continue
            # Keeping the order of equal scores makes sorting hundreds of times as slow (OpenVINO 2026.4, on CPUs). The
            # single highest one, as of `tf.argmax`, stays the first of equal ones.
            if operation.get_output_partial_shape(0)[operation.get_attributes()["axis"]] != 1:
                operation.set_attribute("stable", False)
        wanted = {tensor.name: name for name, tensor in zip(names, frozen.outputs, strict=True)}
        wanted |= {tensor.name: tensor.op.name for tensor in frozen.inputs}
        for port in (*converted.inputs, *converted.outputs):
            port.tensor.set_names({wanted[name] for name in port.names & wanted.keys()})
        try:
            openvino.save_model(converted, file, compress_to_fp16=False)
        except RuntimeError as error:
            raise UserError(f"{directory}: OpenVINO cannot write there: {error}; is the disk full?") from error
        return {FILE: file.read_bytes(), WEIGHTS: file.with_name(WEIGHTS).read_bytes()}


def has_bfloat16() -> bool:
    """Returns whether OpenVINO can compute in bfloat16 on this CPU, where it otherwise computes in float32.

    With AVX-512 but without bfloat16 instructions, it can, but is no faster.
    """
    return "BF16" in core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def load(file: Path, threads: int, *, precision: str = "float32") -> portable.Loaded:
    """Returns a model in OpenVINO, on the CPU.

    Args:
        precision: that of the computation, `float32` or `bfloat16`; see `has_bfloat16`.

    Raises:
        UserError: OpenVINO is not installed.
    """
    try:
        import openvino
    except ImportError:
        raise UserError('running OpenVINO models requires OpenVINO: pip install "tfeff[openvino]"') from None
    settings = {
        "INFERENCE_PRECISION_HINT": HINTS[precision],
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
    }
    model = core().compile_model(file, "CPU", settings)
    inputs = {
        port.any_name: tuple(None if side.is_dynamic else side.get_length() for side in port.partial_shape)
        for port in model.inputs
    }

    def run(given: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {port.any_name: value for port, value in model(dict(given)).items()}

    version = openvino.__version__.partition("-")[0]  # without the build
    return portable.Loaded(inputs, [port.any_name for port in model.outputs], run, f"openvino {version}")
