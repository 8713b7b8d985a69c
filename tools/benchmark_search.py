"""A search against a naive one: `python tools/benchmark.py search --workdir=DIR [--config=FILE] [KEY=VALUE ...]`.

The naive search trains every candidate to its last epoch, one trial after the other in a single process that uses all
threads, and traces the graph of every trial. Both sides decode the images once per process. The two programs run one
after the other, in alternating order. Each round has its own seed (of weights, batches and folds), because the choice
between candidates that are not separable depends on it.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import keras

from tfeff import config, training
from tfeff.errors import UserError
from tfeff.reporting import tables
from tfeff.scaling.baseline import experiment
from tfeff.scaling.study import prepare
from tfeff.trials import worker
from tfeff.trials.trial import Trial

WITHOUT_MEMBERS = ("--config.members.phis=", "--config.members.ratios=", "--config.members.batch_norm=false")
"""Only the candidates are compared."""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Defines the flags."""
    parser.add_argument("--config", default="configs/digits_search.py", help="Config of the search.")
    parser.add_argument("--workdir", required=True, help="Empty directory for both sides.")
    parser.add_argument("--rounds", type=int, default=3, help="Rounds, each with its own seed.")
    parser.add_argument("--processes", type=int, help="Processes of our search; default one per core.")
    parser.add_argument("override", nargs="*", help="KEY=VALUE, like --config.KEY=VALUE of tfeff.search.")


def add_naive_flags(parser: argparse.ArgumentParser) -> None:
    """Defines the flags of the naive side."""
    parser.add_argument("config")
    parser.add_argument("workdir")
    parser.add_argument("override", nargs="*")


def run(arguments: argparse.Namespace) -> None:
    """Compares complete searches to naive ones, which train every candidate to the end in a single process."""
    if arguments.rounds < 1:
        raise UserError(f"--rounds={arguments.rounds}: must be at least 1")
    if Path(arguments.workdir).exists() and any(Path(arguments.workdir).iterdir()):
        raise UserError(f"--workdir={arguments.workdir}: not empty; a search that resumes would take less time")
    rows = []
    for number in range(arguments.rounds):
        directory = Path(arguments.workdir) / str(number)
        overrides = ["choice=mean", *arguments.override, f"experiment.seed={number}"]
        flags = [f"--config.{override}" for override in overrides]
        if arguments.processes:
            flags.append(f"--processes={arguments.processes}")
        ours = [sys.executable, "-m", "tfeff.search", f"--config={arguments.config}", *WITHOUT_MEMBERS, *flags]
        naive = [sys.executable, str(Path(__file__).with_name("benchmark.py")), "naive-search", arguments.config]
        commands = [
            ("ours", [*ours, f"--workdir={directory / 'ours'}"]),
            ("naive", [*naive, str(directory / "naive"), *overrides]),
        ]
        seconds = {}
        for side, command in commands if number % 2 == 0 else reversed(commands):
            began = time.perf_counter()
            subprocess.run(command, check=True)
            seconds[side] = time.perf_counter() - began
        results = (json.loads((directory / side / "result.json").read_text()) for side in ("ours", "naive"))
        rows.append(compared(*results) | {"naive, s": seconds["naive"], "ours, s": seconds["ours"]})
    print(f"{tables.markdown(rows)}\n\n{conclusion(rows)}")


def compared(ours: dict[str, Any], naive: dict[str, list[float]]) -> dict[str, Any]:
    """Returns the winners of both sides.

    Args:
        ours: `result.json` of the search.
        naive: candidate -> values of the objective on the folds.
    """
    means = {name: statistics.fmean(values) for name, values in naive.items()}
    winner = max(means, key=lambda name: means[name])
    candidates = {row["id"]: row for row in ours["candidates"]}
    best = candidates[ours["best"]]
    return {
        "our best": best["label"],
        "95 % interval": f"{best['low']:.3f} to {best['high']:.3f}",
        "naive best": candidates[winner]["label"],
        "mean": means[winner],
        "same winner": winner == ours["best"],
        # What choosing our winner costs, in the values of the complete trainings.
        "mean of our best there": means[ours["best"]],
        "naive best's standing in our search": candidates[winner]["standing"],
    }


def conclusion(rows: list[dict[str, Any]]) -> str:
    """Returns the speedup over all rounds, and in how many of them both sides chose the same network."""
    speedups = [row["naive, s"] / row["ours, s"] for row in rows]
    loss = [row["mean"] - row["mean of our best there"] for row in rows]
    return (
        f"speedup: median {statistics.median(speedups):.2f} ({min(speedups):.2f} to {max(speedups):.2f} in {len(rows)} "
        f"rounds); the same winner in {sum(row['same winner'] for row in rows)} of {len(rows)}; the mean of our winner "
        f"is lower by at most {max(loss):.4f}"
    )


def naive_search(arguments: argparse.Namespace) -> None:
    """Trains every trial in this process, tracing the graph each time (used by `search`)."""
    search = config.override(config.load(arguments.config, config.Search), arguments.override)
    study = prepare(search)
    directory = Path(arguments.workdir)
    result: dict[str, list[float]] = {}
    for network in study.chosen:
        for fold, seed in search.folds.blocks:
            trial = Trial(experiment(search, study.baseline, network)).on_fold(search.folds, fold, seed)
            keras.backend.clear_session()
            workdir = training.train(
                trial.experiment,
                directory / network.id / f"{fold}-{seed}",
                caches=worker.split_caches(trial),
                reporter=training.Reporter(quiet=True),
                tensorboard=False,
            )
            value = study.objective.value(workdir.rows()[-1], network.cost.macs)
            result.setdefault(network.id, []).append(value)
            print(f"naive: {network.label}, fold {fold}: {value:.4f}", flush=True)
    (directory / "result.json").write_text(json.dumps(result))
