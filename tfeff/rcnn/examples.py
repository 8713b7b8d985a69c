"""Regions to train a head on."""

from dataclasses import dataclass

import numpy as np

from tfeff.boxes.assignment import Regions


@dataclass(frozen=True, eq=False)
class Examples:
    """n regions.

    Attributes:
        features: float [n, D]; may be memory-mapped.
        targets: what the head is trained to predict.
    """

    features: np.ndarray
    targets: Regions
