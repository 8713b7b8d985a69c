"""A quadratic surface over networks of all costs, the direction in which it is highest, and a region for that.

A network is a point in the logarithms of depth, width and resolution. Its direction is the shares of the three in the
logarithm of the cost, which sum to 1; its distance from the baseline is φ. The surface is quadratic in these
coordinates (response surfaces, Box and Wilson 1951). The best direction depends on the cost: close to the baseline, the
slopes decide, far from it the curvature. Here it is the best one at the largest φ, up to which a family is scaled.
Curvature changes a value in proportion to φ², and a training costs 2^φ. The information of a second of training about
it is therefore proportional to φ⁴ / 2^φ: 20 times as much at φ = 3 as at φ = 1.

The confidence region inverts a test, as in Box and Hunter (1954, Biometrika 41, "A confidence region for the solution
of a set of simultaneous equations"): it contains every direction in which the surface can be highest without
contradicting the data. Inside, this means that the gradient can be zero; at the border, that it can point outward.
There, the critical value is that for as many dimensions as the estimated gradient deviates in (the conditional test of
Bartholomew 1961, JRSS B 23; Wollan and Dykstra 1986). Minima and saddles are excluded by a second condition: that the
point is not lower than the highest one, by Scheffé's simultaneous intervals. No prior is used for the region.
`tools/check_coverage.py` simulates how often it contains the best direction.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import optimize, special

from tfeff.errors import UserError

Floats = npt.NDArray[np.float64]
BASIS = np.array([[1.0, -1.0, 0.0], [1.0, 1.0, -2.0]]) / np.sqrt([[2.0], [6.0]])
"""Orthonormal directions [2, 3] in the plane of shares."""
DIRECTION, OTHER = 5, 4
"""Number of terms that depend on the direction at the largest φ, and of those that do not."""
OTHER_DEVIATION = 20.0
"""Prior standard deviation of the other coefficients, in those of a training: wide, but trainings at a single φ, which
do not determine them, then remain possible."""
CONFIDENCE, POWER = 0.95, 0.8
STEPS = 40
"""Cells of the lattice of directions along each side."""
BORDER = 1e-9
"""Points this close to a side are on it."""


@dataclass(frozen=True)
class Training:
    """A training and its result.

    Attributes:
        shares: shares of depth, width and resolution in the logarithm of the network's cost; they sum to 1.
        phi: logarithm of the cost relative to that of the member φ = 1.
        value: higher is better, on a scale on which errors have about equal variances (`to_surface_scale`).
    """

    shares: tuple[float, float, float]
    phi: float
    fold: int
    value: float


def to_surface_scale(value: float, *, bounded: bool, count: int) -> float:
    """Returns a value on the scale of the surface: the log odds of metrics in [0, 1].

    Args:
        count: number of validation images; half an image more of each kind keeps the logarithm finite.
    """
    return float(special.logit((value * count + 0.5) / (count + 1.0))) if bounded else value


def from_surface_scale(value: float, *, bounded: bool) -> float:
    """Returns the inverse of `to_surface_scale`, without its half images."""
    return float(special.expit(value)) if bounded else value


def plane(shares: npt.ArrayLike, center: npt.ArrayLike) -> Floats:
    """Coordinates [n, 2] of shares [n, 3], or [3] for n = 1, in their plane, from a center [3]."""
    return np.asarray((np.atleast_2d(np.asarray(shares, np.float64)) - np.asarray(center, np.float64)) @ BASIS.T)


def directed(places: Floats) -> Floats:
    """Returns terms [n, DIRECTION] of the surface at the largest φ: gradient and curvature in the plane."""
    x, y = places.T
    return np.stack([x, y, x * x / 2.0, x * y, y * y / 2.0], axis=-1)


def terms(shares: npt.ArrayLike, phis: npt.ArrayLike, center: npt.ArrayLike, top: float) -> Floats:
    """Returns terms [n, DIRECTION + OTHER] of a quadratic in the logarithms of the dimensions.

    Args:
        center: shares [3] at which the plane's coordinates are 0.
        top: the largest φ.
    """
    places, t = plane(shares, center), np.asarray(phis, np.float64)[:, None] / top
    return np.concatenate([t * t * directed(places), t - 1.0, (t - 1.0) ** 2, (t - t * t) * places], axis=1)


@dataclass(frozen=True, eq=False)
class Data:
    """Trainings as a linear model: terms of the surface, then an effect of each fold.

    Attributes:
        design: float64 [n, DIRECTION + OTHER + folds].
        values: float64 [n], minus their mean.
        mean: what was subtracted.
    """

    design: Floats
    values: Floats
    mean: float
    center: Floats
    top: float
    folds: int

    @classmethod
    def of(cls, trainings: Sequence[Training], center: npt.ArrayLike, top: float, folds: int) -> "Data":
        """Returns the trainings as a linear model; there may be none."""
        shares = np.array([each.shares for each in trainings], np.float64).reshape(-1, 3)
        design = np.concatenate(
            [
                terms(shares, [each.phi for each in trainings], center, top),
                np.eye(folds)[[each.fold for each in trainings]].reshape(-1, folds),
            ],
            axis=1,
        )
        values = np.array([each.value for each in trainings], np.float64)
        mean = float(values.mean()) if len(values) else 0.0
        return cls(design, values - mean, mean, np.asarray(center, np.float64), top, folds)


def best_directions(coefficients: Floats, center: Floats) -> Floats:
    """Shares [n, 3] at which surfaces with coefficients [n, DIRECTION] are highest.

    >>> center = np.full(3, 1 / 3)
    >>> best_directions(np.array([[0.0, 0.0, -1.0, 0.0, -1.0], [0.0, -9.0, -1.0, 0.0, -1.0]]), center).round(3)
    array([[0.333, 0.333, 0.333],
           [0.   , 0.   , 1.   ]])
    """
    slope = coefficients[:, :2]
    curvature = coefficients[:, [2, 3, 3, 4]].reshape(-1, 2, 2)
    corners = plane(np.eye(3), center)
    found = [np.broadcast_to(corner, slope.shape) for corner in corners]
    for start, end in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        along = end - start
        rise = slope @ along + np.einsum("i,nij,j->n", start, curvature, along)
        bend = np.einsum("i,nij,j->n", along, curvature, along)
        share = np.clip(np.divide(-rise, bend, out=np.zeros_like(rise), where=bend < 0.0), 0.0, 1.0)
        found.append(start + share[:, None] * along)
    determinant = np.linalg.det(curvature)
    solvable = (determinant > 0.0) & (curvature[:, 0, 0] < 0.0)
    inner = np.broadcast_to(corners[0], slope.shape).copy()
    inner[solvable] = -np.linalg.solve(curvature[solvable], slope[solvable][..., None])[..., 0]
    outside = ((inner @ BASIS + center) < 0.0).any(axis=1)
    inner[outside] = corners[0]
    places = np.stack([*found, inner])
    values = np.einsum("knt,nt->kn", directed(places.reshape(-1, 2)).reshape(len(places), -1, DIRECTION), coefficients)
    best = places[values.argmax(axis=0), np.arange(len(slope))]
    shares = np.clip(best @ BASIS + center, 0.0, None)
    return np.asarray(shares / shares.sum(axis=1, keepdims=True))


@functools.cache
def lattice(steps: int = STEPS) -> tuple[Floats, Floats]:
    """Returns directions [n, 3] on a triangular lattice, and their shares [n] of the triangle's area.

    The lattice includes the border.
    """
    counts = np.array([(i, j, steps - i - j) for i in range(steps + 1) for j in range(steps + 1 - i)])
    angles = np.array([1.0, 1.0 / 2.0, 1.0 / 6.0])[(counts == 0).sum(axis=1)]  # of a hexagon around a point
    return counts / steps, angles / angles.sum()


@dataclass(frozen=True, eq=False)
class Surface:
    """The surface at the largest φ, without a prior of the direction.

    Attributes:
        coefficients: float64 [DIRECTION].
        covariance: float64 [DIRECTION, DIRECTION], of the coefficients.
        degrees: degrees of freedom of the residual variance.
        deviation: standard deviation of a training's value.
        center: shares [3] at which the coordinates of the plane are 0.
        level: mean over the folds at the center.
    """

    coefficients: Floats
    covariance: Floats
    degrees: float
    deviation: float
    center: Floats
    level: float

    def value(self, shares: npt.ArrayLike) -> float:
        """Returns the mean over the folds in a direction [3], at the largest φ."""
        return self.level + float((directed(plane(shares, self.center)) @ self.coefficients)[0])

    def difference(self, first: npt.ArrayLike, second: npt.ArrayLike) -> tuple[float, float]:
        """Returns the difference of two directions [3] at the largest φ, and half the width of its interval.

        The intervals of all pairs hold simultaneously (Scheffé), so the directions may be chosen by the data.
        """
        one, other = directed(np.concatenate([plane(first, self.center), plane(second, self.center)]))
        row = one - other
        limit = DIRECTION * special.fdtri(DIRECTION, self.degrees, CONFIDENCE)
        return float(row @ self.coefficients), float(np.sqrt(limit * (row @ self.covariance @ row)))

    def detectable(self, first: npt.ArrayLike, second: npt.ArrayLike) -> float:
        """Returns the difference of two given directions [3] that a 95 % interval shows with a probability of 80 %."""
        one, other = directed(np.concatenate([plane(first, self.center), plane(second, self.center)]))
        error = float(np.sqrt((one - other) @ self.covariance @ (one - other)))
        return error * float(special.stdtrit(self.degrees, [0.975, POWER]).sum())

    @functools.cached_property
    def highest(self) -> Floats:
        """The direction [3] in which the surface is highest."""
        return best_directions(self.coefficients[None], self.center)[0]

    def contains(self, shares: npt.ArrayLike) -> bool:
        """Returns whether a direction [3] can be the best one, with 95 % confidence."""
        return bool(self._possible(np.asarray(shares, np.float64)[None])[0])

    @functools.cached_property
    def region(self) -> npt.NDArray[np.bool_]:
        """Which directions of the lattice can be the best one, with 95 % confidence."""
        return self._possible(lattice()[0])

    @property
    def extent(self) -> float:
        """The share of the plane that the region covers, in [0, 1]."""
        return float(lattice()[1][self.region].sum())

    @functools.cached_property
    def _sides(self) -> tuple[Floats, Floats]:
        """Unit normals pointing outward [3, 2] and offsets [3]: a point p is inside if normals @ p <= offsets."""
        normals = -BASIS.T / np.linalg.norm(BASIS.T, axis=1, keepdims=True)
        return normals, self.center / np.linalg.norm(BASIS.T, axis=1)

    def _possible(self, shares: Floats) -> npt.NDArray[np.bool_]:
        """Returns which of some directions [n, 3] can be the best one."""
        rows = directed(plane(shares, self.center)) - directed(plane(self.highest, self.center))
        limit = DIRECTION * special.fdtri(DIRECTION, self.degrees, CONFIDENCE)
        half_widths = np.sqrt(limit * np.einsum("ni,ij,nj->n", rows, self.covariance, rows))
        level = -rows @ self.coefficients <= half_widths
        return np.array(
            [
                not_lower and self._p_value(place) >= 1.0 - CONFIDENCE
                for not_lower, place in zip(level, plane(shares, self.center), strict=True)
            ],
            np.bool_,
        )

    def _p_value(self, place: Floats) -> float:
        """Returns the p-value of the hypothesis that the surface is highest at a point [2] of the plane.

        The gradient is then zero in the directions that stay inside, or points outward: it lies in the cone of the
        normals of the sides on which the point is. The test is conditional on the face of the cone that is closest to
        the estimated gradient, which deviates from it in the remaining dimensions.
        """
        x, y = place
        derivative = np.array([[1.0, 0.0, x, y, 0.0], [0.0, 1.0, 0.0, x, y]])
        covariance = derivative @ self.covariance @ derivative.T
        gradient = derivative @ self.coefficients
        normals, offsets = self._sides
        active = normals[np.abs(normals @ place - offsets) <= BORDER]
        if not len(active):
            squared = float(gradient @ np.linalg.solve(covariance, gradient))
            return float(special.fdtrc(2, self.degrees, squared / 2.0))
        whitening = np.linalg.inv(np.linalg.cholesky(covariance))
        rays = whitening @ active.T
        weights, distance = optimize.nnls(rays, whitening @ gradient)
        dimensions, rejectable = 2 - int((weights > 0.0).sum()), 1.0
        if len(active) > 1:  # at a corner, a gradient of zero is often estimated inside the cone
            first, second = (rays / np.linalg.norm(rays, axis=0)).T[:2]
            rejectable -= np.arccos(np.clip(first @ second, -1.0, 1.0)) / (2.0 * np.pi)
        if dimensions < 1:
            return 1.0
        return float(rejectable * special.fdtrc(dimensions, self.degrees, distance**2 / dimensions))


def fit_surface(data: Data) -> Surface:
    """Fits the surface by least squares.

    The terms that say nothing about the direction at the largest φ have a wide prior.

    Raises:
        UserError: the trainings do not determine the surface and its residual variance.
    """
    others = slice(DIRECTION, DIRECTION + OTHER)
    penalty = np.zeros(data.design.shape[1])
    penalty[others] = OTHER_DEVIATION**-2.0
    folds = data.design[:, DIRECTION + OTHER :].any(axis=0)  # without those on which nothing was trained
    trained = np.concatenate([np.ones(DIRECTION + OTHER, np.bool_), folds])
    design, penalty = data.design[:, trained], penalty[trained]
    augmented = np.concatenate([design, np.diag(np.sqrt(penalty))])
    if np.linalg.matrix_rank(augmented) < design.shape[1]:
        raise UserError(f"{len(design)} trainings do not determine the surface")
    inverse = np.linalg.inv(design.T @ design + np.diag(penalty))
    used = design.shape[1] - float(penalty @ np.diag(inverse))
    degrees = len(design) - used
    if degrees < 1.0:
        raise UserError(f"{len(design)} trainings do not determine how much their values vary around the surface")
    coefficients = inverse @ design.T @ data.values
    squares = float(np.sum((data.values - design @ coefficients) ** 2))
    least = np.finfo(np.float64).eps * max(float(np.abs(data.values).max()), abs(data.mean))
    variance = max(squares / degrees, least**2)  # above 0, so that tests can divide by it
    return Surface(
        coefficients=coefficients[:DIRECTION],
        covariance=variance * inverse[:DIRECTION, :DIRECTION],
        degrees=degrees,
        deviation=float(np.sqrt(variance)),
        center=data.center,
        level=data.mean + float(coefficients[DIRECTION + OTHER :].mean()),
    )
