"""The workdir of a run and its files.

```
config.json      the experiment, including defaults
dataset.json     class names, counts, per-channel statistics, sizes: what evaluation and export need; `chosen`, values
                 that optimizer.transfer=auto chose for the images, and `transfer`, why
provenance.json  commands, versions and machines of the calls; the values that a recipe chose, and why
unreadable/      the images that cannot be decoded, so that a restart does not decode all of them to find out
images.npz       names and digests of the images with which the run began
metrics.jsonl    one row per epoch; `crc32` is the checksum of its line
divergence.json  where and why training diverged, if it did
result.json      the metrics of the final weights
checkpoints/     step_*.npz, best.npz; after training final.npz, the weights to evaluate
teachers/        until training is finished, the outputs of teachers that task.teacher.variants stores
tensorboard/     event files
figures/         PNG and SVG
predictions_*.csv  prediction and truth of every image of a split that was evaluated
report.html      the result on a page
model_card.md    what to publish beside the model; kept once it is edited
saved_model/     the exported SavedModel
runtimes/        the network converted for other runtimes, with which `--runtime` predicts, and the choices of `auto`
trackers.json    the runs of trackers that hold copies, and how many epochs they have
```
"""

import dataclasses
import hashlib
import json
import os
import re
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from tfeff import checked, config
from tfeff.config import Choices
from tfeff.data.images.unreadable import FOLDER
from tfeff.durable import write
from tfeff.errors import UserError
from tfeff.selection import Fingerprint
from tfeff.training import checkpoint
from tfeff.training.checkpoint import Checkpoints

CHOSEN = "chosen"
"""Key of `dataset.json`: values that were chosen for the training images, by dotted key of the config."""
TRAINED_STEPS = "trained_steps"
"""Key of the record of `final.npz`: the step at which the run ended."""
_SIGNATURE = "<!-- Written by tfeff, and again by its next call if you do not edit it ({digest}). -->\n\n"
_DATASET: Mapping[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("class_names", "mean", "std"), list),
    **dict.fromkeys((CHOSEN, "measured", "found"), (dict, type(None))),
    **dict.fromkeys(("image_size", "class_ids", "skipped_images"), (list, type(None))),
    "validation_examples": (int, type(None)),
}
"""Types of the values of `dataset.json` that are read."""


def _digest(card: str) -> str:
    """Returns what identifies a card: a digest of its text without the line that holds it."""
    return hashlib.sha256(card.encode("utf-8", "replace")).hexdigest()[:16]


def run_of(source: str) -> "Workdir | None":
    """Returns the finished run of a workdir, or the run of a checkpoint in its workdir; None for anything else."""
    path = Path(os.path.expanduser(source))
    if path.is_file():
        folder = path.absolute().parent
        is_run = folder.name == "checkpoints" and (folder.parent / config.RUN_FILE).is_file()
        return Workdir(folder.parent) if is_run else None
    run = Workdir(path)
    return run if run.final.is_file() else None


