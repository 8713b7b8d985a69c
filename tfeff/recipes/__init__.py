"""Rules that choose values of a config for its dataset: how many images there are, and which weights to start from."""

from tfeff.recipes import rules
from tfeff.recipes.image_set import AnnotatedImages, LabeledImages, annotated_images, labeled_images
from tfeff.recipes.warm_start import WarmStart, warm_start

__all__ = [
    "AnnotatedImages",
    "LabeledImages",
    "WarmStart",
    "annotated_images",
    "labeled_images",
    "rules",
    "warm_start",
]
