"""What a network is trained for: forward pass, losses, metrics, decoding and evaluation of each task."""

from tfeff.tasks.classification import Classification
from tfeff.tasks.localization import Localization
from tfeff.tasks.task import Batch, Evaluation, ImageTask, Task

__all__ = ["Batch", "Classification", "Evaluation", "ImageTask", "Localization", "Task"]
