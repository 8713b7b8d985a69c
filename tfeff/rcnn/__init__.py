"""R-CNN: proposals -> backbone trained on crops -> features of all regions, cached on disk -> heads -> detections."""

from tfeff.rcnn.assessment import Assessment, assess, conclude
from tfeff.rcnn.export import export
from tfeff.rcnn.images import RunImages
from tfeff.rcnn.sensitivity import Measurement, measure_sensitivity
from tfeff.rcnn.stages import train
from tfeff.rcnn.workdir import Workdir

__all__ = [
    "Assessment",
    "Measurement",
    "RunImages",
    "Workdir",
    "assess",
    "conclude",
    "export",
    "measure_sensitivity",
    "train",
]
