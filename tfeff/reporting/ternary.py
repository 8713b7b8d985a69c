"""A ternary plot of the shares of depth, width and resolution in a network's cost.

A stage's multiply-adds grow as depth * width^2 * resolution^2 (Tan & Le 2019, equation 3). The shares are log depth,
2 log width and 2 log resolution divided by their sum.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from tfeff.reporting.figure import BLACK, GRAY, LIGHT_GRAY

CORNERS = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, np.sqrt(0.75)]])  # depth, width, resolution
EXPONENTS = np.array([1.0, 2.0, 2.0])
DIMENSIONS = ("depth", "width", "resolution")
AXIS_LABEL = "share of the logarithm of multiply-adds (%)\nof depth d, width w, resolution r"


def shares(rows: Sequence[Mapping[str, Any]]) -> npt.NDArray[np.float64]:
    """Shares of depth, width and resolution in the logarithm of the cost, float64 [rows, 3]; each row sums to 1.

    Coefficients below 1 count by the absolute value of their logarithm. If all three are 1, the shares are equal.

    >>> shares([{"depth": 2.0, "width": 1.0, "resolution": 1.0}, {"depth": 1.0, "width": 1.2, "resolution": 1.2}])
    array([[1. , 0. , 0. ],
           [0. , 0.5, 0.5]])
    """
    coefficients = np.array([[row[dimension] for dimension in DIMENSIONS] for row in rows], np.float64).reshape(-1, 3)
    logarithms = np.abs(EXPONENTS * np.log(coefficients))
    total = logarithms.sum(axis=1, keepdims=True)
    return np.divide(logarithms, total, out=np.full_like(logarithms, 1 / 3), where=total > 0)


def positions(rows: Sequence[Mapping[str, Any]]) -> npt.NDArray[np.float64]:
    """Positions of the rows in a triangle with side 1, float64 [rows, 2]."""
    return shares(rows) @ CORNERS


def draw_triangle(axes: Axes) -> None:
    """Draws frame, grid and labels. Each edge shows the share of the corner at its end, counterclockwise."""
    axes.set_aspect("equal")
    axes.set_axis_off()
    axes.set_xlim(-0.22, 1.22)
    axes.set_ylim(-0.24, 1.04)
    axes.plot(*np.vstack([CORNERS, CORNERS[:1]]).T, color=GRAY, linewidth=1, zorder=1)
    for corner, dimension in enumerate(DIMENSIONS):
        before, after = CORNERS[corner - 1], CORNERS[(corner + 1) % 3]
        for share in (0.25, 0.5, 0.75):
            # Line of constant share, between the two edges that meet in the corner.
            start = share * CORNERS[corner] + (1 - share) * before
            end = share * CORNERS[corner] + (1 - share) * after
            outward = (start - end) / np.linalg.norm(start - end)
            axes.plot(*np.stack([start, end]).T, color=LIGHT_GRAY, linewidth=0.8, zorder=0)
            axes.plot(*np.stack([start, start + 0.02 * outward]).T, color=GRAY, linewidth=0.8, zorder=0)
            x, y = start + (0.03 if outward[0] > 0.9 else 0.075) * outward
            side = "left" if outward[0] > 0.9 else "center"
            axes.text(
                x,
                y,
                f"{dimension[0]} {100 * share:.0f} %",
                ha=side,
                va="center",
                fontsize=8,
                color=GRAY,
            )
    for corner, dimension, offset in zip(CORNERS, DIMENSIONS, (-0.11, -0.11, 0.05), strict=True):
        axes.text(
            corner[0], corner[1] + offset, f"{dimension} alone", ha="center", va="center", fontsize=9.5, color=BLACK
        )
    axes.text(
        0.5,
        -0.21,
        AXIS_LABEL,
        ha="center",
        va="center",
        fontsize=8.5,
        color=BLACK,
    )
