"""`python -m tfeff.search --config=CONFIG --workdir=DIR [--config.key=value ...]`: find a network, or settings.

The config is a `BudgetSearch` for the best network within a budget, a `Search` for scaling coefficients, or a `Sweep`
over other settings. Rerun the same command to resume; finished trials are not repeated.
"""

import dataclasses
import shlex
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from tfeff import api, cli, config
from tfeff.data.images.unreadable import FOLDER
from tfeff.errors import UserError
from tfeff.execution.startup import load_tensorflow
from tfeff.reporting.terminal import say

if TYPE_CHECKING:
    from tfeff.budget.labels import ToLabel
    from tfeff.execution.executor import Executor
    from tfeff.trials.tracking import SearchMirror

    Tracking = Callable[[], SearchMirror]


def define_flags() -> None:
    """Defines this verb's flags."""
    cli.define_config()
    flags.DEFINE_string(
        "workdir",
        None,
        "Output directory: report.html, result.json, search.sqlite and, of a budget search, the trained run best/.",
        required=True,
    )
    flags.DEFINE_bool(
        "dry_run",
        False,
        "List the candidates. For a Search or a Sweep, also time a few training steps, and forecast duration and "
        "outcome.",
    )
    flags.DEFINE_list("track", [], "Also send choice, candidates and report to these trackers: mlflow, wandb.")
    cli.define_executor("Processes")
    flags.DEFINE_integer("processes", None, "Number of local processes; default: one per core or GPU.", lower_bound=1)


def main(argv: list[str]) -> None:
    """Runs the search or the sweep that the flags configure."""
    options = flags.FLAGS
    cli.check_executor("processes")
    if options.dry_run:
        cli.refuse("track", "--dry_run")
    kinds: tuple[type[config.Search | config.Sweep | config.BudgetSearch], ...]
    kinds = config.Search, config.Sweep, config.BudgetSearch
    settings: config.Search | config.Sweep | config.BudgetSearch
    settings, choices = config.complete(config.load_recipe(options.config, *kinds), options.override)
    if choices:
        api.say_choices(settings.experiment.data.source, choices)
    settings = dataclasses.replace(settings, experiment=config.resolve_member(settings.experiment))
    load_tensorflow()  # after the config, to report config errors immediately

    from tfeff.durable import locked
    from tfeff.execution.local import LocalProcesses
    from tfeff.training import check_trackers
    from tfeff.trials.tracking import SearchMirror

    check_trackers(options.track)

    directory = Path(options.workdir)
    local = partial(LocalProcesses, options.processes, directory / "trials.log")
    tracking = partial(SearchMirror, directory, options.track, settings)
    with locked(directory), cli.executor(local) as processes:
        own = config.SWEEP_FILE if isinstance(settings, config.Sweep) else config.SEARCH_FILE
        config.refuse_other_results(directory, own)
        if isinstance(settings, config.BudgetSearch):
            _best(settings, directory, processes, tracking)
        elif isinstance(settings, config.Search):
            _search(settings, directory, processes, tracking)
        else:
            _sweep(settings, directory, processes, tracking)


def _best(settings: config.BudgetSearch, directory: Path, processes: "Executor", tracking: "Tracking") -> None:
    from rich.console import Console

    from tfeff.budget import report
    from tfeff.budget.answer import to_label
    from tfeff.budget.exported import Exports
    from tfeff.budget.search import Stopped, image_size, open_store, run, watch
    from tfeff.budget.study import prepare
    from tfeff.data.contents import text

    with open_store(directory, settings) as store:
        clock = watch(store)
        exports = Exports(settings, store, directory / "trials.log", say, clock)
        study = prepare(settings, exports, directory / FOLDER, image_size(store))
        say(f"{text(study.found)}\n{report.shortlist(study)}")
        if flags.FLAGS.dry_run:
            return
        with tracking() as mirror:
            try:
                findings = run(study, directory, store, processes, Console(), exports, clock)
            except Stopped as stop:
                command = _command(f"--config.budget.minutes={stop.minutes:g}")
                say(f"best so far: {stop.best}; to train and export it now:\n{command}", error=True)
                raise
            say(report.write_all(findings, directory, _command()))
            # Last, because it can take long; the report is complete without it.
            listed = _to_label(settings, findings.delivered.workdir)
            if listed is not None:
                findings = dataclasses.replace(findings, to_label=listed)
                report.write_all(findings, directory, _command())
                say(to_label(findings))
            mirror.finish()


def _to_label(settings: config.BudgetSearch, workdir: Path) -> "ToLabel | None":
    """Lists the images without labels that would teach the choice most; None if there are no such images."""
    from tfeff.analysis import labeling
    from tfeff.budget.labels import ToLabel

    folder = settings.experiment.data.unlabeled
    if folder is None:
        return None
    try:
        found = labeling.write(
            workdir,
            folder.removeprefix("folder:"),
            workdir / cli.ANALYSIS,
            cli.LABELED,
            where="config: data.unlabeled",
        )
    except UserError as error:  # the search has succeeded without it
        say(f"images to label next are not listed: {error}")
        return None
    return ToLabel(folder, found.images, len(found.rows), found.table)


def _search(settings: config.Search, directory: Path, processes: "Executor", tracking: "Tracking") -> None:
    from rich.console import Console

    from tfeff.data.contents import text
    from tfeff.scaling import report
    from tfeff.scaling.forecast import forecast
    from tfeff.scaling.latency import Clock
    from tfeff.scaling.search import open_store, run
    from tfeff.scaling.study import prepare

    with open_store(directory, settings) as store:
        study = prepare(settings, Clock(store, processes, say), directory / FOLDER)
        dry_run = flags.FLAGS.dry_run
        # A dry run leaves the files of a finished search as they are.
        target = None if dry_run and (directory / "result.json").exists() else directory
        say(f"{text(study.found)}\n{report.candidates(study, target)}")
        if dry_run:
            say(report.forecast(study, forecast(study, store, processes), processes.slots))
            return
        with tracking() as mirror:
            findings = run(study, directory, store, processes, Console())
            say(report.write_all(findings, store.records(), directory, _command()))
            mirror.finish()


def _sweep(settings: config.Sweep, directory: Path, processes: "Executor", tracking: "Tracking") -> None:
    from rich.console import Console

    from tfeff.data.contents import text
    from tfeff.sweep import report
    from tfeff.sweep.study import forecast, open_store, prepare, run

    with open_store(directory, settings) as store:
        study = prepare(settings, directory / FOLDER)
        say(f"{text(study.found)}\n{report.candidates(study)}")
        if flags.FLAGS.dry_run:
            say(report.forecast(study, forecast(study, processes), processes.slots))
            return
        with tracking() as mirror:
            findings = run(study, directory, store, processes, Console())
            say(report.write_all(findings, store.records(), directory, _command()))
            mirror.finish()


def _command(flag: str = "") -> str:
    """Returns the command line of this process, for reports; with a flag of the form --name=value added or replaced."""
    name, _, _ = flag.partition("=")
    given = [each for each in sys.argv[1:] if not flag or not each.startswith(f"{name}=")]
    return shlex.join(["python", "-m", "tfeff.search", *given, *([flag] if flag else [])])


if __name__ == "__main__":
    define_flags()
    cli.run(main)
