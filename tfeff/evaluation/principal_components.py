"""Principal component analysis of feature vectors."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, eq=False)
class PrincipalComponents:
    """A projection of n vectors.

    Attributes:
        coordinates: float64 [n, components], centered. The largest loading of each component is positive.
        explained: float64 [components], share of the variance along each component, in [0, 1].
    """

    coordinates: npt.NDArray[np.float64]
    explained: npt.NDArray[np.float64]


def principal_components(vectors: npt.ArrayLike, components: int = 2) -> PrincipalComponents:
    """Projects vectors onto the directions of their largest variance.

    Args:
        vectors: float [n, d], n > 0.
        components: number of directions; those beyond min(n, d) have coordinates and shares of 0.
    """
    matrix = np.asarray(vectors, np.float64)
    centered = matrix - matrix.mean(axis=0)
    left, scale, right = np.linalg.svd(centered, full_matrices=False)
    kept = min(components, len(scale))
    sign = np.sign(right[np.arange(len(scale)), np.abs(right).argmax(axis=1)])
    coordinates, explained = np.zeros((len(matrix), components)), np.zeros(components)
    coordinates[:, :kept] = (left * scale * sign)[:, :kept]
    total = np.square(scale).sum()
    explained[:kept] = np.square(scale[:kept]) / total if total else 0.0
    return PrincipalComponents(coordinates, explained)
