"""Measures what the choice of a budget search loses against the best network of an exhaustive search.

    python tools/measure_regret.py train --config=own_budget --workdir=DIR --macs=1x,0.5x,0.25x,0.12x \\
        data.source=folder:PHOTOS candidates.count=24
    python tools/measure_regret.py replay --workdir=DIR --out=DIR/results

`train` probes `candidates.count` networks within the bounds, also those to which a search would prefer larger ones,
and the baseline's network at the largest resolution within each bound. It trains them on all folds and on all training
images; a killed one resumes, also on another machine with a copy of WORKDIR/search.sqlite.

`replay` repeats searches with a part of that time on the stored trainings, by `regret_replay`, which says what no
search is charged for. The searches are `tfeff.search`; random search and Optuna's TPE with all folds for each network;
random search that trains all networks on one fold, then on the next; and the baseline's network at the largest
resolution within the bound. If `tfeff.search` takes longer, because it always makes one training, the others have as
much time. It writes OUT.json and OUT.md: the points of the test images, and of the mean over the folds, that each
choice loses against that of the exhaustive search, and the minutes that were spent, with the final training. OUT.png
shows the points of the test images.
"""

import argparse
import json
import time
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import command_line
import numpy as np

from tfeff import api, config
from tfeff.errors import UserError

SHARES = (0.0625, 0.125, 0.25, 0.5)
"""Time of a search, relative to the exhaustive one within the same bound."""
REPETITIONS = 100
"""Repetitions of searches that depend on chance."""


