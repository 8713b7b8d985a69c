"""What an experiment or a search may say: typed, locked sections, read from Python files and JSON, changed by flags."""

from tfeff.config.family import Family, resolve_family
from tfeff.config.files import claimed, differences, flatten, from_json, load, override, to_json
from tfeff.config.rcnn import RCNN, Classic, Detection, Features, Joint, Objects, Proposals, Windows
from tfeff.config.schema import Data, Experiment, Model, Optimizer, Prediction, Schedule, Task, Training
from tfeff.config.search import Allocation, Budget, Folds, Objective, Search, Sweeps, Trials

__all__ = [
    "RCNN",
    "Allocation",
    "Budget",
    "Classic",
    "Data",
    "Detection",
    "Experiment",
    "Family",
    "Features",
    "Folds",
    "Joint",
    "Model",
    "Objective",
    "Objects",
    "Optimizer",
    "Prediction",
    "Proposals",
    "Schedule",
    "Search",
    "Sweeps",
    "Task",
    "Training",
    "Trials",
    "Windows",
    "claimed",
    "differences",
    "flatten",
    "from_json",
    "load",
    "override",
    "resolve_family",
    "to_json",
]
