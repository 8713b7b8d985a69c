"""Networks in Keras: backbones, necks, heads, detectors, cost and pretrained weights."""

from tfeff.models.backbones.architecture import Architecture
from tfeff.models.build import architecture, build, names
from tfeff.models.cost import complexity
from tfeff.models.cost.complexity import Complexity
from tfeff.models.cost.estimate import estimate
from tfeff.models.detectors.build import build_detector, detector, detector_names
from tfeff.models.detectors.detector import Detector
from tfeff.models.heads.localizer import localizer
from tfeff.models.layers import preprocessing
from tfeff.models.necks.pyramid import pyramid
from tfeff.models.network import Network
from tfeff.models.tta import averaged
from tfeff.models.weights.applications import from_applications
from tfeff.models.weights.imagenet import imagenet_origin, imagenet_top1, load_imagenet
from tfeff.models.weights.loading import is_weights_file, load_weights
from tfeff.models.weights.report import LoadReport

__all__ = [
    "Architecture",
    "Complexity",
    "Detector",
    "LoadReport",
    "Network",
    "architecture",
    "averaged",
    "build",
    "build_detector",
    "complexity",
    "detector",
    "detector_names",
    "estimate",
    "from_applications",
    "imagenet_origin",
    "imagenet_top1",
    "is_weights_file",
    "load_imagenet",
    "load_weights",
    "localizer",
    "names",
    "preprocessing",
    "pyramid",
]
