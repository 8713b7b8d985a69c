"""Simulates experiments with known true means: how often the statistics of tfeff/trials are right, in percent.

python tools/check_coverage.py > coverage.md     # 1,000 tables a row; some minutes on one core

Values are accuracies: binomial in the number of images, with normal effects of fold and of candidate and fold on the
logit scale. All candidates but the best lose exactly the margin, which is the worst case of the rule "within the
margin". In rows with a range, they lose from the margin up to the end of the range.
"""

import argparse
import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before NumPy: the matrices are small

import command_line
import numpy as np
import numpy.typing as npt
from scipy import special

from tfeff.reporting import tables
from tfeff.trials.chance import chance_within
from tfeff.trials.design import Limits, Place, Planner, simulate
from tfeff.trials.growth import Growth, Training, fit
from tfeff.trials.intervals import summaries
from tfeff.trials.results import Block
from tfeff.trials.surface import BASIS, lattice, plane
from tfeff.trials.two_way import fit_two_way

Floats = npt.NDArray[np.float64]
POINTS, WEIGHTS = np.polynomial.hermite_e.hermegauss(31)


@dataclass(frozen=True)
class World:
    """How the tables of one row are drawn.

    Attributes:
        accuracy: true mean of the best candidate.
        margin: what the others lose.
        lowest: true mean of the worst candidate; None: all others lose the margin.
        fold, both: standard deviations of the effects of a fold, and of a candidate on a fold, on the logit scale.
        unstable: deviation of the last candidate's effect on a fold if its training sometimes fails; None: `both`.
    """

    candidates: int
    folds: int
    accuracy: float
    images: int
    margin: float
    lowest: float | None = None
    fold: float = 0.2
    both: float = 0.1
    unstable: float | None = None

    @property
    def means(self) -> Floats:
        """True means [candidates], the best first."""
        others = self.accuracy - self.margin
        lowest = others if self.lowest is None else self.lowest
        return np.concatenate([[self.accuracy], np.linspace(others, lowest, self.candidates - 1)])

    def draw(self, rng: np.random.Generator, means: Floats) -> Floats:
        """Draws values [candidates, folds] with these expectations."""
        both = np.full((len(means), 1), self.both)
        both[-1] = self.both if self.unstable is None else self.unstable
        deviation, logits = np.hypot(self.fold, both), special.logit(means)
        for _ in range(20):  # the mean over the effects is the true one
            averages = special.expit(logits[:, None] + deviation * POINTS) @ (WEIGHTS / WEIGHTS.sum())
            logits += special.logit(means) - special.logit(averages)
        shape = len(means), self.folds
        effects = self.fold * rng.normal(size=self.folds) + both * rng.normal(size=shape)
        return np.asarray(rng.binomial(self.images, special.expit(logits[:, None] + effects)) / self.images)


WORLDS = (
    World(1, 3, 0.85, 200, 0.0),
    World(1, 3, 0.98, 50, 0.0),
    World(1, 8, 0.95, 200, 0.0),
    World(2, 3, 0.85, 200, 0.03),
    World(10, 3, 0.85, 200, 0.03),
    World(30, 3, 0.85, 200, 0.03),
    World(10, 5, 0.85, 200, 0.03),
    World(10, 8, 0.85, 200, 0.03),
    World(10, 3, 0.53, 200, 0.03),
    World(2, 3, 0.95, 50, 0.03),
    World(10, 3, 0.95, 50, 0.03),
    World(10, 3, 0.95, 1000, 0.03),
    World(30, 8, 0.95, 200, 0.03),
    World(2, 3, 0.99, 50, 0.01),
    World(10, 3, 0.99, 50, 0.01),
    World(10, 5, 0.99, 50, 0.01),
    World(10, 3, 0.99, 1000, 0.01),
    World(10, 3, 0.85, 200, 0.03, fold=0.0, both=0.0),
    World(10, 3, 0.85, 1000, 0.03, fold=0.4, both=0.2),
    World(10, 3, 0.95, 200, 0.03, lowest=0.5),
    World(10, 5, 0.95, 1000, 0.03, lowest=0.5),
    World(30, 3, 0.90, 500, 0.02, lowest=0.8),
    World(10, 3, 0.90, 300, 0.03, unstable=1.0),
    World(10, 8, 0.90, 300, 0.03, unstable=1.0),
)


def as_table(values: Floats) -> dict[str, dict[Block, float]]:
    """Returns candidate -> block -> value."""
    return {f"c{i:02}": {(fold, 0): float(v) for fold, v in enumerate(row)} for i, row in enumerate(values)}


