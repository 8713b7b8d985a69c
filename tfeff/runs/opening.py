"""Opens a workdir, whatever kind of run it holds."""

from pathlib import Path

from tfeff import config, rcnn, training
from tfeff.runs.network import NetworkRun
from tfeff.runs.run import Run
from tfeff.runs.staged import StagedRun


def open_run(directory: str | Path) -> Run:
    """The run of a workdir.

    Raises:
        UserError: there is no run.
    """
    if isinstance(config.saved(Path(directory), config.Experiment, config.RCNN), config.RCNN):
        return StagedRun(rcnn.Workdir(directory))
    return NetworkRun(training.Workdir(directory))
