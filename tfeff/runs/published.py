"""Published networks as exported models, by name: they predict without a training of one's own.

Classifiers of ImageNet's 1,000 classes, and detectors of COCO's 80.
"""

import difflib
import hashlib
from importlib import metadata
from pathlib import Path

import keras
import tensorflow as tf

from tfeff import config, models
from tfeff.durable import locked
from tfeff.errors import UserError
from tfeff.models.weights import coco, download, imagenet
from tfeff.networks.detectors.efficientdet import EfficientDet
from tfeff.reporting.terminal import say
from tfeff.serving import savedmodel
from tfeff.tasks import create
from tfeff.tasks.object_detection import DEFAULT_THRESHOLD

MARGIN = 32
"""Pixels that an image's shorter side has more than the square that a classifier sees, as in the evaluation of
EfficientNets (google-research/automl, and tensorflow/tpu before it)."""
_BICUBIC = ("efficientnet", "convnext")
"""Beginnings of the names of classifiers that were evaluated on images of bicubic interpolation."""


def published_names() -> tuple[str, ...]:
    """Returns the names of all networks with published weights, classifiers first."""
    return (*imagenet.TOP1, *coco.URLS)


def find_model(model: str) -> Path:
    """Returns the path of an exported model.

    Args:
        model: its path; or the name of a published network, which is exported by the first call and kept in Keras'
            cache of weights.

    Raises:
        UserError: it is neither; or the published weights cannot be had, see `models.load_imagenet` and
            `coco.weights_file`.
    """
    path = Path(model).expanduser()
    if path.exists():
        return path
    if model not in published_names():
        close = difflib.get_close_matches(model, published_names(), n=1)
        raise UserError(
            f"--model={model}: no exported model, and no published network has this name; "
            + (f'did you mean "{close[0]}"?' if close else "give a path, or a name such as efficientnet-lite0")
        )
    # Another version may export the same network otherwise.
    versions = f"{metadata.version('tfeff')} {tf.__version__} {keras.__version__}"
    folder = download.cache() / "tfeff"
    exported = folder / f"{model}-{hashlib.sha256(versions.encode()).hexdigest()[:8]}"
    if not exported.is_dir():
        with locked(folder, "KERAS_HOME", wait=True):  # another process may be exporting it
            if not exported.is_dir():
                say(f"exporting {model} into {exported}, once", error=True)
                _export(model, exported)
    return exported


def _export(name: str, directory: Path) -> None:
    """Writes the SavedModel of a published network."""
    if name in coco.URLS:
        names = coco.CLASS_NAMES
        network = models.build_detector(name, num_classes=len(names), weights=models.COCO)
        described = models.detector(name)
        section: config.TaskSettings = (
            config.EfficientDetSettings(network=described)
            if isinstance(described, EfficientDet)
            else config.FasterRCNNSettings()
        )
    else:
        network, names = models.build(name, weights="imagenet"), imagenet.class_names()
        side = network.size[0]
        section = config.ClassificationSettings(
            center_crop=side / (side + MARGIN),
            interpolation="bicubic" if name.startswith(_BICUBIC) else "bilinear",
        )
    task = create(section)
    detects = task.kind.detects
    savedmodel.export(
        task.predictor(network),
        names,
        directory,
        image_size=None,
        size=network.size,
        channels=3,
        task=task,
        score=DEFAULT_THRESHOLD if detects else None,
        class_ids=range(1, 1 + len(names)) if detects else (),
    )
