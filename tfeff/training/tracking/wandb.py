"""Weights & Biases."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tfeff.training.tracking.tracker import FIGURES, PROJECT, Tracker


class WeightsAndBiases(Tracker):
    """A run of Weights & Biases, in the project of WANDB_PROJECT."""

    package = "wandb"

    def __init__(self, directory: Path, run: str | None) -> None:
        import wandb

        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=directory.resolve().name,
            id=run,
            resume=None if run is None else "allow",
            dir=directory,
            settings=wandb.Settings(console="off", silent=True, disable_git=True, save_code=False),
        )
        self.run = self._run.id

    def settings(self, values: Mapping[str, Any]) -> None:
        """Sends the config."""
        self._run.config.update(dict(values), allow_val_change=True)

    def tags(self, values: Mapping[str, str]) -> None:
        """Sends texts about the run, as a part of its config."""
        self.settings(values)

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Sends metrics of a step."""
        self._run.log(dict(values), step=step)

    def result(self, step: int, values: Mapping[str, float]) -> None:
        """Sends the metrics of the final weights. A run that is continued takes no more metrics of an earlier step."""
        self._run.summary.update(dict(values))

    def table(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Sends a table."""
        import wandb

        table = wandb.Table(list(rows[0]), [list(row.values()) for row in rows], allow_mixed_types=True)
        self._run.log({name: table})

    def files(self, paths: Iterable[Path], kind: str) -> None:
        """Sends files and folders as one artifact, and figures as images."""
        import wandb

        everything, figures = wandb.Artifact(f"run-{self.run}", kind), list[Path]()
        for path in filter(Path.exists, paths):
            for file in [path] if path.is_file() else filter(Path.is_file, path.rglob("*")):
                everything.add_file(str(file), str(Path(path.name) / file.relative_to(path)))
            figures += sorted(path.glob("*.png")) if path.name == FIGURES else []
        self._run.log_artifact(everything)
        self._run.log({f"{FIGURES}/{path.stem}": wandb.Image(str(path)) for path in figures})

    def close(self, *, finished: bool) -> None:
        """Ends this process's part of the run."""
        self._run.finish(exit_code=0 if finished else 1)
