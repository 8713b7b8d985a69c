"""Bytes of an exported network, estimated from its cost without exporting it."""

from tfeff.errors import UserError
from tfeff.models.cost.complexity import Complexity

FLOAT_BYTES = 4
QUANTIZED_CHANNEL_BYTES = 28
"""Bytes per output channel in LiteRT's 8-bit integers: a bias (4), and twice a scale (4) and a zero point (8)."""
GRAPH_BYTES = {
    "saved_model": (104_000, 3_330),
    "litert": (500, 990),
    "onnx": (0, 1_400),
    "openvino": (0, 4_800),
}
"""Format -> bytes of the graph: a constant, and those of each call of a convolution or dense layer."""


def exported_bytes(cost: Complexity, format: str, precision: str = "float32") -> int:
    """Returns the bytes of the files of an exported network, without its metadata.

    Weights are counted, with batch normalization folded into the layer before it. The rest, the graph, is estimated.

    Largest errors on 22 networks of 1 to 18 MB, exported with TensorFlow 2.21: 20 classifiers with batch normalization
    (EfficientNet-Lite and -B0, MobileNetV2 and V3, ResNet-50) 0.1 % (LiteRT), 0.4 % (8 bits, of 7), 0.5 % (ONNX) and
    1.0 % (OpenVINO); ConvNeXt 0.1, 3.8, 0.6 and 2.3 %; YOLO 0.6, 5.3, 0.5 and 3.4 %. SavedModels, on 11 classifiers
    0.9 %, ConvNeXt 1.2 %; two YOLO, EfficientDet-D0 and -D2 2.6 %. The decoding of detectors is not counted, so their
    estimates are too small.

    Args:
        cost: the network's cost.
        format: `saved_model`, `litert`, `onnx` or `openvino`.
        precision: that of the model's computation. Weights are stored in 8 bits for `int8`, otherwise in float32.

    Raises:
        UserError: unknown format, or `int8` in another format than `litert`.
    """
    if format not in GRAPH_BYTES:
        raise UserError(f"format={format}: give one of {', '.join(GRAPH_BYTES)}")
    int8 = precision == "int8"
    if int8 and format != "litert":
        raise UserError("precision=int8 requires format=litert")
    constant, call = GRAPH_BYTES[format]
    graph = constant + call * cost.kernel_calls
    if int8:
        return graph + cost.kernel_params + QUANTIZED_CHANNEL_BYTES * (cost.folded_params - cost.kernel_params)
    # 8-bit copies are equal, so LiteRT stores them once.
    copied = {"litert": cost.copied_params, "saved_model": cost.small_copied_params}.get(format, 0)
    return graph + FLOAT_BYTES * (cost.folded_params + copied)
