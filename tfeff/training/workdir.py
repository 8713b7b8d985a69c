"""The workdir of a run: what lies where, and who may write it.

```
config.json      the experiment, defaults included
dataset.json     class names, counts, per-channel statistics, sizes: what evaluation and export must know
metrics.jsonl    a row an epoch
result.json      the measures of the final weights
checkpoints/     step_*.npz, best.npz; final.npz, the weights to evaluate, once training is over
tensorboard/     event files
figures/         PNG and SVG
saved_model/     the export
```
"""

import json
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from tfeff import config
from tfeff.durable import write
from tfeff.errors import UserError
from tfeff.training.checkpoint import Checkpoints


class Workdir:
    """A run's directory.

    Args:
        path: where; made when the run starts.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.checkpoints = Checkpoints(self.path / "checkpoints")
        self.final = self.path / "checkpoints" / "final.npz"
        self.tensorboard = self.path / "tensorboard"
        self.figures = self.path / "figures"
        self.saved_model = self.path / "saved_model"
        self._metrics = self.path / "metrics.jsonl"

    def claimed(self, experiment: config.Experiment) -> AbstractContextManager[None]:
        """Makes the directory this config's, and nobody else's to work in while the context lasts; see
        `config.claimed`."""
        return config.claimed(self.path, experiment)

    def config(self) -> config.Experiment:
        """The experiment whose run this is."""
        return config.from_json(self._read("config.json"), config.Experiment, where=str(self.path / "config.json"))

    def write_dataset(self, record: dict[str, Any]) -> None:
        """Keeps what evaluation and export must know of the data."""
        write(self.path / "dataset.json", json.dumps(record, indent=2) + "\n")

    def dataset(self) -> dict[str, Any]:
        """What `write_dataset` kept."""
        try:
            return dict(json.loads(self._read("dataset.json")))
        except ValueError as error:
            raise UserError(
                f"{self.path / 'dataset.json'}: damaged ({error}); train again in a new --workdir"
            ) from None

    def write_result(self, record: dict[str, Any]) -> None:
        """Writes the measures of the final weights."""
        write(self.path / "result.json", json.dumps(record, indent=2) + "\n")

    def rows(self) -> list[dict[str, Any]]:
        """The metrics of the epochs so far; a last line that a kill cut short does not count."""
        if not self._metrics.exists():
            return []
        rows = []
        for line in self._metrics.read_text().splitlines():
            try:
                rows.append(json.loads(line))
            except ValueError:
                break
        return rows

    def epochs(self, step: int) -> int:
        """How many epochs have ended at `step` or before it, by their rows."""
        return max((row["epoch"] for row in self.rows() if row["step"] <= step), default=0)

    def append_row(self, row: dict[str, Any]) -> None:
        """Adds the metrics of an epoch."""
        with self._metrics.open("a") as file:
            file.write(json.dumps(row) + "\n")

    def rewind(self, step: int) -> list[dict[str, Any]]:
        """Drops the rows of epochs that ended after `step`, and returns the others."""
        rows = [row for row in self.rows() if row["step"] <= step]
        if self._metrics.exists():
            write(self._metrics, "".join(json.dumps(row) + "\n" for row in rows))
        return rows

    def _read(self, name: str) -> str:
        path = self.path / name
        if not path.is_file():
            raise UserError(f"--workdir={self.path}: no {name} there; it should be the workdir of a tfeff.train run")
        return path.read_text()