def intervals(world: World, count: int, rng: np.random.Generator) -> dict[str, Any]:
    """Returns the coverage of the intervals of means and differences, and the errors of "within the margin"."""
    true = dict(zip(as_table(np.empty((world.candidates, 1))), world.means.tolist(), strict=True))
    best, *others = true
    lose = [name for name in others if true[best] - true[name] >= world.margin - 1e-12]
    means, last, pair, together, errors = [], [], [], [], []
    for _ in range(count):
        table = as_table(world.draw(rng, world.means))
        found = summaries(table, bounded=True)
        hits = [inside(each.low, true[name], each.high) for name, each in found.items()]
        means.append(np.mean(hits if world.unstable is None else hits[:-1]))
        last += [] if world.unstable is None else hits[-1:]
        if not others:
            continue
        layout = fit_two_way(table, bounded=True)
        first, second = rng.choice(list(true), 2, replace=False)
        difference = layout.difference(first, second)
        pair.append(inside(difference.low, true[first] - true[second], difference.high))
        leader = layout.ranking[0]
        differences = layout.differences_from(leader).items()
        together.append(all(inside(each.low, true[leader] - true[name], each.high) for name, each in differences))
        losses = layout.losses()
        errors.append(any((loss := losses[name]) is not None and loss < world.margin for name in lose))
    return {
        "candidates": world.candidates,
        "folds": world.folds,
        "accuracy": f"{world.accuracy:g}" + (f" to {world.lowest:g}" if world.lowest else ""),
        "images": world.images,
        "effects": f"{world.fold:g}, {world.both:g}",
        "means": share(means),
        "mean of an unstable one": share(last),
        "a difference": share(pair),
        "all from the best": share(together),
        "wrongly within the margin": share(errors),
    }


def inside(low: float | None, value: float, high: float | None) -> bool:
    """Returns whether an interval contains a value."""
    return low is not None and high is not None and low - 1e-12 <= value <= high + 1e-12


def share(hits: Sequence[bool | float]) -> str | None:
    """Returns a share in percent."""
    return f"{100 * np.mean(hits):.1f}" if hits else None


PLACES: Mapping[str, tuple[tuple[float, float, float], tuple[float, float, float]]] = {
    "inside": ((0.35, 0.3, 0.35), (0.0, 0.0, 0.0)),
    "side, level": ((0.5, 0.5, 0.0), (0.0, 0.0, 0.0)),
    "side, rising to it": ((0.5, 0.5, 0.0), (0.0, 0.0, -0.4)),
    "corner, level": ((0.0, 1.0, 0.0), (0.0, 0.0, 0.0)),
    "corner, rising to it along one side": ((0.0, 1.0, 0.0), (-0.4, 0.0, 0.0)),
    "corner, rising to it": ((0.0, 1.0, 0.0), (-0.4, 0.0, -0.4)),
}
"""Shares of depth, width and resolution where the surface is highest, and its slopes there, in log odds."""
CURVATURE = np.array([[-1.8, -0.3], [-0.3, -2.4]])
"""Curvature of the accuracy's log odds in the plane of shares: from the middle, a single dimension loses about 0.6."""
OTHERS = (0.4, -0.1, 0.1, -0.1)
"""Coefficients of the terms that do not concern the direction: growth with the cost and how slopes change with it."""
PHIS, PER_SIDE = (1.0, 2.0, 3.0), 8
LIMITS = Limits(precision=0.15, trainings=60)
DEVIATIONS = {"0.06": 0.06, "0.15": 0.15}
"""Standard deviations of a training, in log odds: 1.5 and 3.75 points at an accuracy of 0.5."""


def planner(center: Floats, folds: int) -> Planner:
    """Plans networks in all directions, three at each cost.

    A network takes as long as its cost and a start of half a unit.
    """
    places = [
        Place((a, b, c), phi + away, 0.5 + 2.0 ** (phi + away))
        for phi in PHIS
        for away in (-0.03, 0.0, 0.03)
        for a, b, c in lattice(PER_SIDE)[0].tolist()
    ]
    return Planner(places, center, max(PHIS), folds)


def coefficients(peak: Floats, slopes: Floats, center: Floats) -> Floats:
    """Returns the coefficients of a surface that is highest at `peak`."""
    slope = BASIS @ slopes - CURVATURE @ plane(peak, center)[0]
    return np.array([*slope, CURVATURE[0, 0], CURVATURE[0, 1], CURVATURE[1, 1], *OTHERS])


