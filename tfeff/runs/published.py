"""Published networks as exported models, by name: they predict without a training of one's own.

Classifiers of ImageNet's 1,000 classes, and detectors of COCO's 80.
"""

import difflib
import hashlib
import os
import shutil
from importlib import metadata
from pathlib import Path

import keras
import tensorflow as tf

from tfeff import config, models
from tfeff.config.tasks import of_detector
from tfeff.durable import locked
from tfeff.errors import UserError
from tfeff.evaluation.detection_errors import DEFAULT_THRESHOLD
from tfeff.models.weights import coco, download, imagenet
from tfeff.reporting.terminal import say
from tfeff.runs import model_files
from tfeff.serving.exportable import Exportable
from tfeff.tasks import create

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
    path = Path(os.path.expanduser(model))
    if path.exists():
        return path
    if model not in published_names():
        raise UserError(f"--model={model}: no exported model, and no published network has this name; {_advice(model)}")
    # Another version may export the same network otherwise.
    versions = f"{metadata.version('tfeff')} {tf.__version__} {keras.__version__}"
    folder = download.cache() / "tfeff"
    exported = folder / f"{model}-{hashlib.sha256(versions.encode()).hexdigest()[:8]}"
    if not exported.is_dir():
        with locked(folder, "KERAS_HOME", wait=True):  # another process may be exporting it
            if not exported.is_dir():
                say(f"exporting {model} into {exported}, once", error=True)
                exportable(model).saved_model(exported)
                for other in set(folder.glob(f"{model}-{'[0-9a-f]' * 8}")) - {exported}:  # of other versions
                    shutil.rmtree(other, ignore_errors=True)
    return exported


def export_published(
    name: str,
    path: str | os.PathLike[str],
    format: str | None = None,
    *,
    fit: bool | None = None,
    precision: str = "float32",
    freeze: bool | None = None,
    next_version: bool = False,
    overwrite: bool = False,
) -> Path:
    """Writes a published network for use elsewhere; other arguments and result as those of `Run.export`.

    Args:
        name: one of `published_names()`.

    Raises:
        UserError: there is no such network, its weights cannot be had, or as in `Run.export`.
    """
    if name not in published_names():
        raise UserError(f"--model={name}: no published network has this name; {_advice(name)}")
    return model_files.export(
        lambda: exportable(name),
        Path(os.path.expanduser(path)),
        format,
        fit=fit,
        precision=precision,
        freeze=freeze,
        next_version=next_version,
        overwrite=overwrite,
    )


def _advice(name: str) -> str:
    close = difflib.get_close_matches(name, published_names(), n=1)
    return f'did you mean "{close[0]}"?' if close else "such names are efficientnet-lite0 and efficientdet-d0"


def exportable(name: str) -> Exportable:
    """Returns a published network.

    Args:
        name: one of `published_names()`.

    Raises:
        UserError: the weights cannot be had.
    """
    if name in coco.URLS:
        network = models.build_detector(name, num_classes=len(coco.CLASS_NAMES), weights=models.COCO)
        detects = of_detector(models.detector(name))
        ids = range(1, 1 + len(coco.CLASS_NAMES))
        return Exportable(create(detects), network, coco.CLASS_NAMES, None, 3, score=DEFAULT_THRESHOLD, class_ids=ids)
    network = models.build(name, weights="imagenet")
    side = network.size[0]
    classifies = config.ClassificationSettings(
        center_crop=side / (side + MARGIN),
        interpolation="bicubic" if name.startswith(_BICUBIC) else "bilinear",
    )
    return Exportable(create(classifies), network, imagenet.class_names(), None, 3)
