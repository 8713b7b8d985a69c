"""Weights & Biases."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tfeff.training.tracking.tracker import PROJECT, Tracker, sent_files
from tfeff.training.workdir import Workdir


class WeightsAndBiases(Tracker):
    """A run of Weights & Biases, in the project of WANDB_PROJECT."""

    package = "wandb"

    def __init__(self, workdir: Workdir, run: str | None) -> None:
        import wandb

        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=workdir.path.name,
            id=run,
            resume=None if run is None else "allow",
            dir=workdir.path,
            settings=wandb.Settings(console="off", silent=True, disable_git=True, save_code=False),
        )
        self.run = self._run.id

    def settings(self, values: Mapping[str, Any], provenance: Mapping[str, str]) -> None:
        """Sends the config and the origin of the run."""
        self._run.config.update({**values, **provenance}, allow_val_change=True)

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Sends metrics of a step."""
        self._run.log(dict(values), step=step)

    def result(self, step: int, values: Mapping[str, float]) -> None:
        """Sends the metrics of the final weights. A run that is continued takes no more metrics of an earlier step."""
        self._run.summary.update(dict(values))

    def files(self, workdir: Workdir) -> None:
        """Sends files, figures and the exported model."""
        import wandb

        everything = wandb.Artifact(f"run-{self.run}", "model")
        for name, path in sent_files(workdir):
            for file in [path] if path.is_file() else filter(Path.is_file, path.rglob("*")):
                everything.add_file(str(file), str(Path(name) / file.relative_to(path)))
        self._run.log_artifact(everything)
        figures = sorted(workdir.figures.glob("*.png"))
        self._run.log({f"figures/{path.stem}": wandb.Image(str(path)) for path in figures})

    def close(self, *, finished: bool) -> None:
        """Ends this process's part of the run."""
        self._run.finish(exit_code=0 if finished else 1)
