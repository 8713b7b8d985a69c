"""What detectors find in the images of a split."""

from pathlib import Path

import numpy as np

from tfeff import training
from tfeff.analysis.comparison.run import ComparedRun, predicted
from tfeff.data.input.cache import ImageCache
from tfeff.evaluation import Detections
from tfeff.tasks.object_detection import detections, whole_images
from tfeff.tasks.task import BatchPredictor


def predict(run: ComparedRun, images: ImageCache, path: Path, reporter: training.Reporter) -> list[Detections]:
    """Returns the detections of a run's network in each image, as `tfeff.evaluate` computes them: those in the tiles of
    an image are merged.

    They come from the file if it has them.

    Args:
        images: the images, or their tiles, at the size of the run's cache.
        path: see `predicted`.
    """
    arrays = predicted(run, images, path, lambda: _predict(run, images, reporter))
    ends = np.cumsum(arrays["count"])[:-1]
    parts = (np.split(arrays[name], ends) for name in ("boxes_yxyx", "labels", "scores"))
    found = [Detections(*each) for each in zip(*parts, strict=True)]
    return list(whole_images(found, images.dataset.merged(class_agnostic=run.task.class_agnostic))[0])


def _predict(run: ComparedRun, images: ImageCache, reporter: training.Reporter) -> dict[str, np.ndarray]:
    pipeline = run.plan.batches(images, run.network, "evaluation", reporter.reading)
    found = detections(BatchPredictor(run.task.predictor(run.network), run.task)(pipeline))
    return {
        "count": np.array([len(each) for each in found]),
        "boxes_yxyx": np.concatenate([each.boxes_yxyx for each in found]),
        "labels": np.concatenate([each.labels for each in found]),
        "scores": np.concatenate([each.scores for each in found]),
    }
