"""Checks forecasts of a budget search: what a quarter and half of the images say about all of them.

    python tools/check_forecasts.py --config=own_budget --workdir=DIR --out=DIR/results \\
        data.source=folder:PHOTOS candidates.count=10

Trains `candidates.count` networks, spread over all that the config allows, on parts of the training images of each fold
and on all of them; a killed one resumes. In the workdir of `measure_regret train`, whose networks are trained on all
images, `--networks=10` takes some of those. Then the power laws of `tfeff.search` (`tfeff.trials.growth`) are fitted to
the parts of each network alone, and forecast its mean accuracy on all images. Writes OUT.json and OUT.md: for each
network that accuracy, the forecast with its 80 % interval, and whether the accuracy lies in it.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import command_line
import numpy as np
from measure_regret import Pool

from tfeff import api, config
from tfeff.errors import UserError

CONFIDENCE = 0.8


def main() -> None:
    """Trains, and compares."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, required=True, help="A BudgetSearch.")
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="Path of the results, without suffix.")
    parser.add_argument("--networks", type=int, help="Take so many of the networks. Default: all.")
    parser.add_argument("--processes", type=int, help="Trainings at once. Default: one per core.")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="Of the config.")
    check(parser.parse_args())


def check(given: argparse.Namespace) -> None:
    """Trains what is missing, and writes the comparison."""
    from rich.console import Console

    from tfeff.budget.candidates import spread
    from tfeff.budget.prospects import PARTS
    from tfeff.budget.search import open_store
    from tfeff.durable import write
    from tfeff.execution.local import LocalProcesses
    from tfeff.reporting import tables
    from tfeff.trials.allocation import Lengths
    from tfeff.trials.results import by_fold
    from tfeff.trials.runner import running

    settings, choices = config.complete(config.load_recipe(given.config, config.BudgetSearch), given.overrides)
    if choices:
        api.say_choices(settings.experiment.data.source, choices)
    settings = config.replaced(settings, {"experiment.training.precision": "float32"})
    study = Pool.of(settings, ["1x"]).study
    if study.detects:
        raise UserError(f"{settings.experiment.data.source}: forecasts are checked for classifiers, not for detectors")
    listed = [study.networks[name] for name in study.shortlist]
    names = [each.id for each in spread(listed, given.networks or len(listed))]
    counts = {share: round(share * study.counted.count) for share in (*PARTS, 1.0)}
    candidates = {
        (name, share): study.candidate(name, "float32") if share == 1.0 else study.on_part(name, share, "float32")
        for name in names
        for share in counts
    }
    given.workdir.mkdir(parents=True, exist_ok=True)
    with (
        open_store(given.workdir, settings) as store,
        LocalProcesses(given.processes, given.workdir / "trials.log") as executor,
        running(settings, study.fingerprint, study.objective, given.workdir, store, executor, Console()) as runner,
    ):
        lengths = Lengths({each.name: each.experiment.training.epochs for each in candidates.values()})
        runner.run(list(candidates.values()), lengths, f"{len(candidates)} networks and parts", runner.folds.blocks)
        blocks = list(runner.folds.blocks)
        values = {
            key: by_fold(runner.results, each.experiment.training.epochs, [each.name], blocks)[each.name]
            for key, each in candidates.items()
        }
    require_complete(values, blocks)
    rows = [
        compared(
            study.networks[name].label,
            {counts[share]: [values[name, share][block] for block in blocks] for share in counts},
            round(study.validation_trials),
            folds=len(blocks),
        )
        for name in names
    ]
    write(given.out.with_suffix(".json"), json.dumps(rows, indent=1) + "\n")
    write(given.out.with_suffix(".md"), tables.markdown(rows) + "\n")
    print(tables.text(rows))
    print(f"{sum(row['inside'] for row in rows)} of {len(rows)} inside their {CONFIDENCE:.0%} intervals")


def require_complete(values: Mapping[tuple[str, float], Mapping[Any, float]], blocks: Sequence[Any]) -> None:
    """Checks that no training failed.

    Args:
        values: network and share of its images -> (fold, seed) -> accuracy.

    Raises:
        UserError: one did.
    """
    for (name, share), row in values.items():
        for fold, seed in blocks:
            if (fold, seed) not in row:
                raise UserError(
                    f"{name}, {share:g} of the images, fold {fold}: its training failed; see trials.log. If its "
                    "process was lost, rerun with a higher trials.attempts"
                )


def compared(name: str, accuracies: Mapping[int, Sequence[float]], validated: int, *, folds: int) -> dict[str, Any]:
    """Returns the accuracy on all images beside its forecast.

    Args:
        name: the network.
        accuracies: number of training images -> accuracy in each fold; the largest number is forecast from the others.
        validated: validation images of a fold.
        folds: their number.
    """
    from tfeff.trials.growth import Training, fit

    *parts, whole = sorted(accuracies)
    trainings = [
        Training(images, 1.0, fold, 1.0 - value, validated)
        for images in parts
        for fold, value in enumerate(accuracies[images])
    ]
    forecast = fit(trainings).forecast(images=whole / parts[-1], confidence=CONFIDENCE, validated=validated * folds)
    reached = float(np.mean(accuracies[whole]))
    return {
        "network": name,
        **{f"with {images:,} images": float(np.mean(accuracies[images])) for images in parts},
        f"with {whole:,} images": reached,
        "forecast": forecast.accuracy,
        "from": forecast.low,
        "up to": forecast.high,
        "inside": bool(forecast.low <= reached <= forecast.high),
    }


if __name__ == "__main__":
    command_line.run(main)
