"""Keeps the trackers of a run up to date.

The workdir remains the record of the run. A tracker gets the settings and provenance when the run starts, and again if
it continues with other settings, each row of `metrics.jsonl` when it is saved, and at the end the metrics of
`result.json`, the figures, the report and the exported model. `trackers.json` in the workdir says which run of the
tracker it is and how many epochs it has, so a resumed run continues it, and what a tracker missed is sent later.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from tfeff import checked, config
from tfeff.training.loop import Hook, Loop, Row
from tfeff.training.tracking.trackers import Trackers, read_record
from tfeff.training.workdir import Workdir

FILES = (
    "config.json",
    "dataset.json",
    "provenance.json",
    "metrics.jsonl",
    "result.json",
    "report.html",
    "model_card.md",
)
"""Files of the workdir that a tracker gets at the end, if they exist, beside figures and the exported model."""


class Mirror(Trackers):
    """The trackers of a run.

    Args:
        workdir: the workdir of the run.
        names: see `Trackers`.
    """

    def __init__(self, workdir: Workdir, names: Sequence[str] = ()) -> None:
        self._workdir = workdir
        super().__init__(workdir.path, names)

    def update(self) -> None:
        """Sends the settings and the rows of `metrics.jsonl` that the trackers do not have."""
        values, calls = config.flatten(self._workdir.config()), self._workdir.provenance().get("calls", [])
        for name in list(self._open):
            with self._tolerated(name):
                self._send_settings(name, values, calls[-1] if calls else {})
        self.send(self._workdir.rows())

    def send(self, rows: Sequence[Row]) -> None:
        """Sends some rows of `metrics.jsonl` to the trackers that do not have them."""
        for name, tracker in list(self._open.items()):
            sent = self._record[name]
            with self._tolerated(name):
                for row in rows:
                    if row["epoch"] > sent["epochs"]:
                        tracker.metrics(row["step"], _numbers(row))
                        sent["epochs"] = row["epoch"]
        self._save()

    def finish(self, state: str) -> None:
        """Sends what is missing, the result and the files, and marks the runs as finished with `_state`."""
        self.update()
        step = max((row["step"] for row in self._workdir.rows()), default=0)
        result = {f"result/{key}": value for key, value in _numbers(self._workdir.result()).items()}
        files = [*(self._workdir.path / name for name in FILES), self._workdir.figures, self._workdir.saved_model]
        for name, tracker in list(self._open.items()):
            with self._tolerated(name):
                tracker.result(step, result)
                tracker.files(files, "model")
                tracker.close(finished=True)
                del self._open[name]
                self._record[name]["finished"] = state
        self._save()


class Tracking(Hook):
    """Sends a run to trackers, epoch by epoch. Comes after `Saving`: what is sent is in `metrics.jsonl`, and its
    checkpoint is being written; a run that is killed before that trains the epoch again, and does not send it again.

    Args:
        names: names of trackers, beside those of earlier calls.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._mirror: Mirror | None = None

    def start(self, loop: Loop) -> None:
        """Begins or continues the runs of the trackers."""
        self._mirror = Mirror(loop.workdir, self._names)
        self._mirror.update()

    def epoch(self, loop: Loop, row: Row) -> None:
        """Sends the metrics."""
        assert self._mirror is not None
        self._mirror.send([row])

    def close(self, loop: Loop) -> None:
        """Closes the runs of the trackers, which `finish_tracking` opens again."""
        if self._mirror is not None:
            self._mirror.close(finished=False)


def finish_tracking(workdir: Workdir, names: Sequence[str] = ()) -> None:
    """Sends the result of a finished run to its trackers, if there are any that do not have it.

    Args:
        workdir: the workdir of the run.
        names: names of trackers, beside those of earlier calls.
    """
    record = read_record(workdir.path)
    if not names and not record:
        return
    state = _state(workdir)
    if not record.keys() >= set(names) or any(each["finished"] != state for each in record.values()):
        with Mirror(workdir, names) as mirror:
            mirror.finish(state)


def _state(workdir: Workdir) -> str:
    """Returns what identifies a result: what its files hold, and the directory, which may be a copy."""
    files = workdir.path / "result.json", workdir.final
    digests = [checked.file_crc32(file) if file.is_file() else None for file in files]
    return f"{workdir.path.absolute()} {digests} {workdir.saved_model.is_dir()}"


def _numbers(record: Mapping[str, Any]) -> dict[str, float]:
    return {key: float(value) for key, value in record.items() if isinstance(value, int | float) and key != "step"}
