"""Networks: scaling rules, families, the backbone contract, complexity and pretrained weights."""

from tfeff.models.build import architecture, build, names
from tfeff.models.cost import complexity
from tfeff.models.cost.complexity import Complexity
from tfeff.models.cost.estimate import predict
from tfeff.models.heads.localizer import localizer
from tfeff.models.layers import preprocessing
from tfeff.models.necks.pyramid import pyramid
from tfeff.models.network import Network
from tfeff.models.tta import averaged
from tfeff.models.weights.applications import from_applications, load_imagenet
from tfeff.models.weights.loading import LoadReport, load_weights

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
