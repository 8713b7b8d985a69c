"""Small backbones of KerasHub and KerasCV with random weights, saved as presets in folders."""

from pathlib import Path
from typing import Any

import keras
import keras_cv
import numpy as np
from keras_cv.src.utils.preset_utils import save_to_preset

SCALE, OFFSET = (0.02, 0.018, 0.019), (-2.1, -2.0, -1.9)
"""Scales and offsets of the image converters of KerasHub's presets."""
_RESNET: dict[str, Any] = {
    "input_conv_filters": [64],
    "input_conv_kernel_sizes": [7],
    "stackwise_num_filters": [64, 16, 24, 32],
    "stackwise_num_blocks": [1, 1, 1, 1],
    "stackwise_num_strides": [1, 2, 2, 2],
}
_EFFICIENTNET_V2: dict[str, Any] = {
    "stackwise_kernel_sizes": [3] * 6,
    "stackwise_num_repeats": [1] * 6,
    "stackwise_input_filters": [8, 8, 8, 16, 16, 24],
    "stackwise_output_filters": [8, 8, 16, 16, 24, 24],
    "stackwise_expansion_ratios": [1, 4, 4, 4, 6, 6],
    "stackwise_squeeze_and_excite_ratios": [0, 0, 0, 0.25, 0.25, 0.25],
    "stackwise_strides": [1, 2, 2, 2, 1, 2],
    "width_coefficient": 1.0,
    "depth_coefficient": 1.0,
}
_STAGES: dict[str, Any] = {"stackwise_channels": [8, 16, 24, 32], "stackwise_depth": [1, 1, 1, 1]}
# Package and class, arguments, levels with their channels.
CASES: dict[str, tuple[str, str, dict[str, Any], dict[str, int]]] = {
    "hub-resnet": (
        "keras_hub",
        "ResNetBackbone",
        {**_RESNET, "block_type": "basic_block"},
        {"P2": 64, "P3": 16, "P4": 24, "P5": 32},
    ),
    "hub-resnet_v2": (
        "keras_hub",
        "ResNetBackbone",
        {**_RESNET, "block_type": "bottleneck_block", "use_pre_activation": True},
        {"P2": 256, "P3": 64, "P4": 96, "P5": 128},
    ),
    "hub-densenet": (
        "keras_hub",
        "DenseNetBackbone",
        {"stackwise_num_repeats": [1, 1, 1, 1], "growth_rate": 8},
        {"P2": 72, "P3": 44, "P4": 30, "P5": 23},
    ),
    "hub-efficientnet_v2": (
        "keras_hub",
        "EfficientNetBackbone",
        {
            **_EFFICIENTNET_V2,
            "stackwise_block_types": ["fused"] * 3 + ["unfused"] * 3,
            "stackwise_force_input_filters": [0] * 6,
            "stackwise_nores_option": [False] * 6,
        },
        {"P1": 8, "P2": 8, "P3": 16, "P4": 24, "P5": 1280},
    ),
    "hub-mobilenet_v3": (
        "keras_hub",
        "MobileNetBackbone",
        {
            "stackwise_expansion": [[40, 56], [64, 72], [72, 72], [80, 80]],
            "stackwise_num_blocks": [2, 2, 2, 2],
            "stackwise_num_filters": [[16, 16], [24, 24], [24, 24], [32, 32]],
            "stackwise_kernel_size": [[3, 3], [5, 5], [5, 5], [5, 5]],
            "stackwise_num_strides": [[2, 1], [2, 1], [1, 1], [2, 1]],
            "stackwise_se_ratio": [[None, None], [0.25, 0.25], [0.3, 0.3], [0.3, 0.25]],
            "stackwise_activation": [["relu", "relu"], *[["hard_swish", "hard_swish"]] * 3],
            "stackwise_padding": [[1, 1], [2, 2], [2, 2], [2, 2]],
            "output_num_filters": 64,
            "input_activation": "hard_swish",
            "output_activation": "hard_swish",
            "input_num_filters": 16,
            "depthwise_filters": 8,
            "depthwise_stride": 2,
            "depthwise_residual": False,
            "squeeze_and_excite": 0.5,
            "last_layer_filter": 64,
        },
        {"P1": 16, "P2": 8, "P3": 16, "P4": 24, "P5": 64},
    ),
    "hub-vgg": (
        "keras_hub",
        "VGGBackbone",
        {"stackwise_num_repeats": [1] * 5, "stackwise_num_filters": [8, 8, 16, 16, 16]},
        {"P1": 8, "P2": 16, "P3": 16, "P4": 16, "P5": 16},
    ),
    "cv-resnet": (
        "keras_cv",
        "ResNetBackbone",
        {
            "stackwise_filters": [64, 16, 24, 32],
            "stackwise_blocks": [1] * 4,
            "stackwise_strides": [1, 2, 2, 2],
            "block_type": "basic_block",
            "include_rescaling": True,
        },
        {"P2": 64, "P3": 16, "P4": 24, "P5": 32},
    ),
    "cv-resnet_v2": (
        "keras_cv",
        "ResNetV2Backbone",
        {
            "stackwise_filters": [8, 16, 24, 32],
            "stackwise_blocks": [2] * 4,
            "stackwise_strides": [1, 2, 2, 2],
            "include_rescaling": True,
        },
        {"P2": 32, "P3": 64, "P4": 96, "P5": 128},
    ),
    "cv-csp_darknet": (
        "keras_cv",
        "CSPDarkNetBackbone",
        {**_STAGES, "include_rescaling": True},
        {"P2": 8, "P3": 16, "P4": 24, "P5": 32},
    ),
    "cv-efficientnet_v2": (
        "keras_cv",
        "EfficientNetV2Backbone",
        {
            **_EFFICIENTNET_V2,
            "stackwise_conv_types": ["fused"] * 3 + ["unfused"] * 3,
            "skip_connection_dropout": 0.2,
            "include_rescaling": True,
        },
        {"P1": 8, "P2": 8, "P3": 16, "P4": 24, "P5": 1280},
    ),
    "cv-mobilenet_v3": (  # without rescaling: it takes pixels in [0, 1]
        "keras_cv",
        "MobileNetV3Backbone",
        {
            "stackwise_expansion": [1, 4.5, 4, 6],
            "stackwise_filters": [8, 16, 24, 32],
            "stackwise_kernel_size": [3, 3, 5, 5],
            "stackwise_stride": [2, 2, 2, 2],
            "stackwise_se_ratio": [0.25, None, 0.25, 0.25],
            "stackwise_activation": ["relu", "relu", "hard_swish", "hard_swish"],
            "include_rescaling": False,
        },
        {"P1": 16, "P2": 8, "P3": 16, "P4": 24, "P5": 32},
    ),
    "cv-yolo_v8": (
        "keras_cv",
        "YOLOV8Backbone",
        {**_STAGES, "include_rescaling": True},
        {"P2": 8, "P3": 16, "P4": 24, "P5": 32},
    ),
}