class Workdir:
    """The directory of a run.

    Args:
        path: its path; created when the run starts.
    """

    def __init__(self, path: str | Path):
        self.path = Path(os.path.expanduser(path))
        self.checkpoints = Checkpoints(self.path / "checkpoints")
        self.final = self.path / "checkpoints" / "final.npz"
        self.teachers = self.path / "teachers"
        self.unreadable = self.path / FOLDER
        self.tensorboard = self.path / "tensorboard"
        self.figures = self.path / "figures"
        self.saved_model = self.path / "saved_model"
        self.runtimes = self.path / "runtimes"
        self.page = self.path / "report.html"
        self.card = self.path / "model_card.md"
        self._metrics = self.path / "metrics.jsonl"
        self._provenance = self.path / "provenance.json"

    def config(self) -> config.Experiment:
        """Returns the saved config of the run, with what was chosen for its images, and where it keeps what."""
        record = self.dataset() if (self.path / "dataset.json").is_file() else {}
        settings = config.replaced(config.saved(self.path, config.Experiment), record.get(CHOSEN, {}))
        return dataclasses.replace(settings, task=settings.task.located(self.path))

    def write_dataset(self, record: dict[str, Any]) -> None:
        """Saves what evaluation and export need to know about the data."""
        checked.write_json(self.path / "dataset.json", record)

    def dataset(self) -> dict[str, Any]:
        """Returns the record saved by `write_dataset`."""
        path = self.path / "dataset.json"
        if not path.is_file():
            raise UserError(f"--workdir={self.path}: no {path.name} there; give the workdir of a tfeff.train run")
        return checked.read_json(path, "restore it from a backup, or train in a new --workdir", _DATASET)

    def write_fingerprint(self, images: Fingerprint) -> None:
        """Saves what later calls compare the images with."""
        images.save(self.path / "images.npz")

    def fingerprint(self) -> Fingerprint:
        """Returns the fingerprint saved by `write_fingerprint`."""
        return Fingerprint.load(self.path / "images.npz")

    def add_call(self, call: dict[str, Any], choices: Choices, images: str) -> None:
        """Adds a call to `provenance.json`; must be called before the call trains.

        Args:
            call: what is known of it.
            choices: what a recipe chose when the run began; a resumed run keeps what its first call saved.
            images: digest of the fingerprint of the images.
        """
        record = self.provenance() if config.begun(self.path) else {}
        chosen = {key: {"value": each.value, "why": each.why} for key, each in choices.items()}
        calls = [*record.get("calls", ()), call]
        checked.write_json(
            self._provenance, {"choices": record.get("choices", chosen), "calls": calls, "images": images}
        )

    def provenance(self) -> dict[str, Any]:
        """Returns `choices`, `calls` and `images` as saved by `add_call`; empty without an undamaged record."""
        if not self._provenance.is_file():
            return {}
        try:
            return checked.read_json(self._provenance, "delete it", {"choices": dict, "calls": list, "images": str})
        except UserError as error:  # nothing but a page depends on it
            checked.warn(f"{error}; going on without it")
            return {}

    def result(self) -> dict[str, Any]:
        """Returns the metrics saved by `write_result`; empty if there are none."""
        path = self.path / "result.json"
        try:
            record = json.loads(path.read_text()) if path.is_file() else {}
        except ValueError:
            record = {}
        return record if isinstance(record, dict) else {}

    def write_result(self, record: dict[str, Any]) -> None:
        """Writes the metrics of the final weights."""
        write(self.path / "result.json", json.dumps(record, indent=2) + "\n")

    def remove_results(self) -> None:
        """Removes what was made from earlier final weights, if there are any, and would pass for what the new ones do.

        A card that the user has edited is kept; so are files that were there before the first final weights, and others
        beside those of evaluations.
        """
        if not self.final.is_file():
            return
        for folder in (self.saved_model, self.runtimes):
            shutil.rmtree(folder, ignore_errors=True)
        evaluations = [file for file in self.path.glob("evaluation_*.json") if _is_evaluation(file)]
        splits = [file.stem.removeprefix("evaluation_") for file in evaluations]
        figures = [file for file in self.figures.glob("*") if file.stem == "training"]
        figures += [file for split in splits for file in self.figures.glob(f"{split}_*")]
        predictions = [self.path / f"predictions_{split}.csv" for split in splits]
        for file in (self.path / "result.json", self.page, *evaluations, *predictions, *figures):
            file.unlink(missing_ok=True)
        _remove_if_empty(self.figures)
        if not self._has_edited_card():
            self.card.unlink(missing_ok=True)

    def remove_stored_teachers(self) -> None:
        """Removes the stored outputs of teachers; other files in their folder are the user's."""
        for file in self.teachers.glob("*"):
            if re.fullmatch(r"\.?[0-9a-f]{64}_\d+\.npz(\.partial)?", file.name):  # also what a kill left behind
                file.unlink()
        _remove_if_empty(self.teachers)

    def write_card(self, head: str, body: str) -> None:
        """Writes `model_card.md`, with a line between its parts that identifies it, unless the user has edited it."""
        if not self._has_edited_card():
            write(self.card, head + _SIGNATURE.format(digest=_digest(head + body)) + body)

    def _has_edited_card(self) -> bool:
        if not self.card.is_file():
            return False
        card = self.card.read_text("utf-8", "replace")
        found = re.search(re.escape(_SIGNATURE).replace(re.escape("{digest}"), r"(\w+)"), card)
        return found is None or found[1] != _digest(card[: found.start()] + card[found.end() :])

    def write_divergence(self, record: dict[str, Any]) -> None:
        """Saves at which step training diverged, and why."""
        checked.write_json(self.path / "divergence.json", record)

    def divergence(self) -> dict[str, Any] | None:
        """Returns the record saved by `write_divergence`.

        None if the run has not diverged, or has passed that step since.
        """
        path = self.path / "divergence.json"
        if not path.is_file():
            return None
        record = checked.read_json(path, "delete it", {"step": int})
        return record if max((row["step"] for row in self.rows()), default=0) <= record["step"] else None

    def validated(self, names: Collection[str]) -> dict[str, float]:
        """Returns the validation metrics of the final weights, by name, as far as the run has them."""
        row = self.kept_row() if names else {}
        return {name: row[f"validation_{name}"] for name in names if f"validation_{name}" in row}

    def is_finished(self) -> bool:
        """Returns whether the final weights are those of the last checkpoint.

        Those of a run that was continued are of its earlier end until it ends again.
        """
        if not self.final.is_file():
            return False
        try:
            return self.checkpoints.step <= self.kept_row()[TRAINED_STEPS]
        except checkpoint.DamagedError:
            return not self.checkpoints.step  # else they are written again

    def kept_row(self) -> dict[str, Any]:
        """Returns the metrics of the epoch whose weights are the final ones, as saved with them.

        If they were lost before, returns only its number, `epoch`.
        """
        return checkpoint.load_record(self.final)

    def rows(self) -> list[dict[str, Any]]:
        """Returns the metrics of all epochs so far, in order, as far as they are not damaged."""
        rows = {row["epoch"]: row for row in checked.read_lines(self._metrics, "the metrics of its epoch are lost")}
        if lost := sorted(set(range(1, max(rows, default=0))) - set(rows)):
            checked.warn(f"{self._metrics}: the metrics of epochs {', '.join(map(str, lost))} are lost")
        return [rows[epoch] for epoch in sorted(rows)]

    def has_all_rows(self) -> bool:
        """Returns whether the metrics of all epochs up to the last checkpoint are there."""
        rows = self.rows()
        last = rows[-1]["step"] if rows else 0
        return [row["epoch"] for row in rows] == list(range(1, len(rows) + 1)) and last == self.checkpoints.step

    def epochs(self, step: int) -> int:
        """Returns the number of epochs that were finished at `step`."""
        return max((row["epoch"] for row in self.rows() if row["step"] <= step), default=0)

    def append_row(self, row: dict[str, Any]) -> None:
        """Appends the metrics of an epoch."""
        with self._metrics.open("a") as file:
            file.write(checked.to_line(row))
            file.flush()
            os.fsync(file.fileno())

    def rewind(self, step: int) -> list[dict[str, Any]]:
        """Drops the rows of epochs that ended after `step` and returns the others."""
        rows = [row for row in self.rows() if row["step"] <= step]
        if self._metrics.exists():
            checked.write_lines(self._metrics, rows)
        return rows


def _is_evaluation(file: Path) -> bool:
    """Returns whether a file is an evaluation, or a damaged one."""
    try:
        record = json.loads(file.read_text())
    except ValueError:
        return True
    return isinstance(record, dict) and "split" in record


def _remove_if_empty(folder: Path) -> None:
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
