"""Networks in Keras: backbones, necks, heads, detectors, cost and pretrained weights."""

from tfeff.models.build import Trained, build, build_detector, initialize
from tfeff.models.cost import complexity
from tfeff.models.cost.complexity import Complexity
from tfeff.models.cost.tracer import estimate
from tfeff.models.derived import averaged, embedder, localizer, pyramid, resized, size_multiple
from tfeff.models.given import Backbone
from tfeff.models.inheritance.inherit import IMAGES as INHERITANCE_IMAGES
from tfeff.models.inheritance.inherit import Inheritance, inherit
from tfeff.models.network import Network, standardization
from tfeff.models.weights.applications import from_applications
from tfeff.models.weights.batch_statistics import recompute_statistics
from tfeff.models.weights.coco import COCO, published_detector
from tfeff.models.weights.imagenet import (
    imagenet_here,
    imagenet_origin,
    imagenet_top1,
    load_imagenet,
    require_published,
)
from tfeff.models.weights.loading import LoadReport, is_weights_file, load_weights
from tfeff.networks import Architecture, Detector, architecture, detector, detector_names, names
from tfeff.networks.catalog import published

__all__ = [
    "COCO",
    "INHERITANCE_IMAGES",
    "Architecture",
    "Backbone",
    "Complexity",
    "Detector",
    "Inheritance",
    "LoadReport",
    "Network",
    "Trained",
    "architecture",
    "averaged",
    "build",
    "build_detector",
    "complexity",
    "detector",
    "detector_names",
    "embedder",
    "estimate",
    "from_applications",
    "imagenet_here",
    "imagenet_origin",
    "imagenet_top1",
    "inherit",
    "initialize",
    "is_weights_file",
    "load_imagenet",
    "load_weights",
    "localizer",
    "names",
    "published",
    "published_detector",
    "pyramid",
    "recompute_statistics",
    "require_published",
    "resized",
    "size_multiple",
    "standardization",
]
