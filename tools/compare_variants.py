"""Trains variants of an experiment with several seeds, and compares their test scores.

    python tools/compare_variants.py --config=hymenoptera_transfer --workdir=DIR --out=runs/NAME \\
        [--variants=CONFIG] [--seeds=5] [--only=NAME ...] [key=value ...]

`{seed}` in `data.source` stands for the number of the seed: `data.source=voc:folds/{seed}` gives each its own fold.

The config defines, beside `get_config()`, `VARIANTS`: name -> overrides of the config as `key=value`; and `REFERENCE`,
the name of the variant that the others are compared with; `--variants` takes both from another config. Writes OUT.json
(as `tools/summarize_runs.py` does, with the paired differences and the time of a prediction) and OUT.png, both with
every finished run of WORKDIR and those that OUT.json already has; `tools/write_results.py` writes them into documents.

Rerun the same command to resume. This also works on another machine: runs of OUT.json are not repeated, and the times
of predictions are kept. Give more seeds to add some; with `--only`, to a few variants. `--seeds=0` reports what is
finished.
"""

import argparse
import dataclasses
import json
import re
import runpy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import command_line
import numpy as np
from summarize_runs import combined, settings, summarize
from whole_run import train_and_evaluate
from write_results import variants as variants_table

from tfeff import config, training
from tfeff.config import shipped
from tfeff.durable import write
from tfeff.errors import UserError, nearest
from tfeff.execution.executor import collect
from tfeff.execution.local import LocalProcesses
from tfeff.reporting import figure
from tfeff.reporting.sweep import ranking_figure
from tfeff.reporting.tables import unit_of
from tfeff.training import checks
from tfeff.training.latency import latencies
from tfeff.trials.intervals import paired_difference
from tfeff.trials.ranking import rank


