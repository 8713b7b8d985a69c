"""Keeps the trackers of a run up to date.

The workdir remains the record of the run. A tracker gets the settings and provenance when the run starts, each row of
`metrics.jsonl` when it is saved, and at the end the metrics of `result.json`, the figures, the report and the exported
model. `trackers.json` in the workdir says which run of the tracker it is and how many epochs it has, so a resumed run
continues it, and what a tracker missed is sent later. A tracker that fails during the training does not stop it.

Servers and projects are those of the trackers' own environment variables, such as MLFLOW_TRACKING_URI and WANDB_MODE.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Self

from tfeff import checked, config
from tfeff.errors import UserError, nearest, printable
from tfeff.execution.startup import installed
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
        if not installed(TRACKERS[name].package):
            raise UserError(f'--track={name} needs a package: pip install "tfeff[{name}]"')


class Mirror:
    """The trackers of a run: those of its earlier calls, and new ones.

    Args:
        workdir: the workdir of the run.
        names: names of trackers.

    Raises:
        UserError: an unknown name, a missing package, or a new tracker that cannot be reached. A tracker of an earlier
            call that cannot be reached is left out with a warning.
    """

    def __init__(self, workdir: Workdir, names: Sequence[str] = ()) -> None:
        self._workdir, self._record = workdir, _record(workdir)
        self._open = dict[str, Tracker]()
        check_trackers(each for each in names if each not in self._record)
        for name in dict.fromkeys([*self._record, *names]):
            known = self._record.get(name)
            try:
                self._open[name] = TRACKERS[name](workdir, known and known["run"])
            except Exception as error:  # of any of the packages that a tracker uses
                if known is not None:
                    self._missed(name, error)
                    continue
                self.close(finished=False)
                why = printable(str(error))[:300]
                raise UserError(f"--track={name}: {why}; correct this, or leave --track out") from error
            if known is None:
                self._record[name] = {"run": self._open[name].run, "settings": False, "epochs": 0, "finished": None}
        self._save()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close(finished=False)

    def update(self) -> None:
        """Sends the settings and the rows of `metrics.jsonl` that the trackers do not have."""
        rows = self._workdir.rows()
        for name, tracker in list(self._open.items()):
            sent = self._record[name]
            with self._tolerated(name):
                if not sent["settings"]:
                    tracker.settings(config.flatten(self._workdir.config()), _origin(self._workdir))
                    sent["settings"] = True
                for row in rows:
                    if row["epoch"] > sent["epochs"]:
                        tracker.metrics(row["step"], _numbers(row))
                        sent["epochs"] = row["epoch"]
        self._save()

    def finish(self) -> None:
        """Sends what is missing, the result and the files, and marks the runs as finished."""
        self.update()
        step = max((row["step"] for row in self._workdir.rows()), default=0)
        result = {f"result/{key}": value for key, value in _numbers(self._workdir.result()).items()}
        for name, tracker in list(self._open.items()):
            with self._tolerated(name):
                tracker.result(step, result)
                tracker.files(self._workdir)
                tracker.close(finished=True)
                del self._open[name]
                self._record[name]["finished"] = _state(self._workdir)
        self._save()

    def close(self, *, finished: bool) -> None:
        """Ends this process's part of the runs."""
        for name, tracker in list(self._open.items()):
            with self._tolerated(name):
                tracker.close(finished=finished)
        self._open.clear()

    @contextmanager
    def _tolerated(self, name: str) -> Iterator[None]:
        """Says errors of a tracker, which gets nothing more from this call: a training does not depend on it."""
        try:
            yield
        except Exception as error:  # of any of the packages that a tracker uses
            failed = self._open.pop(name, None)
            self._missed(name, error)
            if failed is not None:
                with suppress(Exception):
                    failed.close(finished=False)

    def _missed(self, name: str, error: Exception) -> None:
        checked.warn(
            f"{name} failed and gets nothing more from this call; the same command sends what is missing, unless you "
            f"delete {self._workdir.trackers}: {printable(str(error))[:300]}"
        )

    def _save(self) -> None:
        if self._record:
            checked.write_json(self._workdir.trackers, self._record)


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
    """Sends the result of a finished run to its trackers, if it has any that do not have it."""
    if any(each["finished"] != _state(workdir) for each in _record(workdir).values()):
        with Mirror(workdir) as mirror:
            mirror.finish()


def _record(workdir: Workdir) -> dict[str, Any]:
    """Returns what `trackers.json` says, by tracker; empty without it."""
    if not workdir.trackers.is_file():
        return {}
    record = checked.read_json(workdir.trackers, "delete it; the trackers then get a new run")
    return {name: each for name, each in record.items() if name in TRACKERS}


def _state(workdir: Workdir) -> str:
    """Returns what identifies a result: the time of its files, and the directory, which may be a copy."""
    files = (workdir.path / "result.json", workdir.saved_model / "saved_model.pb")
    times = [file.stat().st_mtime_ns if file.is_file() else 0 for file in files]
    return f"{workdir.path.absolute()} {times}"


def _numbers(record: Mapping[str, Any]) -> dict[str, float]:
    return {key: float(value) for key, value in record.items() if isinstance(value, int | float) and key != "step"}


def _origin(workdir: Workdir) -> dict[str, str]:
    """Returns the command, versions and machine of the last call, as tags."""
    calls = workdir.provenance().get("calls", [])
    return {f"provenance.{key}": str(value) for key, value in (calls[-1] if calls else {}).items()}
