"""Compares sweeps over the same keys and folds that differ in sampler or allocation.

    python tools/compare_sweeps.py grid=runs/grid halving=runs/halving bayesian=runs/bayesian --out=runs/NAME

Each argument is a name and the workdir of a finished `tfeff.search` of a `Sweep`; the first one is the reference. All
need the same `folds` of the same images.
Writes OUT.json and OUT.png: the training that each sweep took, and how its best candidate compares with that of
the reference, paired over the folds.
"""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import command_line

from tfeff.durable import write
from tfeff.errors import UserError
from tfeff.reporting import figure, tables
from tfeff.reporting.sweep import cost_figure
from tfeff.reporting.tables import unit_of
from tfeff.trials.intervals import paired_difference
from tfeff.trials.proportions import is_proportion


def main() -> None:
    """Compares the sweeps that the flags name."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sweeps", nargs="+", metavar="NAME=DIR")
    parser.add_argument("--out", type=Path, required=True, help="Path of the results, without suffix.")
    arguments = parser.parse_args()
    results = dict[str, dict[str, Any]]()
    for argument in arguments.sweeps:
        name, _, directory = argument.partition("=")
        path = Path(directory) / "result.json"
        if not path.is_file():
            raise UserError(f"{argument}: write NAME=DIR, where DIR/result.json is the result of a finished sweep")
        if name in results:
            raise UserError(f"{argument}: another sweep is named {name}, too")
        results[name] = json.loads(path.read_text())
        if "folds" not in results[name]:
            raise UserError(f"{argument}: not a sweep, or one of an earlier version; rerun its command to update it")
    require_same(results)
    rows = compare(results)
    kept = ("sampler", "allocation", "sentence", "tied", "epochs", "seconds_of_trials", "cost_curve")
    numbers = {
        row["sweep"]: row | {key: results[row["sweep"]][key] for key in kept} | {"best": best(results[row["sweep"]])}
        for row in rows
    }
    write(arguments.out.with_suffix(".json"), json.dumps(numbers, indent=1) + "\n")
    metric = next(iter(results.values()))["objective"]
    curves = {name: result["cost_curve"] for name, result in results.items()}
    drawn = cost_figure(curves, metric=metric, unit=unit_of(metric))
    figure.save_png(drawn, arguments.out.with_suffix(".png"))
    print(tables.text(rows))


def require_same(results: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuses sweeps whose trials cannot be compared.

    Args:
        results: name -> contents of result.json.

    Raises:
        UserError: they differ in the objective, the images or the folds.
    """
    (first, reference), *others = results.items()
    for name, result in others:
        for key in ("objective", "source", "seed", "folds"):
            if result[key] != reference[key]:
                raise UserError(f"{first} and {name} cannot be compared: {key} is {reference[key]}, and {result[key]}")


def best(result: dict[str, Any]) -> dict[str, Any]:
    """Returns the row of the best candidate of a sweep."""
    return next(dict(row) for row in result["candidates"] if row["name"] == result["best"])


def compare(results: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns a row per sweep; the first is the reference.

    Args:
        results: name -> contents of result.json.
    """
    reference = next(iter(results.values()))
    rows = []
    for name, result in results.items():
        own, theirs = best(result), best(reference)
        difference = paired_difference(
            *(
                {(fold, 0): value for fold, value in zip(each["folds"], each["values"], strict=True)}
                for each in (own, theirs)
            ),
            bounded=is_proportion(result["objective"]),
        )
        rows.append(
            {
                "sweep": name,
                "candidates": len(result["candidates"]),
                "epochs": result["epochs"],
                "of the reference": tables.percent(result["epochs"] / reference["epochs"]),
                "best": own["label"],
                result["objective"]: own["mean"],
                "minus the reference": difference.mean,
                "95 % from": difference.low,
                "to": difference.high,
            }
        )
    return rows


if __name__ == "__main__":
    command_line.run(main)