def main() -> None:
    """Runs the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, help="Name or file of a config with VARIANTS and REFERENCE.")
    parser.add_argument("--variants", help="Name or file of the config whose VARIANTS and REFERENCE are used.")
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="Path of the results, without suffix.")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", action="append", help="Train only these variants and the reference.")
    parser.add_argument("--processes", type=int)
    parser.add_argument("override", nargs="*", help="key=value, of all variants, before their own.")
    run(parser.parse_args())


def run(arguments: argparse.Namespace) -> None:
    """Trains what is missing, and reports every finished run."""
    base = config.override(config.load(arguments.config, config.Experiment), arguments.override)
    defined, reference = variants_of(arguments.variants or arguments.config)
    unknown = set(arguments.only or ()) - defined.keys()
    if unknown:
        raise UserError(f"--only={min(unknown)}: no such variant; there are {', '.join(defined)}")
    variants = {name: config.override(base, overrides) for name, overrides in defined.items()}
    trained = {*arguments.only, reference} if arguments.only else variants.keys()
    results = arguments.out.with_suffix(".json")
    known = known_runs(results, variants)
    arguments.workdir.mkdir(parents=True, exist_ok=True)
    folders = {name: arguments.workdir / re.sub(r"[^\w.-]+", "_", name) for name in variants}
    runs = {
        f"{name}, seed {seed}": (
            train_and_evaluate,
            of_seed(experiment, seed),
            str(folders[name] / str(seed)),
        )
        for seed in range(arguments.seeds)
        for name, experiment in variants.items()
        if name in trained and str(seed) not in known.get(name, {}).get("runs", ())
    }
    untrained = sum(not Path(folder, "result.json").is_file() for *_, folder in runs.values())
    for name in {label.rpartition(", seed ")[0] for label in runs}:  # rather than after hours of training others
        try:
            checks.check(training.Plan.of(of_seed(variants[name], 0)), 1, new_run=True)
        except UserError as error:
            raise UserError(f"{name}: {error}") from error
    with LocalProcesses(arguments.processes, arguments.workdir / "trainings.log") as processes:
        collect(processes, runs)
    finished = {name: finished_runs(folder, variants[name]) for name, folder in folders.items()}
    new = {name: summarize(runs) for name, runs in finished.items() if runs}
    together = new.keys() >= known.keys()
    if new and together:
        networks = [training.trained_model(training.Workdir(finished[name][0])) for name in new]
        for group, seconds in zip(new.values(), np.median(latencies(*networks), axis=0), strict=True):
            group["prediction_seconds"] = round(float(seconds), 5)
    both = {name: combined(known[name], new[name]) for name in known.keys() & new.keys()}
    merged = {**known, **new, **both}
    groups = {name: merged[name] for name in variants if name in merged}
    if reference not in groups:
        raise UserError(f'"{reference}", which the others are compared with, has no finished run; train at least one')
    if not together and groups.keys() - known.keys():  # predictions of some were not timed together with the others
        for group in groups.values():
            group.pop("prediction_seconds", None)
    compare(groups, reference)
    result = {"reference": reference, "variants": groups}
    write(results, json.dumps(result, indent=1) + "\n")
    score = next(iter(groups[reference]["scores"]))
    drawing = ranking_figure(drawn(groups, score), metric=score, unit=unit_of(score))
    figure.save_png(drawing, arguments.out.with_suffix(".png"))
    all_runs, own = (sum(len(group["runs"]) for group in each.values()) for each in (groups, new))
    print(f"{all_runs - own} runs of {results}, {own} of {arguments.workdir}, {untrained} of these trained now\n")
    print(variants_table(result))


def variants_of(file: str) -> tuple[Mapping[str, Sequence[str]], str]:
    """Returns the variants that a config defines, with their overrides, and the name of the reference.

    Raises:
        UserError: the config does not define them.
    """
    defined = runpy.run_path(str(shipped.find(file)))
    for name in ("VARIANTS", "REFERENCE"):
        if name not in defined:
            raise UserError(f"{file}: no {name}; define VARIANTS (name -> overrides) and REFERENCE (one of the names)")
    variants, reference = defined["VARIANTS"], defined["REFERENCE"]
    if reference not in variants:
        raise UserError(f'{file}: REFERENCE is "{reference}"; {nearest(reference, variants)}')
    return variants, reference


def known_runs(file: Path, variants: Mapping[str, config.Experiment]) -> dict[str, dict[str, Any]]:
    """Returns the summaries of variants that a file of results has; none if there is no such file.

    Raises:
        UserError: runs in it have other settings than their variant, or are of no variant.
    """
    if not file.is_file():
        return {}
    stored = command_line.stored(file, "variants")["variants"]
    for name in stored:
        if name not in variants:
            raise UserError(f'{file} has runs of "{name}", which the config no longer defines; use another --out')
        now, then = settings(variants[name]), stored[name]["settings"]
        of_seeds = {"seed", "data.source"} if "{seed}" in variants[name].data.source else {"seed"}
        changed = sorted(key for key in (now.keys() | then.keys()) - of_seeds if now.get(key) != then.get(key))
        if changed:
            raise UserError(f"{file}: the runs of {name} differ in {', '.join(changed)}; use another --out")
    return dict(stored)


def finished_runs(folder: Path, variant: config.Experiment) -> list[Path]:
    """Returns the workdirs of a variant's finished runs, in the order of their seeds.

    Raises:
        UserError: a run has other settings than the variant.
    """
    runs = {int(path.parent.name): path.parent for path in folder.glob("*/result.json") if path.parent.name.isdigit()}
    for seed, run in runs.items():
        trained = config.load(run / config.RUN_FILE, config.Experiment)
        changed = [key for key, *_ in config.differences(of_seed(variant, seed), trained)]
        if changed:
            raise UserError(f"{run}: this run differs in {', '.join(changed)}; use another --workdir, or delete it")
    return [runs[seed] for seed in sorted(runs)]


def of_seed(variant: config.Experiment, seed: int) -> config.Experiment:
    """Returns the experiment of one seed."""
    data = dataclasses.replace(variant.data, source=variant.data.source.replace("{seed}", str(seed)))
    return dataclasses.replace(variant, seed=seed, data=data)


def compare(groups: Mapping[str, dict[str, Any]], reference: str) -> None:
    """Adds to each variant its differences from the reference, paired over the seeds that both have."""
    for name, group in groups.items():
        group.pop("minus_reference", None)  # of what was published: the reference may be another one now
        if name == reference:
            continue
        added = group["minus_reference"] = {}
        if not set(group["runs"]) & set(groups[reference]["runs"]):
            continue
        for score in group["scores"]:
            values = by_seed(group, score), by_seed(groups[reference], score)
            difference = paired_difference(*values, bounded=True)
            interval = None if difference.low is None else [difference.low, difference.high]
            added[score] = {"mean": difference.mean, "interval": interval}


def by_seed(group: Mapping[str, Any], score: str) -> dict[tuple[int, int], float]:
    """Returns the scores of a variant's runs."""
    return {(int(run), 0): value for run, value in zip(group["runs"], group["scores"][score]["runs"], strict=True)}


def drawn(groups: Mapping[str, Mapping[str, Any]], score: str) -> list[dict[str, Any]]:
    """Returns the rows of the figure, the best first."""
    table = {name: by_seed(group, score) for name, group in groups.items()}
    ranking = rank(table, dict.fromkeys(table, 1.0), bounded=True)
    rows = []
    for name in ranking.order:
        low, high = groups[name]["scores"][score]["interval"] or (None, None)
        rows.append(
            {
                "label": name,
                "mean": ranking.summaries[name].mean,
                "low": low,
                "high": high,
                "values": list(table[name].values()),
                "standing": ranking.standing(name, has_values=True),
            }
        )
    return rows


if __name__ == "__main__":
    command_line.run(main)
