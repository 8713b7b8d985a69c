"""Rules that choose values of a config for its dataset: by number of images, initial weights, and their features."""

from tfeff.recipes import rules, transfer
from tfeff.recipes.image_set import annotated_images, labeled_images
from tfeff.recipes.rules import WarmStart, warm_start

__all__ = [
    "WarmStart",
    "annotated_images",
    "labeled_images",
    "rules",
    "transfer",
    "warm_start",
]