def main() -> None:
    """Trains, or replays."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["train", "replay"])
    parser.add_argument("--config", type=Path, help="A BudgetSearch (train).")
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--macs", default="1x,0.5x,0.25x,0.12x", help="Bounds of the multiply-adds, the largest first.")
    parser.add_argument("--processes", type=int, help="Trainings at once (train). Default: one per core.")
    parser.add_argument("--out", type=Path, help="Path of the results, without suffix (replay).")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="Of the config (train).")
    given = parser.parse_intermixed_args()
    if given.command == "train":
        if given.config is None:
            raise UserError("train needs --config=FILE")
        train(given.config, given.workdir, given.macs.split(","), given.overrides, given.processes)
    elif given.out is None:
        raise UserError("replay needs --out=PATH")
    else:
        replay(given.workdir, given.out)


@dataclass(frozen=True)
class Pool:
    """The networks that are trained.

    Attributes:
        study: the study of all these networks.
        within: bound -> ids of the networks that it allows.
        studies: bound -> the study of a search among these, which leaves those to others that are at least as wide,
            deep and large.
    """

    study: Any
    within: Mapping[str, Sequence[str]]
    studies: Mapping[str, Any]

    @classmethod
    def of(cls, settings: config.BudgetSearch, bounds: Sequence[str]) -> "Pool":
        """Chooses networks within the bounds of multiply-adds; the first bound is largest.

        Up to `candidates.count`, and the baseline's network within each bound, against which searches are compared.
        """
        from tfeff.budget.candidates import largest
        from tfeff.budget.limits import Bounds
        from tfeff.budget.study import Estimates, prepare
        from tfeff.config.budget import Amount

        class Exact:
            """An estimator without estimates of the exported form, to which no bound refers."""

            def estimated(self, networks: Sequence[Any], num_classes: int) -> Estimates:
                return Estimates([{} for _ in networks], [{} for _ in networks])

            def baseline(self, network: Any, num_classes: int) -> Mapping[str, float]:
                raise AssertionError

        unlimited = {f"budget.{key}": None for key in ("latency", "size", "params", "memory", "minutes")}
        # With a margin, smaller networks compete, too.
        margin = {"budget.macs": bounds[0], "objective.margin": 0.01}
        study = prepare(config.replaced(settings, unlimited | margin), Exact())
        within, studies = dict[str, Sequence[str]](), dict[str, Any]()
        unit = study.bounds.values["macs"] / Amount.parse(bounds[0], "macs").value
        limits = {bound: config.replaced(settings, {**unlimited, "budget.macs": bound}) for bound in bounds}
        own = {bound: Bounds(limited.budget, lambda measure: unit) for bound, limited in limits.items()}

        def allowed(bound: str, names: Iterable[str]) -> list[str]:
            return [name for name in names if own[bound].exceeded(study.costs[name]) is None]

        opponents = {study.unscaled(allowed(bound, study.networks)) for bound in bounds}
        study = replace(study, shortlist=[*study.shortlist, *sorted(opponents - {None, *study.shortlist})])
        for bound, limited in limits.items():
            within[bound] = allowed(bound, study.shortlist)
            if not within[bound]:
                raise UserError(f"--macs: none of {len(study.shortlist)} networks has at most {bound}; raise it")
            kept = largest([study.networks[name] for name in within[bound]])
            limited = config.replaced(
                limited, {"experiment.data.image_size": study.settings.experiment.data.image_size}
            )
            studies[bound] = replace(
                study, settings=limited, bounds=own[bound], fates={}, shortlist=[each.id for each in kept]
            )
        return cls(study, within, studies)


class Watched:
    """An executor that passes on each outcome, and how many seconds its call took."""

    def __init__(self, executor: Any, ended: Callable[[Any, float], None]) -> None:
        self.slots = executor.slots
        self._executor, self._ended, self._began = executor, ended, dict[Hashable, float]()

    def submit(self, key: Hashable, function: Any, *arguments: Any) -> None:
        """See `Executor`."""
        self._began[key] = time.monotonic()
        self._executor.submit(key, function, *arguments)

    def wait(self, timeout: float) -> list[Any]:
        """See `Executor`."""
        ended: list[Any] = self._executor.wait(timeout)
        for outcome in ended:
            self._ended(outcome, time.monotonic() - self._began.pop(outcome.key))
        return ended


def final(experiment: config.Experiment, workdir: str) -> tuple[float, float]:
    """Trains on all training images; runs in a worker. Returns the metric on the test images, and seconds."""
    from tfeff import training
    from tfeff.durable import write
    from tfeff.training.evaluation import evaluate_run
    from tfeff.trials import worker

    kept = Path(workdir) / "final.json"
    if not kept.is_file():
        began, quiet, before = time.monotonic(), training.Reporter(quiet=True), training.Workdir(workdir).rows()
        run = training.train(experiment, workdir, reporter=quiet, tensorboard=False)
        seconds = time.monotonic() - began + worker.resumed_seconds(before, run.rows())
        evaluated = evaluate_run(run, None, quiet)  # the test split, whatever its name
        key = "accuracy" if experiment.task.IS_CLASSIFIER else "mean_ap"
        write(kept, json.dumps([float(evaluated.evaluator.result(evaluated.report)[key]), seconds]))
    value, seconds = json.loads(kept.read_text())
    return value, seconds


def train(path: Path, workdir: Path, bounds: Sequence[str], overrides: Sequence[str], processes: int | None) -> None:
    """Probes and trains all networks of the pool."""
    from rich.console import Console

    from tfeff.budget import probing, race
    from tfeff.budget.search import open_store
    from tfeff.execution.executor import collect
    from tfeff.execution.local import LocalProcesses
    from tfeff.trials.runner import running

    settings, choices = config.complete(config.load_recipe(path, config.BudgetSearch), overrides)
    if choices:
        api.say_choices(settings.experiment.data.source, choices)
    if settings.objective.margin is not None:
        raise UserError("objective.margin: with a margin, a search chooses cheaper networks, whose loss is no regret")
    settings = config.replaced(settings, {"experiment.training.precision": "float32"})
    pool = Pool.of(settings, bounds)
    study, names = pool.study, list(pool.study.shortlist)
    counts = ", ".join(f"{len(pool.within[bound])} within {bound}" for bound in bounds)
    print(f"{len(names)} of {len(study.networks)} networks are trained: {counts}")
    workdir.mkdir(parents=True, exist_ok=True)
    with open_store(workdir, settings) as store, LocalProcesses(processes, workdir / "trials.log") as executor:
        store.write_fact("bounds", json.dumps(list(bounds)))
        store.write_fact("slots", str(executor.slots))
        with running(settings, study.fingerprint, study.objective, workdir, store, executor, Console()) as runner:
            candidates = {name: study.candidate(name, "float32") for name in names}
            if study.detects:
                train_all(runner, [study.candidate(name, "float32", race.SHORT) for name in names], first=True)
            else:
                trials = {
                    name: probing.trial_of(each, settings.folds)
                    for name, each in candidates.items()
                    if study.networks[name].start.kind != "scratch"
                }
                timed: Any = Watched(
                    executor, lambda outcome, seconds: store.write_fact(f"seconds {outcome.key}", str(seconds))
                )
                probing.run(
                    trials, store, timed, lambda name: True, lambda *_: None, 3, runner.check, runner.progress.say
                )
            train_all(runner, list(candidates.values()))
            calls = {
                name: (final, study.final(name, "float32"), str(workdir / "finals" / name))
                for name in names
                if store.fact(f"final of {name}") is None
            }
            runner.progress.say(f"{len(calls)} trainings on all training images")

            def keep(outcome: Any, seconds: float) -> None:
                if outcome.error is None:
                    store.write_fact(f"final of {outcome.key}", json.dumps(outcome.value))

            kept: Any = Watched(executor, keep)
            collect(kept, calls, runner.check)


def train_all(runner: Any, candidates: Sequence[Any], *, first: bool = False) -> None:
    """Trains candidates on all folds, or on the `first` one."""
    from tfeff.trials.allocation import Lengths

    lengths = Lengths({each.name: each.experiment.training.epochs for each in candidates})
    runner.run(candidates, lengths, f"{len(candidates)} networks", runner.folds.blocks[: 1 if first else None])


def recorded(store: Any, study: Any, names: Sequence[str]) -> Any:
    """Returns what `train` has stored, as `regret_replay.Recorded`."""
    from regret_replay import Recorded, Timed

    from tfeff.budget import probing
    from tfeff.trials.trial import result_row

    facts = {name: store.fact(f"probe {name}") for name in names}
    probes = dict[str, Timed]()
    for name, found in facts.items():
        if found is not None and probing.FAILURE not in json.loads(found):
            probes[name] = Timed(json.loads(found), float(store.fact(f"seconds {name}")))
    trainings, values = {}, dict[str, dict[int, float]]()
    steps = list[tuple[Any, Timed]]()
    for each in store.records():
        if each.state != "done":
            raise UserError(f"{each.job.candidate}, fold {each.job.fold}: {each.state}; rerun `measure_regret train`")
        found = {"rows": each.rows, "seconds": each.seconds, "peak_bytes": None}
        trainings[each.job] = Timed(found, each.seconds)
        if each.job.candidate in facts:
            candidate = study.candidate(each.job.candidate, "float32")
            value = study.objective.value(result_row(candidate.experiment.training, each.rows), candidate.macs)
            if each.job.candidate not in values:
                probed = probes.get(each.job.candidate)
                loading = 0.0 if probed is None else probed.value["loading"]
                steps.append((candidate.experiment.model, calibration(each, candidate, study.examples[0], loading)))
            values.setdefault(each.job.candidate, {})[each.job.fold] = value
    finals = {name: store.fact(f"final of {name}") for name in names}
    missing = [name for name, found in finals.items() if found is None]
    if missing:
        raise UserError(f"{store.path}: {len(missing)} final trainings are missing; rerun `measure_regret train`")
    return Recorded(
        probes,
        trainings,
        {name: Timed(*json.loads(found)) for name, found in finals.items()},
        values,
        int(store.fact("slots")),
        steps,
    )


def calibration(record: Any, candidate: Any, images: int, loading: float) -> Any:
    """Returns what `worker.calibrate` would have returned for a network, and taken, by one of its trainings.

    Args:
        images: number of training images.
        loading: seconds of the training until the network had its weights.
    """
    from regret_replay import Timed

    from tfeff.trials import worker

    seconds = [float(row["seconds"]) for row in record.rows]
    start, image = max(0.0, record.seconds - sum(seconds) - loading), float(np.median(seconds)) / images
    steps = worker.TIMED_STEPS * candidate.experiment.training.batch_size
    return Timed({"start": start, "image": image}, start + steps * image)


def replay(workdir: Path, out: Path) -> None:
    """Repeats searches on what is stored; writes the results."""
    from tfeff.budget.search import open_store
    from tfeff.durable import write
    from tfeff.reporting import figure, tables

    with open_store(workdir, None) as store:
        stored = store.fact("config")
        settings = config.from_json(stored, config.BudgetSearch, where=str(store.path))
        if settings.objective.margin is not None:
            raise UserError(
                "objective.margin: with a margin, a search chooses cheaper networks, whose loss is no regret; rerun "
                "`measure_regret train` without it"
            )
        pool = Pool.of(settings, json.loads(store.fact("bounds")))
        study, names = pool.study, list(pool.study.shortlist)
        found = recorded(store, study, names)
    rows = [row for bound, each in pool.studies.items() for row in replayed(bound, each, pool.within[bound], found)]
    summary = {
        "source": settings.experiment.data.source.rpartition("/")[2],
        "folds": settings.folds.count,
        "slots": found.slots,
        "networks": [
            {
                "name": name,
                "macs": study.networks[name].cost.macs,
                "test": found.finals[name].value,
                "folds": [found.values[name][fold] for fold in sorted(found.values[name])],
                "seconds": found.seconds(name),
            }
            for name in names
        ],
        "rows": rows,
    }
    write(out.with_suffix(".json"), json.dumps(summary, indent=1) + "\n")
    write(out.with_suffix(".md"), tables.markdown(rows) + "\n")
    figure.save_png(drawn(rows), out.with_suffix(".png"))
    print(tables.text(rows))


def replayed(bound: str, study: Any, names: Sequence[str], found: Any) -> list[dict[str, Any]]:
    """Returns the regret of each way to search among the networks within a bound, one row for each way and time."""
    import regret_replay

    folds = list(range(study.settings.folds.count))
    best, whole = found.best(names), sum(map(found.seconds, names))
    repetitions = range(REPETITIONS)
    turned = [folds[start:] + folds[:start] for start in folds] if not study.detects else [folds]
    rows = list[dict[str, Any]]()

    def add(way: str, share: float, choices: Sequence[tuple[str, float]]) -> None:
        test = [found.finals[best].value - found.finals[name].value for name, _ in choices]
        mean = [found.mean(best) - found.mean(name) for name, _ in choices]
        rows.append(
            {
                "bound": bound,
                "search": way,
                "time": share,
                "minutes": round(share * whole / 60, 1),
                "minutes spent": round(float(np.mean([spent for _, spent in choices])) / 60, 1),
                "regret on folds, points": round(100 * float(np.mean(mean)), 2),
                "largest": round(100 * max(mean), 2),
                "regret on test images, points": round(100 * float(np.mean(test)), 2),
            }
        )

    for share in SHARES:
        seconds = share * whole
        own = [regret_replay.search(study, found, seconds, each) for each in turned]
        add("tfeff.search", share, own)
        seconds = max(seconds, float(np.mean([spent for _, spent in own])))
        for way, by_fold in (("random", False), ("random, fold by fold", True)):
            chosen = [regret_replay.random_search(found, names, seconds, seed, by_fold=by_fold) for seed in repetitions]
            add(way, share, chosen)
        add("Optuna", share, [regret_replay.tpe(study, names, found, seconds, seed) for seed in repetitions])
    unscaled = study.unscaled(names)
    if unscaled is not None:
        add("baseline, smaller images", 0.0, [(unscaled, found.finals[unscaled].seconds)])
    return rows


def drawn(rows: Sequence[Mapping[str, Any]]) -> Any:
    """Returns the regret over the time, one panel for each bound."""
    from tfeff.reporting import figure

    bounds = list(dict.fromkeys(row["bound"] for row in rows))
    whole = figure.new(3.0 * len(bounds) + 0.6, 3.2)
    panels = whole.subplots(1, len(bounds), squeeze=False, sharey=True)[0]
    ways = list(dict.fromkeys(row["search"] for row in rows))
    for panel, bound in zip(panels, bounds, strict=True):
        for number, way in enumerate(ways):
            own = [row for row in rows if (row["bound"], row["search"]) == (bound, way)]
            values = [row["regret on test images, points"] for row in own]
            if own and own[0]["time"]:
                panel.plot([row["time"] for row in own], values, marker="o", color=f"C{number}", label=way)
            elif own:
                panel.axhline(values[0], color=f"C{number}", linestyle="--", label=way)
        panel.axhline(0.0, color="0.8", linewidth=1.0, zorder=0)  # a choice may beat the best one by chance
        panel.set_xscale("log", base=2)
        panel.set_xticks(SHARES, [f"1/{round(1 / share)}" for share in SHARES])
        panel.set_title(f"at most {bound} multiply-adds", fontsize=9)
        panel.set_xlabel("share of the exhaustive time", fontsize=8)
        figure.style(panel, grid="y")
    panels[0].set_ylabel("regret on test images, points")
    figure.legend_below(whole, panels[0].get_legend_handles_labels()[0], columns=4)
    return whole


if __name__ == "__main__":
    command_line.run(main)
