"""Networks: scaling rules, families, the backbone contract, complexity and pretrained weights."""

from tfeff.models import complexity, preprocessing
from tfeff.models.applications import from_applications, load_imagenet
from tfeff.models.backbone import Network, pyramid
from tfeff.models.build import architecture, build, names
from tfeff.models.complexity import Complexity
from tfeff.models.localizer import localizer
from tfeff.models.prediction import predict
from tfeff.models.views import averaged
from tfeff.models.weights import LoadReport, load_weights

__all__ = [
    "Complexity",
    "LoadReport",
    "Network",
    "architecture",
    "averaged",
    "build",
    "complexity",
    "from_applications",
    "load_imagenet",
    "load_weights",
    "localizer",
    "names",
    "predict",
    "preprocessing",
    "pyramid",
]
