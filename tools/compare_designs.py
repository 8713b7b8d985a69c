"""Simulates searches for the best direction on surfaces fitted to real results, by even candidates and by the design.

python tools/compare_designs.py docs/results/cifar10_search.json docs/results/cifar10_search_upsampled.json

The even candidates are 21 directions at φ = 1, each trained on four folds; the surface is fitted to their means. The
design of `choice=surface` gets the same time. Each training takes half a unit to start and 2^φ units. A result at one φ
alone does not show how slopes change with the cost; they are taken as constant in the logarithms of depth, width and
resolution.
"""

import argparse
import json
import math
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before NumPy: the matrices are small

import command_line
import numpy as np
import numpy.typing as npt

from tfeff.networks.scaling import DIMENSIONS, cost_shares
from tfeff.reporting import tables
from tfeff.trials.design import Limits, Place, Planner, simulate
from tfeff.trials.surface import (
    DIRECTION,
    OTHER,
    OTHER_DEVIATION,
    Data,
    Training,
    best_directions,
    fit_surface,
    lattice,
    terms,
    to_surface_scale,
)

Floats = npt.NDArray[np.float64]
TOP, FOLDS, START = 3.0, 4, 0.5
EVEN, CHOICE = 5, 8
"""Cells along a side of the lattices of even candidates and of the networks to choose from."""
VALIDATED = 3000


def trainings(result: dict[str, Any]) -> list[Training]:
    """Returns all trainings of a result, on φ with 2^φ times the baseline's multiply-adds."""
    found = []
    for row in (*result.get("candidates", ()), *result["members"]):
        if "depth" in row:
            factors, ratio = [row[each] for each in DIMENSIONS], row["ratio"]
        else:
            factors, ratio = [float(part) for part in row["label"].split()[1::2]], row["relative_macs"]
        a, b, c = cost_shares(factors).tolist()
        for fold, value in zip(row["folds"], row["values"], strict=True):
            scaled = to_surface_scale(value, bounded=True, count=VALIDATED)
            found.append(Training((a, b, c), math.log2(ratio), fold, scaled))
    return found


def fitted(found: list[Training], center: Floats) -> tuple[Floats, float, float]:
    """Returns the coefficients of the surface at φ = TOP through trainings, and standard deviations.

    These are of a training of one network on different folds, and of the networks around the surface.
    """
    top = max(each.phi for each in found)
    data = Data.of(found, center, top, 1 + max(each.fold for each in found))
    penalty = np.zeros(data.design.shape[1])
    penalty[DIRECTION : DIRECTION + OTHER] = OTHER_DEVIATION**-2.0
    coefficients = np.linalg.solve(data.design.T @ data.design + np.diag(penalty), data.design.T @ data.values)
    residuals = data.values - data.design @ coefficients
    networks = [(each.shares, each.phi) for each in found]
    means = {network: np.mean(residuals[[each == network for each in networks]]) for network in set(networks)}
    folds = data.folds
    within = np.array([residual - means[network] for residual, network in zip(residuals, networks, strict=True)])
    noise = float(within @ within) / ((len(means) - 1) * (folds - 1))
    between = float(np.square(list(means.values())).sum()) / (
        len(means) - np.linalg.matrix_rank(data.design) + folds - 1
    )
    misfit = math.sqrt(max(0.0, between - noise / folds))
    scale = TOP / top
    slope, curvature, later = coefficients[:2], coefficients[2:5], coefficients[DIRECTION + 2 : DIRECTION + 4]
    varied = len({round(each.phi) for each in found if each.phi > 0.5}) > 1
    linear_part = later if varied else slope  # of the slope at `top`, the part that grows with φ, not with its square
    at_top = scale * linear_part + scale**2 * (slope - linear_part)
    others = np.concatenate([coefficients[DIRECTION : DIRECTION + 2], scale * linear_part])
    return np.concatenate([at_top, scale**2 * curvature, others]), math.sqrt(noise), misfit


def at_first(coefficients: Floats, center: Floats) -> Floats:
    """Returns the coefficients of the same surface relative to φ = 1 as the largest one."""
    directions = np.concatenate([lattice(4)[0]] * 2)
    phis = np.repeat([1.0, 0.5], len(directions) // 2)
    values = terms(directions, phis, center, TOP) @ coefficients
    design = np.concatenate([terms(directions, phis, center, 1.0), np.ones((len(phis), 1))], axis=1)
    return np.asarray(np.linalg.lstsq(design, values, rcond=None)[0][: DIRECTION + OTHER])


def compare(path: Path, count: int) -> dict[str, Any]:
    """Returns the areas of the regions on the surface of one result."""
    result = json.loads(path.read_text())
    center = cost_shares(result["config"].get("reference", (1.2, 1.1, 1.15)))
    coefficients, noise, misfit = fitted(trainings(result), center)
    first = at_first(coefficients, center)
    even = [(a, b, c) for a, b, c in lattice(EVEN)[0].tolist()]
    seconds = len(even) * FOLDS * (START + 2.0)
    places = [
        Place((a, b, c), phi + away, START + 2.0 ** (phi + away))
        for phi in (1.0, 2.0, 3.0)
        for away in (-0.03, 0.0, 0.03)
        for a, b, c in lattice(CHOICE)[0].tolist()
    ]
    planner = Planner(places, center, TOP, FOLDS)
    old, new, spent = [], [], []
    for seed in range(count):
        rng = np.random.default_rng(seed)
        expected = terms(even, np.ones(len(even)), center, 1.0) @ first
        deviation = math.hypot(noise / math.sqrt(FOLDS), misfit)  # of a candidate's mean over the folds
        rows = [
            Training(direction, 1.0, 0, float(value + rng.normal(0.0, deviation)))
            for direction, value in zip(even, expected, strict=True)
        ]
        old.append(fit_surface(Data.of(rows, center, 1.0, 1)).extent)
        found = simulate(planner, Limits(0.0, 1000, seconds), coefficients, math.hypot(noise, misfit), rng)
        new.append(found.state.extent)
        spent.append(len(found.chosen))
    best = best_directions(coefficients[None, :DIRECTION], center)[0]
    return {
        "surface of": path.stem,
        "best direction at φ = 3 (depth, width, resolution)": ", ".join(f"{share:.2f}" for share in best),
        "deviation of a training, log odds": f"{noise:.3f}",
        "of a network from the surface": f"{misfit:.3f}",
        "trainings, even": len(even) * FOLDS,
        "design, median": round(float(np.median(spent))),
        "mean region, even": f"{100 * np.mean(old):.0f} %",
        "mean region, design": f"{100 * np.mean(new):.0f} %",
    }


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description="Regions of even candidates and of the design, at the same time.")
    parser.add_argument("results", nargs="+", type=Path, help="result.json of searches")
    parser.add_argument("--searches", type=int, default=50, help="number of simulated searches per result")
    arguments = parser.parse_args()
    print(tables.markdown([compare(path, arguments.searches) for path in arguments.results]))


if __name__ == "__main__":
    command_line.run(main)