def saved(case: str, folder: Path) -> tuple[str, keras.Model]:
    """Returns a backbone, saved as a preset in a folder: its name in configs, and the backbone."""
    package, class_name, arguments, _ = CASES[case]
    keras.utils.set_random_seed(0)
    if package == "keras_cv":
        model = getattr(keras_cv.models, class_name)(**arguments)
    else:
        import keras_hub

        model = getattr(keras_hub.models, class_name)(**arguments)
    rng = np.random.default_rng(1)
    for weight in model.weights:  # biases and statistics, too
        if weight.dtype == "float32":
            weight.assign(weight + rng.uniform(-0.05 if len(weight.shape) > 1 else 0, 0.05, weight.shape))
    if package == "keras_cv":
        save_to_preset(model, str(folder))
        return f"keras_cv:{folder}", model
    model.save_to_preset(str(folder))
    converters = [
        each for each in vars(keras_hub.layers).values() if getattr(each, "backbone_cls", None) is type(model)
    ]
    (converter,) = {each for each in converters if issubclass(each, keras_hub.layers.ImageConverter)}
    converter(image_size=(64, 64), scale=SCALE, offset=OFFSET).save_to_preset(str(folder))
    return f"keras_hub:{folder}", model


def preprocessed(case: str, pixels: np.ndarray) -> np.ndarray:
    """Returns what the backbone itself takes for raw pixels."""
    if case.startswith("hub"):
        return (pixels * np.array(SCALE) + np.array(OFFSET)).astype("float32")
    return pixels if CASES[case][2]["include_rescaling"] else pixels / 255
