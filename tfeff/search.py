"""`python -m tfeff.search --config=FILE --workdir=DIR [--config.key=value ...]`: find scaling coefficients.

Rerun the same command to resume an interrupted search; finished trials are not repeated.
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
    flags.DEFINE_string("workdir", None, "Output directory; tfeff.scaling.report lists its files.", required=True)
    flags.DEFINE_bool("dry_run", False, "List the candidates, time a few training steps and forecast the duration.")
    verbs.define_executor("Processes")
    flags.DEFINE_integer("processes", None, "Number of local processes; default: one per core or GPU.", lower_bound=1)
    flags.adopt_module_key_flags(verbs)


def main(argv: list[str]) -> None:
    """Runs the search that the flags configure."""
    options = flags.FLAGS
    verbs.check_executor("processes")
    search = config.override(config.load(options.config, config.Search), options.override)
    search = dataclasses.replace(search, experiment=config.resolve_family(search.experiment))
    verbs.load_tensorflow()  # after the config, to report config errors immediately
    from rich.console import Console

    from tfeff.durable import locked
    from tfeff.execution.local import LocalProcesses
    from tfeff.scaling import report
    from tfeff.scaling.latency import Clock
    from tfeff.scaling.search import forecast, open_store, run
    from tfeff.scaling.study import prepare

    directory = Path(options.workdir)
    local = partial(LocalProcesses, options.processes, directory / "trials.log")
    with locked(directory), open_store(directory, search) as store, verbs.executor(local) as processes:
        study = prepare(search, Clock(store, processes, lambda text: print(text, flush=True)))
        print(report.candidates(study, directory), flush=True)
        if options.dry_run:
            print(report.forecast(study, forecast(study, processes), processes.slots))
            return
        findings = run(study, directory, store, processes, Console())
        command = shlex.join(["python", "-m", "tfeff.search", *sys.argv[1:]])
        print(report.write_all(findings, store.records(), directory, command))


if __name__ == "__main__":
    define_flags()
    verbs.run(main)
