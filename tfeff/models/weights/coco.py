"""Published weights of detectors, trained on COCO: torchvision's Faster R-CNN and RetinaNet, and google/automl's
EfficientDets."""

import tarfile
import tempfile
from pathlib import Path

from tfeff.durable import locked
from tfeff.errors import UserError
from tfeff.models.network import Network
from tfeff.models.weights import automl, download
from tfeff.models.weights.classes import Classes
from tfeff.models.weights.loading import LoadReport, assign, read_foreign
from tfeff.networks.catalog import ALL_DETECTORS
from tfeff.networks.detectors.detector import Detector

COCO = "coco"
"""The value of `weights` that asks for them."""
TORCHVISION = "https://download.pytorch.org/models/{}.pth"
"""The name of a file ends in the first digits of its SHA-256."""
EFFICIENTDET = "https://storage.googleapis.com/cloud-tpu-checkpoints/efficientdet/coco2/{}.tar.gz"
"""No checksum is published; TensorFlow's format has one for each tensor."""
SIZES = ("d0", "d1", "d2", "d3", "d4", "d5", "d6", "d7", "d7x")
URLS = {
    "faster-rcnn": TORCHVISION.format("fasterrcnn_resnet50_fpn_coco-258fb6c6"),
    "retinanet": TORCHVISION.format("retinanet_resnet50_fpn_coco-eeacb38b"),
    **{f"efficientdet-{size}": EFFICIENTDET.format(f"efficientdet-{size}") for size in SIZES},
}
"""Detector -> its weights."""
_THINGS = """
person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant, , stop sign,
parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe, , backpack, umbrella,
, , handbag, tie, suitcase, frisbee, skis, snowboard, sports ball, kite, baseball bat, baseball glove,
skateboard, surfboard, tennis racket, bottle, , wine glass, cup, fork, knife, spoon, bowl, banana, apple,
sandwich, orange, broccoli, carrot, hot dog, pizza, donut, cake, chair, couch, potted plant, bed, , dining
table, , , toilet, , tv, laptop, mouse, remote, keyboard, cell phone, microwave, oven, toaster, sink,
refrigerator, , book, clock, vase, scissors, teddy bear, hair drier, toothbrush"""
CLASS_NAMES = tuple(" ".join(name.split()) or f"(none {number})" for number, name in enumerate(_THINGS.split(","), 1))
"""The 90 categories in the order of their ids, from 1; ids that COCO does not use have names that no class has."""


def published_detector(described: Detector) -> Detector:
    """Returns the detector whose COCO weights a detector starts from: the one of its name.

    Raises:
        UserError: there are none for it, or its backbone is of another family.
    """
    if described.name not in URLS:
        raise UserError(f'weights "{COCO}": there are none for {described.name}; these have some: {", ".join(URLS)}')
    found = ALL_DETECTORS[described.name]
    if type(found.backbone) is not type(described.backbone):
        raise UserError(
            f'weights "{COCO}": those of {described.name} have the backbone {found.backbone.name}, not '
            f"{described.backbone.name}; set model.name={found.backbone.name}"
        )
    return found


def weights_file(name: str) -> Path:
    """Returns the weights of a detector: a `.pth` file, or the folder of a checkpoint.

    They are downloaded once, into Keras' cache.

    Args:
        name: a key of `URLS`.

    Raises:
        UserError: they cannot be downloaded, or are damaged.
    """
    url = URLS[name]
    file = url.rpartition("/")[2]
    if file.endswith(".pth"):
        return download.fetch(url, file, file.removesuffix(".pth").rpartition("-")[2])
    folder = download.cache() / f"{name}-coco"
    if automl.find_checkpoint(folder) is None:
        with locked(folder, "KERAS_HOME", wait=True):  # another process may be unpacking it
            if automl.find_checkpoint(folder) is None:
                _unpack(download.fetch(url, file), folder)
    return folder


def _unpack(archive: Path, folder: Path) -> None:
    """Moves a checkpoint from an archive into an existing folder, the file that names it last."""
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        try:
            with tarfile.open(archive) as opened:
                opened.extractall(scratch, filter="data")
        except (tarfile.TarError, EOFError, OSError) as error:
            raise UserError(f"{archive}: damaged ({error}); delete it and run again") from error
        found = [each.parent for each in Path(scratch).rglob("checkpoint")]
        if not found:
            raise UserError(f"{archive}: holds no checkpoint; delete it and run again")
        for each in sorted(found[0].iterdir(), key=lambda each: each.name == "checkpoint"):
            each.replace(folder / each.name)
    archive.unlink(missing_ok=True)


def load_coco(network: Network, name: str, classes: Classes | None = None) -> LoadReport:
    """Loads COCO weights into a detector of the shape of the published one.

    Args:
        name: name of the published detector.
        classes: the classes of the network, and `CLASS_NAMES`.

    Raises:
        UserError: as for `weights_file`, or nothing fits.
    """
    file = weights_file(name)
    arrays = read_foreign(network, file)
    assert arrays is not None
    return assign(network, arrays, file.name, classes)
