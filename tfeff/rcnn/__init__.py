"""R-CNN: proposals -> a backbone trained on crops -> features of all regions, kept on disk -> heads -> detections."""

from tfeff.rcnn.assessment import Assessment, assess, conclude
from tfeff.rcnn.export import export
from tfeff.rcnn.stages import train
from tfeff.rcnn.sweeps import Point, sweep
from tfeff.rcnn.workdir import Workdir

__all__ = ["Assessment", "Point", "Workdir", "assess", "conclude", "export", "sweep", "train"]
