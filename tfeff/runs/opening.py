"""Opens a workdir, whatever kind of run it holds."""

from pathlib import Path

from tfeff import config, rcnn, training
from tfeff.errors import UserError
from tfeff.runs.network import NetworkRun
from tfeff.runs.run import Run
from tfeff.runs.staged import StagedRun


def open_run(directory: str | Path) -> Run:
    """The run of a workdir.

    Raises:
        UserError: there is no run.
    """
    path = Path(directory) / "config.json"
    if not path.is_file():
        raise UserError(f"--workdir={directory}: no config.json there; give the workdir of a tfeff.train run")
    if isinstance(config.load(path, config.Experiment, config.RCNN), config.RCNN):
        return StagedRun(rcnn.Workdir(directory))
    return NetworkRun(training.Workdir(directory))
