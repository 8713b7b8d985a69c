"""What a network is trained for: forward pass, losses, metrics and decoding of each task."""

from tfeff.tasks.classification import ClassificationTask
from tfeff.tasks.embedding import EmbeddingTask
from tfeff.tasks.localization import LocalizationTask
from tfeff.tasks.task import Batch, ImageTask, Task, create

__all__ = ["Batch", "ClassificationTask", "EmbeddingTask", "ImageTask", "LocalizationTask", "Task", "create"]