def regions(count: int, seed: int) -> Iterator[dict[str, Any]]:
    """Returns how often the region of a sequential search contains the best direction, and how large it is."""
    for name, (peak, slopes) in PLACES.items():
        for prior in ("right", "wrong"):
            # A right prior is a little beside the best direction, a wrong one far from it.
            center = 0.8 * np.array(peak) + 0.2 / 3 if prior == "right" else np.array([0.15, 0.05, 0.8])
            row: dict[str, Any] = {"best direction": name, "prior": prior}
            for folds in (3, 5, 8):
                planned = planner(center, folds)
                surface = coefficients(np.array(peak), np.array(slopes), center)
                hits, extents, singles = [], [], []
                for deviation in DEVIATIONS.values():
                    rng = np.random.default_rng(seed)
                    for _ in range(count // len(DEVIATIONS)):
                        state = simulate(planned, LIMITS, surface, deviation, rng, fold_deviation=0.2).state
                        hits.append(state.surface is None or state.surface.contains(peak))
                        extents.append(state.extent)
                        singles.append(state.direction.single is not None)
                row[f"{folds} folds"] = share(hits)
                if folds == 3:
                    row |= {"area, 3 folds": f"{100 * np.mean(extents):.0f}", "single, 3 folds": share(singles)}
            yield row


def chances(count: int, seed: int) -> Iterator[dict[str, Any]]:
    """Yields whether candidates with a chance of less than 5 % are within the margin less often than that."""
    for name, quantiles in (
        ("normal", special.ndtri),
        ("crowded at the top", lambda u: np.log(u)),
        ("crowded at the bottom", lambda u: -np.log(u)),
        ("equal", lambda u: 0.0 * u),
    ):
        for candidates, folds in ((10, 3), (30, 2), (60, 2)):
            low, dropped, rng = [], [], np.random.default_rng(seed)
            for _ in range(count):
                means = 0.85 + 0.02 * np.clip(quantiles(rng.random(candidates)), -6, 6)
                values = World(candidates, folds, 0.85, 500, 0.01).draw(rng, means)
                found = np.array(list(chance_within(as_table(values), 0.01, bounded=True).values()))
                low += (means >= means.max() - 0.01)[found < 0.05].tolist()
                dropped.append(found[means.argmax()] < 0.05)
            yield {
                "true means": name,
                "candidates": candidates,
                "folds": folds,
                "chance below 5 %": f"{100 * len(low) / (count * candidates):.0f}",
                "of these within the margin": share(low),
                "best among these": share(dropped),
            }


GROWTHS: Mapping[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "images": ((0.25, 0.5, 1.0), (-0.1, -0.35, -0.6)),
    "macs": ((0.25, 0.5, 1.0), (0.05, -0.15, -0.35)),
    "epochs": ((1.0, 2.0), (0.2, 0.0, -0.2)),
}
"""What is forecast -> its values in the trainings, relative to those of the choice, and its exponents: the mean before
any training, and 1.3 standard deviations beside it."""


def forecasts(count: int, seed: int) -> Iterator[dict[str, Any]]:
    """Yields how often the interval of a gain from twice the images, multiply-adds or epochs contains the true one.

    That is the mean over the folds; the widths of the intervals are in points.
    """
    for variable, (values, exponents) in GROWTHS.items():
        for exponent in exponents:
            for deviation in (0.05, 0.2):
                row: dict[str, Any] = {"of": variable, "exponent": exponent, "deviation of a training": deviation}
                for folds, error, validated in ((3, 0.3, 200), (5, 0.3, 200), (5, 0.05, 50)):
                    hits, widths, rng = [], [], np.random.default_rng(seed)
                    for _ in range(count):
                        odds = special.logit(error) + 0.1 * rng.normal(size=folds)
                        found, measured = _fitted(rng, odds, variable, values, exponent, deviation, validated)
                        gain = found.gain(measured, **{variable: 2.0})
                        true = special.expit(odds) - special.expit(odds + exponent * np.log(2.0))
                        hits.append(inside(gain.low, float(true.mean()), gain.high))
                        widths.append(gain.high - gain.low)
                    name = f"{folds} folds, error {error:g} of {validated}"
                    row[name] = share(hits)
                    row[f"width, {name}"] = f"{100 * np.mean(widths):.1f}"
                yield row


def _fitted(
    rng: np.random.Generator,
    odds: Floats,
    variable: str,
    values: Sequence[float],
    exponent: float,
    deviation: float,
    validated: int,
) -> tuple[Growth, float]:
    """Returns a fit to trainings that differ in one variable, and the mean accuracy where it is 1.

    Args:
        odds: log odds of an error on each fold where the variable is 1.
        values: values of the variable.
        deviation: standard deviation of a training, in log odds.
        validated: validation images of a fold.
    """
    whole, rows, measured = Training(1000, 1e8, 0, 0.0, validated), [], []
    for value in values:
        for fold, each in enumerate(odds + exponent * np.log(value) + deviation * rng.normal(size=len(odds))):
            error = rng.binomial(validated, special.expit(each)) / validated
            now = type(getattr(whole, variable))(value * getattr(whole, variable))
            rows.append(dataclasses.replace(whole, fold=fold, error=error, **{variable: now}))
            measured += [1.0 - error] if value == 1.0 else []
    return fit(rows), float(np.mean(measured))


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description="Coverage of the intervals of searches and sweeps, in simulations.")
    parser.add_argument("--tables", type=int, default=1000, help="number of simulated experiments per row")
    parser.add_argument("--seed", type=int, default=0, help="seed of the simulations")
    arguments = parser.parse_args()
    count, seed = arguments.tables, arguments.seed
    print(tables.markdown([intervals(world, count, np.random.default_rng(seed)) for world in WORLDS]), flush=True)
    print(f"\n{tables.markdown(list(regions(count // 10, seed)))}", flush=True)
    print(f"\n{tables.markdown(list(chances(count // 10, seed)))}", flush=True)
    print(f"\n{tables.markdown(list(forecasts(count // 2, seed)))}")


if __name__ == "__main__":
    command_line.run(main)
