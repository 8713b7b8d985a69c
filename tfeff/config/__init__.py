"""What an experiment may say: typed, locked sections, read from Python files and JSON, changed by flags."""

from tfeff.config.files import differences, flatten, from_json, load, override, to_json
from tfeff.config.schema import Data, Experiment, Model, Optimizer, Schedule, Training

__all__ = [
    "Data",
    "Experiment",
    "Model",
    "Optimizer",
    "Schedule",
    "Training",
    "differences",
    "flatten",
    "from_json",
    "load",
    "override",
    "to_json",
]
