"""Keeps the trackers of a run up to date.

The workdir remains the record of the run. A tracker gets the settings and provenance when the run starts, each row of
`metrics.jsonl` when it is saved, and at the end the metrics of `result.json`, the figures, the report and the exported
model. `trackers.json` in the workdir says which run of the tracker it is and how many epochs it has, so a resumed run
continues it, and what a tracker missed is sent later. A tracker that fails during the training does not stop it.

Servers and projects are those of the trackers' own environment variables, such as MLFLOW_TRACKING_URI and WANDB_MODE.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, Self

from tfeff import checked, config
from tfeff.errors import UserError, nearest, printable
from tfeff.training.loop import Hook, Loop, Row
from tfeff.training.tracking.mlflow import MLflow
from tfeff.training.tracking.tracker import Tracker
from tfeff.training.tracking.wandb import WeightsAndBiases
from tfeff.training.workdir import Workdir

TRACKERS: Mapping[str, type[Tracker]] = {"mlflow": MLflow, "wandb": WeightsAndBiases}


def check_trackers(names: Iterable[str]) -> None:
    """Checks the names of trackers, before anything expensive.

    Raises:
        UserError: an unknown name, or a package that is not installed.
    """
    for name in names:
        if name not in TRACKERS:
            raise UserError(f"--track={name}: no such tracker; {nearest(name, TRACKERS)}")
        if find_spec(TRACKERS[name].package) is None:
            raise UserError(f'--track={name} needs a package: pip install "tfeff[{name}]"')


class Mirror:
    """The trackers of a run: those of its earlier calls, and new ones.

    Args:
        workdir: the workdir of the run.
        names: names of trackers.

    Raises:
        UserError: an unknown name, a missing package, or a tracker that cannot be reached.
    """

    def __init__(self, workdir: Workdir, names: Sequence[str] = ()) -> None:
        self._workdir, self._file = workdir, workdir.trackers
        self._record: dict[str, Any] = checked.read_json(self._file, "delete it") if self._file.is_file() else {}
        check_trackers([*self._record, *names])
        self._open = dict[str, Tracker]()
        for name in dict.fromkeys([*self._record, *names]):
            known = self._record.get(name)
            tracker = TRACKERS[name](workdir, known and known["run"])
            self._open[name] = tracker
            self._record[name] = {"run": tracker.run, "epochs": known["epochs"] if known else 0}
            self._save()
            if known is None:
                with self._tolerated(name):
                    tracker.settings(config.flatten(workdir.config()), _origin(workdir))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close(finished=False)

    def update(self) -> None:
        """Sends the rows of `metrics.jsonl` that the trackers do not have."""
        rows = self._workdir.rows()
        for name, tracker in list(self._open.items()):
            with self._tolerated(name):
                for row in rows:
                    if row["epoch"] > self._record[name]["epochs"]:
                        tracker.metrics(row["step"], _numbers(row))
                        self._record[name]["epochs"] = row["epoch"]
        self._save()

    def finish(self) -> None:
        """Sends what is missing, the result and the files, and marks the runs as finished."""
        self.update()
        step = max((row["step"] for row in self._workdir.rows()), default=0)
        result = {f"result/{key}": value for key, value in _numbers(self._workdir.result()).items()}
        for name, tracker in list(self._open.items()):
            with self._tolerated(name):
                tracker.metrics(step, result)
                tracker.files(self._workdir)
        self.close(finished=True)

    def close(self, *, finished: bool) -> None:
        """Ends this process's part of the runs."""
        for name, tracker in list(self._open.items()):
            with self._tolerated(name):
                tracker.close(finished=finished)
        self._open.clear()

    @contextmanager
    def _tolerated(self, name: str) -> Iterator[None]:
        """Errors of a tracker are said; it gets nothing more from this call."""
        try:
            yield
        except self._open[name].errors as error:
            del self._open[name]
            checked.warn(
                f"{name} failed and gets nothing more from this call; the same command sends what is missing: "
                f"{printable(str(error))[:300]}"
            )

    def _save(self) -> None:
        if self._record:
            checked.write_json(self._file, self._record)


class Tracking(Hook):
    """Sends a run to trackers, epoch by epoch. Comes after `Saving`: what is sent has been saved.

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
        self._mirror.update()

    def close(self, loop: Loop) -> None:
        """Closes the runs of the trackers, which `finish_tracking` opens again."""
        if self._mirror is not None:
            self._mirror.close(finished=False)


def finish_tracking(workdir: Workdir) -> None:
    """Sends the result of a finished run to its trackers, if it has any."""
    if not workdir.trackers.is_file():
        return
    with Mirror(workdir) as mirror:
        mirror.finish()


def _numbers(record: Mapping[str, Any]) -> dict[str, float]:
    return {key: float(value) for key, value in record.items() if isinstance(value, int | float) and key != "step"}


def _origin(workdir: Workdir) -> dict[str, str]:
    """Returns the command, versions and machine of the last call, as tags."""
    calls = workdir.provenance().get("calls", [])
    return {f"provenance.{key}": str(value) for key, value in (calls[-1] if calls else {}).items()}
