"""A finished run, opened to evaluate, predict and export; and exported models, loaded to predict."""

import os
from pathlib import Path

from tfeff import config
from tfeff.runs.loaded import LoadedModel
from tfeff.runs.prediction import dataset_images, image_ids, may_have_ids, write_predictions
from tfeff.runs.predictors import load_predictor
from tfeff.runs.published import export_published, find_model
from tfeff.runs.results import (
    Classification,
    Detection,
    Embedding,
    EvaluationResult,
    Localization,
    Prediction,
    Recognition,
)
from tfeff.runs.run import Run
from tfeff.runs.video import write_video_predictions

__all__ = [
    "Classification",
    "Detection",
    "Embedding",
    "EvaluationResult",
    "LoadedModel",
    "Localization",
    "Prediction",
    "Recognition",
    "Run",
    "dataset_images",
    "export_published",
    "find_model",
    "image_ids",
    "load_predictor",
    "may_have_ids",
    "open_run",
    "write_predictions",
    "write_video_predictions",
]


def open_run(workdir: str | os.PathLike[str]) -> Run:
    """Returns the run of a workdir.

    Raises:
        UserError: there is no run.
    """
    config.saved(Path(workdir), config.Experiment)
    return Run(workdir)
