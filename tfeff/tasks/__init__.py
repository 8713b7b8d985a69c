"""What a network is trained for: forward pass, losses, metrics, decoding and evaluation of each task."""

from tfeff.tasks.classification import Classification
from tfeff.tasks.localization import Localization
from tfeff.tasks.region_head import RegionHead
from tfeff.tasks.task import Batch, Evaluation, ImageTask, Task, create

__all__ = ["Batch", "Classification", "Evaluation", "ImageTask", "Localization", "RegionHead", "Task", "create"]
