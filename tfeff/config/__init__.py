"""Configs of training runs and searches: typed, immutable sections, loaded from Python or JSON, changed by flags."""

from tfeff.config.family import Family, resolve_family
from tfeff.config.files import (
    claimed,
    complete,
    differences,
    flatten,
    from_json,
    load,
    load_recipe,
    override,
    saved,
    to_json,
)
from tfeff.config.rcnn import RCNN, Classic, Detection, DetectionData, Joint, Proposals, RegionFeatures, Windows
from tfeff.config.recipe import Choice, Choices, Recipe
from tfeff.config.schema import Data, Experiment, Model, Optimizer, Schedule, Training
from tfeff.config.search import Allocation, Budget, Folds, Objective, Search, Sweeps, Trials
from tfeff.config.tasks import (
    TTA,
    AnchorYolo,
    Classification,
    DenseDetection,
    EfficientDet,
    Grid,
    Localization,
    Neck,
    Suppression,
    Yolo,
)
from tfeff.data.augment.box_policy import BoxAugmentation
from tfeff.data.augment.policy import Augmentation

__all__ = [
    "RCNN",
    "TTA",
    "Allocation",
    "AnchorYolo",
    "Augmentation",
    "BoxAugmentation",
    "Budget",
    "Choice",
    "Choices",
    "Classic",
    "Classification",
    "Data",
    "DenseDetection",
    "Detection",
    "DetectionData",
    "EfficientDet",
    "Experiment",
    "Family",
    "Folds",
    "Grid",
    "Joint",
    "Localization",
    "Model",
    "Neck",
    "Objective",
    "Optimizer",
    "Proposals",
    "Recipe",
    "RegionFeatures",
    "Schedule",
    "Search",
    "Suppression",
    "Sweeps",
    "Training",
    "Trials",
    "Windows",
    "Yolo",
    "claimed",
    "complete",
    "differences",
    "flatten",
    "from_json",
    "load",
    "load_recipe",
    "override",
    "resolve_family",
    "saved",
    "to_json",
]
