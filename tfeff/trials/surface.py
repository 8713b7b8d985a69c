"""A quadratic surface through the candidates' values, its highest point, and a confidence region for it.

Response-surface method of Box and Wilson (1951). The confidence region inverts a test, as in Box and Hunter (1954,
Biometrika 41, "A confidence region for the solution of a set of simultaneous equations"): it contains every point at
which the data do not contradict that the surface is highest there. At an interior point, this means that the gradient
can be zero; at the border, that it can point outward. There, the critical value is that for as many dimensions as the
estimated gradient deviates in (the conditional test of Bartholomew 1961, JRSS B 23; Wollan and Dykstra 1986): one along
a side, from which it points outward, instead of two. Minima and saddles are excluded by a second condition: that the
point is not lower than the highest one, by Scheffé's simultaneous intervals. Under the model, the region contains the
highest point with the stated confidence if that is inside or at a side. At a corner it is contained more often, the
clearer the gradient points outward: always, if nothing speaks for another point. The second condition, which is much
weaker near the highest point, takes little from it (`tools/check_coverage.py` simulates all of this).
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import optimize, spatial, special

from tfeff.errors import UserError
from tfeff.trials.results import Table
from tfeff.trials.two_way import fit_two_way

Floats = npt.NDArray[np.float64]
TERMS = 6
"""Coefficients of a quadratic in two coordinates."""
LEAST_COVARIATE = 1e-6
"""Covariates that differ by less are taken as equal."""
STEPS = 60
"""Cells of the grid along each side."""
BORDER = 1e-9
"""Points this close to a side are on it."""


@dataclass(frozen=True, eq=False)
class Surface:
    """value = c0 + c1 x + c2 y + c3 x² + c4 y² + c5 xy + c6 covariate + error, fitted by least squares.

    The unit is a candidate, with its mean over all blocks: the errors contain the randomness of training as well as
    what a quadratic cannot describe.

    Attributes:
        coefficients: float64 [7].
        covariance: float64 [7, 7], of the coefficients.
        degrees: candidates - 7.
        corners: float64 [v, 2], the convex hull of the candidates, counterclockwise.
        covariate: mean of the covariate, at which values are predicted.
    """

    coefficients: Floats
    covariance: Floats
    degrees: int
    corners: Floats
    covariate: float

    def values(self, points: npt.ArrayLike) -> Floats:
        """Predicted values [n] at points [n, 2]."""
        return np.asarray(self._rows(points) @ self.coefficients)

    def difference(self, first: npt.ArrayLike, second: npt.ArrayLike, confidence: float = 0.95) -> tuple[float, float]:
        """The predicted difference of two points, and half the width of its interval.

        The intervals of all pairs of points hold simultaneously (Scheffé), so the points may be chosen by the data.
        """
        one, other = self._rows(np.array([first, second], np.float64))
        row = one - other
        error = float(np.sqrt(row @ self.covariance @ row))
        limit = (TERMS - 1) * special.fdtri(TERMS - 1, self.degrees, confidence)
        return float(row @ self.coefficients), float(np.sqrt(limit)) * error

    @functools.cached_property
    def highest(self) -> Floats:
        """The highest point within the hull of the candidates, float64 [2]."""
        start = self.grid[int(self.values(self.grid).argmax())]
        found = optimize.minimize(
            lambda point: -float(self.values([point])[0]),
            start,
            jac=lambda point: -self._gradient(point)[0],
            constraints=[{"type": "ineq", "fun": lambda p: self._sides[1] - self._sides[0] @ p}],
            method="SLSQP",
            options={"ftol": 1e-14},
        )
        better = found.success and self.values([found.x])[0] > self.values([start])[0]
        return np.asarray(found.x if better and self.inside(found.x) else start)

    def contains(self, point: npt.ArrayLike, confidence: float = 0.95) -> bool:
        """Whether a point can be the highest one; False outside of the hull."""
        where = np.asarray(point, np.float64)
        if not self.inside(where):
            return False
        if self._p_value(where) < 1.0 - confidence:
            return False
        below, half_width = self.difference(self.highest, where, confidence)
        return below <= half_width

    @functools.cached_property
    def grid(self) -> Floats:
        """Points of the hull, float64 [n, 2]: along its sides, from corner to corner, then those of a lattice."""
        low, high = self.corners.min(axis=0), self.corners.max(axis=0)
        ticks = [np.linspace(low[axis], high[axis], STEPS + 1) for axis in (0, 1)]
        inner = np.stack(np.meshgrid(*ticks, indexing="ij"), axis=-1).reshape(-1, 2)
        inner = inner[self._inside(inner)]
        shares = np.linspace(0, 1, STEPS, endpoint=False)[:, None]
        sides = [
            start + shares * (end - start)
            for start, end in zip(self.corners, np.roll(self.corners, -1, axis=0), strict=True)
        ]
        return np.concatenate([*sides, inner])

    @functools.cached_property
    def region(self) -> npt.NDArray[np.bool_]:
        """Which points of the grid can be the highest one, with 95 % confidence."""
        return np.array([self.contains(point) for point in self.grid])

    @property
    def extent(self) -> float:
        """The part of the hull that the region covers, in [0, 1]: its share of the lattice."""
        return float(self.region[len(self.corners) * STEPS :].mean())

    @functools.cached_property
    def _sides(self) -> tuple[Floats, Floats]:
        """Unit normals pointing outward [v, 2] and offsets [v]: a point p is inside if normals @ p <= offsets."""
        along = np.roll(self.corners, -1, axis=0) - self.corners
        normals = np.stack([along[:, 1], -along[:, 0]], axis=-1) / np.linalg.norm(along, axis=1, keepdims=True)
        return normals, (normals * self.corners).sum(axis=1)

    def inside(self, point: npt.ArrayLike) -> bool:
        """Whether a point is in the hull of the candidates."""
        return bool(self._inside(np.asarray(point, np.float64)[None])[0])

    def _inside(self, points: Floats) -> npt.NDArray[np.bool_]:
        normals, offsets = self._sides
        return np.asarray((points @ normals.T <= offsets + BORDER).all(axis=1))

    def _rows(self, points: npt.ArrayLike) -> Floats:
        return _design(np.asarray(points, np.float64), self.covariate)

    def _gradient(self, point: Floats) -> tuple[Floats, Floats]:
        """The gradient [2] and its covariance [2, 2]."""
        x, y = point
        derivative = np.array([[0, 1, 0, 2 * x, 0, y, 0], [0, 0, 1, 0, 2 * y, x, 0]], np.float64)
        return derivative @ self.coefficients, derivative @ self.covariance @ derivative.T

    def _p_value(self, point: Floats) -> float:
        """Of the hypothesis that the surface is highest at a point of the hull.

        The gradient is then zero in the directions that stay inside, or points outward: it lies in the cone of the
        normals of the sides on which the point is. The test is conditional on the face of the cone that is closest to
        the estimated gradient, which deviates from it in the remaining dimensions.
        """
        gradient, covariance = self._gradient(point)
        whitening = np.linalg.inv(np.linalg.cholesky(covariance))
        normals, offsets = self._sides
        active = normals[np.abs(normals @ point - offsets) <= BORDER]
        distance, dimensions, rejectable = float(np.linalg.norm(whitening @ gradient)), 2, 1.0
        if len(active):
            rays = whitening @ active.T
            weights, distance = optimize.nnls(rays, whitening @ gradient)
            dimensions = 2 - int((weights > 0.0).sum())
            if len(active) > 1:  # at a corner, a gradient of zero is often estimated inside the cone
                first, second = (rays / np.linalg.norm(rays, axis=0)).T[:2]
                rejectable -= np.arccos(np.clip(first @ second, -1.0, 1.0)) / (2.0 * np.pi)
        if dimensions < 1:
            return 1.0
        return float(rejectable * special.fdtrc(dimensions, self.degrees, distance**2 / dimensions))


def fit_surface(
    table: Table, points: Mapping[str, tuple[float, float]], covariates: Mapping[str, float] | None = None
) -> Surface:
    """Fits a surface to the candidates' means, adjusted for missing blocks (`two_way`).

    A covariate is what else a value depends on linearly, such as the logarithm of the cost.

    Raises:
        UserError: there are too few candidates, they lie on a line or curve that does not determine the surface, or
            they have equal values or no chain of common blocks.
    """
    layout = fit_two_way(table)
    if layout.part.any():
        raise UserError("some candidates have no chain of common folds with the others, so no surface can be fitted")
    names = layout.candidates
    places = np.array([points[name] for name in names], np.float64)
    further = np.array([0.0 if covariates is None else covariates[name] for name in names], np.float64)
    varies = bool(np.ptp(further) > LEAST_COVARIATE)
    design = _design(places, further)
    design = design if varies else design[:, :TERMS]
    degrees = len(names) - design.shape[1]
    if degrees < 1 or np.linalg.matrix_rank(design) < design.shape[1]:
        raise UserError(
            f"a surface has {design.shape[1]} coefficients; {len(names)} candidates at these places do not determine "
            "it: train more of them"
        )
    values = np.array([layout.means[name] for name in names])
    if np.ptp(values) <= layout.resolution:
        raise UserError("the candidates have equal values, so no surface is highest anywhere")
    inverse = np.linalg.inv(design.T @ design)
    coefficients = inverse @ design.T @ values
    squares = float(np.sum((values - design @ coefficients) ** 2))
    variance = max(squares, layout.resolution**2) / degrees  # above 0, so that tests can divide by it
    covariance = np.zeros((TERMS + 1, TERMS + 1))
    covariance[: len(inverse), : len(inverse)] = variance * inverse
    hull = spatial.ConvexHull(places)
    return Surface(
        coefficients=np.concatenate([coefficients, np.zeros(TERMS + 1 - len(coefficients))]),
        covariance=covariance,
        degrees=degrees,
        corners=places[hull.vertices],
        covariate=float(further.mean()),
    )


def _design(places: Floats, covariate: npt.ArrayLike) -> Floats:
    """A row of the model's terms for each place, [n, 7]."""
    x, y = places.T
    return np.stack([np.ones_like(x), x, y, x**2, y**2, x * y, np.broadcast_to(covariate, x.shape)], axis=-1)
