"""The trackers of a workdir: which runs of theirs hold its copies, in `trackers.json`.

A tracker that fails after the beginning does not stop what it copies. Servers and projects are those of the trackers'
own environment variables, such as MLFLOW_TRACKING_URI and WANDB_MODE.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

from tfeff import checked
from tfeff.errors import UserError, nearest, printable
from tfeff.execution.startup import installed
from tfeff.training.tracking.mlflow import MLflow
from tfeff.training.tracking.tracker import Tracker
from tfeff.training.tracking.wandb import WeightsAndBiases

TRACKERS: Mapping[str, type[Tracker]] = {"mlflow": MLflow, "wandb": WeightsAndBiases}
RECORD = "trackers.json"


def check_trackers(names: Iterable[str]) -> None:
    """Checks the names of trackers, before anything expensive.

    Raises:
        UserError: an unknown name, a text instead of a list of names, or a package that is not installed.
    """
    if isinstance(names, str):
        raise UserError(f'track is "{names}"; give a list: ["{names}"]')
    for name in names:
        if name not in TRACKERS:
            raise UserError(f"--track={name}: no such tracker; {nearest(name, TRACKERS)}")
        if not installed(TRACKERS[name].package):
            raise UserError(f'--track={name} needs a package: pip install "tfeff[{name}]"')


def read_record(directory: Path) -> dict[str, Any]:
    """Returns what `trackers.json` says, by tracker; empty without it.

    Raises:
        UserError: it is damaged.
    """
    path = directory / RECORD
    if not path.is_file():
        return {}
    record = checked.read_json(path, "delete it; the trackers then get a new run")
    return {name: each for name, each in record.items() if name in TRACKERS}


class Trackers:
    """The trackers of a workdir: those of its earlier calls, and new ones. The end of `with` closes them.

    Args:
        directory: the workdir.
        names: names of trackers.
        version: what they copy; if it has changed, they begin a new run.

    Raises:
        UserError: an unknown name, a missing package, or a new tracker that cannot be reached. A tracker of an earlier
            call that cannot be reached is left out with a warning.
    """

    def __init__(self, directory: Path, names: Sequence[str] = (), version: str = "") -> None:
        self._path, self._record = directory / RECORD, read_record(directory)
        self._open = dict[str, Tracker]()
        check_trackers(each for each in names if each not in self._record)
        for name in dict.fromkeys([*self._record, *names]):
            known = self._record.get(name)
            continued = known is not None and known["version"] == version
            try:
                self._open[name] = TRACKERS[name](directory, known["run"] if known and continued else None)
            except Exception as error:  # of any of the packages that a tracker uses
                if known is not None:
                    self._missed(name, error)
                    continue
                self.close(finished=False)
                why = printable(str(error))[:300]
                raise UserError(f"--track={name}: {why}; correct this, or leave --track out") from error
            if not continued:
                self._record[name] = {
                    "run": self._open[name].run,
                    "version": version,
                    "settings": None,
                    "epochs": 0,
                    "finished": None,
                }
        self._save()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close(finished=False)

    def close(self, *, finished: bool) -> None:
        """Ends this process's part of the runs."""
        for name, tracker in list(self._open.items()):
            with self._tolerated(name):
                tracker.close(finished=finished)
        self._open.clear()

    @contextmanager
    def _tolerated(self, name: str) -> Iterator[None]:
        """Warns about errors of a tracker, which gets nothing more from this call."""
        try:
            yield
        except Exception as error:  # of any of the packages that a tracker uses
            failed = self._open.pop(name, None)
            self._missed(name, error)
            if failed is not None:
                with suppress(Exception):
                    failed.close(finished=False)

    def _send_settings(self, name: str, values: Mapping[str, Any], call: Mapping[str, Any]) -> None:
        """Sends the config, by dotted key, and the provenance of a call, if the config is not the last one sent."""
        state = checked.checksum(values)
        if self._record[name]["settings"] != state:
            self._open[name].settings(values)
            self._open[name].tags({f"provenance.{key}": str(value) for key, value in call.items()})
            self._record[name]["settings"] = state

    def _missed(self, name: str, error: Exception) -> None:
        checked.warn(
            f"{name} failed and gets nothing more from this call; the same command sends what is missing, unless you "
            f"delete {self._path}: {printable(str(error))[:300]}"
        )

    def _save(self) -> None:
        if self._record:
            checked.write_json(self._path, self._record)
