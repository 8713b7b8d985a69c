"""Descriptions of networks, without Keras: backbones, necks, heads and detectors, defined on an interface of layers."""

from tfeff.networks.backbones.architecture import Architecture
from tfeff.networks.catalog import architecture, detector, detector_names, names
from tfeff.networks.detectors.detector import Detector

__all__ = ["Architecture", "Detector", "architecture", "detector", "detector_names", "names"]
