"""Models as own backbones: of keras.applications, KerasCV, Keras and the package."""

import keras
import keras_cv
import numpy as np

from tfeff import models

L = keras.layers


def mobilenet(size=None):
    return keras.applications.MobileNetV2(
        input_shape=(size, size, 3), alpha=0.35, include_top=False, weights=None, name="mobile"
    )


def keras_cv_mobilenet():
    return keras_cv.models.MobileNetV3Backbone(
        stackwise_expansion=[1, 72 / 16, 4],
        stackwise_filters=[8, 16, 24],
        stackwise_kernel_size=[3, 3, 5],
        stackwise_stride=[2, 2, 2],
        stackwise_se_ratio=[0.25, None, 0.25],
        stackwise_activation=["relu", "relu", "hard_swish"],
        include_rescaling=True,
    )


def keras_cv_yolo():
    return keras_cv.models.YOLOV8Backbone(
        stackwise_channels=[8, 16, 32, 64], stackwise_depth=[1, 1, 1, 1], include_rescaling=True
    )


def keras_cv_darknet():
    return keras_cv.models.CSPDarkNetBackbone(
        stackwise_channels=[8, 16, 32, 64], stackwise_depth=[1, 1, 1, 1], include_rescaling=True
    )


def sequential():
    return keras.Sequential(
        [
            keras.Input((64, 64, 3)),
            L.Rescaling(1 / 255),
            L.Conv2D(8, 3, strides=2, padding="same", activation="relu"),
            L.Dropout(0.2),
            L.Conv2D(16, 3, strides=2, padding="same", activation="relu"),
        ]
    )


def nested():
    """Returns a nested model in inference mode, a shared layer, and operators."""
    images, shared = keras.Input((None, None, 3)), L.Conv2D(8, 3, padding="same")
    stem = keras.Sequential([L.Conv2D(8, 3, strides=2, padding="same"), L.BatchNormalization()])
    x = stem(images, training=False)
    x = keras.ops.relu(x + shared(shared(x)))
    return keras.Model(images, L.MaxPooling2D()(x) * 2)


def of_the_package():
    return models.build("resnet", width=4, stage_blocks=(1, 1, 1), resolution=64, include_top=False)


def by_level():
    images = keras.Input((64, 64, 3))
    fine = L.Conv2D(4, 3, strides=4, padding="same", activation="relu")(images)
    coarse = L.Conv2D(8, 3, strides=2, padding="same", activation="relu")(fine)
    side = L.Conv2D(2, 1)(fine)
    return keras.Model(images, {"P2": side, "P3": coarse})


def made(make, seed=0):
    keras.utils.set_random_seed(seed)
    model = make()
    for weight in model.weights:  # biases and statistics, too
        weight.assign(weight + np.random.default_rng(1).uniform(0, 0.1, weight.shape))
    return model
