"""`python -m tfeff.search --config=FILE --workdir=DIR [--config.key=value ...]`: find scaling coefficients.

The same command goes on with a search that was stopped, and repeats no finished trial.
"""

import dataclasses
import shlex
import sys
from functools import partial
from pathlib import Path

from absl import flags

from tfeff import config, verbs


def define_flags() -> None:
    """Defines this verb's flags."""
    verbs.define_config()
    flags.DEFINE_string("workdir", None, "Where everything is written; see tfeff.scaling.report.", required=True)
    flags.DEFINE_bool("dry_run", False, "List the candidates and forecast the cost; train nothing but a few steps.")
    verbs.define_executor("Processes")
    flags.DEFINE_integer("processes", None, "Local trainings at once; one a core (or GPU) if not given.", lower_bound=1)
    flags.adopt_module_key_flags(verbs)


def main(argv: list[str]) -> None:
    """Runs the search of the flags."""
    given = flags.FLAGS
    verbs.check_executor("processes")
    search = config.override(config.load(given.config, config.Search), given.override)
    search = dataclasses.replace(search, experiment=config.settled(search.experiment))
    verbs.load_tensorflow()  # after the config: its mistakes are told at once
    from rich.console import Console

    from tfeff.durable import locked
    from tfeff.execution.local import LocalProcesses
    from tfeff.scaling import report
    from tfeff.scaling import search as scaling
    from tfeff.scaling.latency import Clock
    from tfeff.scaling.store import Store

    directory = Path(given.workdir)
    here = partial(LocalProcesses, given.processes, directory / "trials.log")
    with locked(directory), Store(directory / scaling.STORE, search) as store, verbs.executor(here) as processes:
        study = scaling.prepare(search, Clock(store, processes, lambda text: print(text, flush=True)))
        print(report.candidates(study, directory), flush=True)
        if given.dry_run:
            print(report.forecast(study, scaling.forecast(study, processes), processes.slots))
            return
        findings = scaling.run(study, directory, store, processes, Console())
        command = shlex.join(["python", "-m", "tfeff.search", *sys.argv[1:]])
        print(report.write_all(findings, store.records(), directory, command))


if __name__ == "__main__":
    define_flags()
    verbs.run(main)
