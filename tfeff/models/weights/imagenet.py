"""ImageNet weights published with keras.applications."""

import keras

from tfeff.errors import UserError
from tfeff.models.network import Network
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


def load_imagenet(model: Network, name: str) -> LoadReport:
    """Load published ImageNet weights. Keras downloads them and caches them in ~/.keras/models.

    Args:
        model: the network.
        name: its name in `tfeff.models.build`.

    Raises:
        UserError: there are no published weights for the network, or the download fails.
    """
    if name not in PUBLISHED:
        raise UserError(f"{name} has no published weights; these networks have: {', '.join(PUBLISHED)}")
    try:
        application = getattr(keras.applications, PUBLISHED[name])(weights="imagenet")
    except Exception as error:  # keras.utils.get_file raises plain Exception when a download fails
        raise UserError(
            f"cannot download the published weights of {name} ({error}). Run once with an internet connection to fill "
            "the cache (~/.keras/models), or pass the path of a file"
        ) from error
    return from_applications(model, application)
