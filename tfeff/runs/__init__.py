"""A workdir of any kind, opened to evaluate, predict and export."""

from tfeff.runs.opening import open_run
from tfeff.runs.prediction import predict
from tfeff.runs.predictors import load_predictor
from tfeff.runs.run import Run
from tfeff.runs.video import predict_video

__all__ = ["Run", "load_predictor", "open_run", "predict", "predict_video"]
