"""`python -m tfeff.search --config=FILE --workdir=DIR [--config.key=value ...]`: find scaling coefficients.

The same command goes on with a search that was stopped, and repeats no finished trial.
"""

import dataclasses
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from tfeff import config, verbs
from tfeff.errors import UserError

if TYPE_CHECKING:
    from tfeff.execution.executor import Executor


def define_flags() -> None:
    """Defines this verb's flags."""
    verbs.define_config()
    flags.adopt_module_key_flags(verbs)
    flags.DEFINE_string("workdir", None, "Where everything is written; see tfeff.scaling.report.", required=True)
    flags.DEFINE_bool("dry_run", False, "List the candidates and forecast the cost; train nothing but a few steps.")
    flags.DEFINE_enum("executor", "local", ["local", "ray"], "Processes of this machine, or a Ray cluster.")
    flags.DEFINE_integer("processes", None, "Local trainings at once; one a core (or GPU) if not given.", lower_bound=1)
    flags.DEFINE_string("ray_address", None, "Of the cluster; that of RAY_ADDRESS, or this machine, if not given.")


def main(argv: list[str]) -> None:
    """Runs the search of the flags."""
    given = flags.FLAGS
    search = config.override(config.load(given.config, config.Search), given.override)
    search = dataclasses.replace(search, experiment=config.settled(search.experiment))
    verbs.load_tensorflow()  # after the config: its mistakes are told at once
    from rich.console import Console

    from tfeff.durable import held
    from tfeff.scaling import report
    from tfeff.scaling import search as scaling
    from tfeff.scaling.latency import Clock
    from tfeff.scaling.store import Store

    directory = Path(given.workdir)
    with held(directory), Store(directory / scaling.STORE, search) as store, executor(directory) as processes:
        study = scaling.prepare(search, Clock(store, processes, lambda text: print(text, flush=True)))
        print(report.candidates(study, directory), flush=True)
        if given.dry_run:
            print(report.forecast(study, scaling.forecast(study, processes), processes.slots))
            return
        findings = scaling.run(study, directory, store, processes, Console())
        command = shlex.join(["python", "-m", "tfeff.search", *sys.argv[1:]])
        print(report.write_all(findings, store.records(), directory, command))


def executor(directory: Path) -> "Executor":
    """Where the flags want the trials to run."""
    other = "processes" if flags.FLAGS.executor == "ray" else "ray_address"
    if flags.FLAGS[other].present:
        raise UserError(f"--{other} has no effect with --executor={flags.FLAGS.executor}; leave it out")
    if flags.FLAGS.executor == "ray":
        from tfeff.execution.cluster import RayCluster

        return RayCluster(flags.FLAGS.ray_address)
    from tfeff.execution.local import LocalProcesses

    return LocalProcesses(flags.FLAGS.processes, directory / "trials.log")


if __name__ == "__main__":
    define_flags()
    verbs.run(main)
