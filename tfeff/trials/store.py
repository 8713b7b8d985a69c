"""The results of an experiment: one SQLite file that can be read while it is written."""

import dataclasses
import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Any, Self

from tfeff import config
from tfeff.config.section import Section
from tfeff.errors import UserError, changes
from tfeff.selection import Fingerprint
from tfeff.trials.database import Database, Table
from tfeff.trials.results import Block, Job, mean_over_seeds
from tfeff.trials.trial import Candidate, result_row

VERSION = "3"
"""Changes if trials with the same config are trained differently: with other seeds, schedules or learning rates."""
LEARNING_RATE = "learning_rate"
"""First word of the facts that hold the learning rates found for a candidate."""
_FACTS = Table("facts", ("name", "value"))
_CANDIDATES = Table("candidates", ("name", "label", "settings"))
_JOB = ("candidate", "fold", "seed", "epochs")
_TRIALS = Table("trials", (*_JOB, "state", "deaths", "error", "seconds", "peak_bytes", "rows"), key=len(_JOB))
TABLES = (_FACTS, _CANDIDATES, _TRIALS)
_ESSENTIAL = {"config", "images", "fold_examples", "version"}
"""Facts that cannot be computed again: trials must fit them."""


@dataclass(frozen=True)
class Record:
    """The stored state of one trial.

    Attributes:
        state: `running` (or killed while running), `done`, `failed`, or `lost`: failed because its process was lost as
            often as `trials.attempts` allowed.
        deaths: number of attempts that were lost.
        seconds: seconds of its process, including image reading and compilation.
        peak_bytes: peak device memory; None if the device does not report it.
        rows: rows of metrics.jsonl, one per epoch.
    """

    job: Job
    state: str
    deaths: int
    error: str | None
    seconds: float | None
    peak_bytes: int | None
    rows: Sequence[dict[str, Any]]

    @property
    def has_failed(self) -> bool:
        """Whether it ended without a result."""
        return self.state in ("failed", "lost")

    def has_ended(self, attempts: int) -> bool:
        """Returns whether it is not trained again, if its process may be lost so many times."""
        return self.state in ("done", "failed") or (self.state == "lost" and self.deaths >= attempts)


class TrialStore:
    """The SQLite file of one experiment.

    Args:
        settings: config of the experiment; None opens an existing file with any config.
        free: prefixes of config keys that no trial depends on. They may differ from the stored config, as may those
            that change no result; all other keys must be equal.

    Raises:
        UserError: the file holds results of another config (the keys that differ are listed) or is not a database.
    """

    def __init__(self, path: Path, settings: Section | None, free: tuple[str, ...] = ()) -> None:
        self.path, self._free = path, free
        if settings is None and not path.is_file():
            raise UserError(f"--workdir={path.parent}: no {path.name} in it; expected the workdir of a search")
        self._file = Database(path, TABLES, writable=settings is not None)
        try:
            self._require_essential()
            if settings is not None:
                self._file.repair()
                self._claim_config(settings)
        except BaseException:
            self.close()  # else it would remain locked
            raise

    def _claim_config(self, settings: Section) -> None:
        """Stores the config; see the class."""
        stored = self.fact("config")
        with self._file.transaction():
            if stored is not None:
                different = config.differences(self._previous(stored, type(settings)), settings)
                changed = [each for each in different if not self._is_free(each[0])]
                if changed and not self._has_trainings():
                    # Only a list of candidates and a forecast so far: nothing to keep.
                    self._file.run("delete from facts")
                    self._file.run("delete from candidates")
                elif changed:
                    raise UserError(
                        f"{self.path} holds the results of another config:\n{changes(changed)}\n"
                        "choose another --workdir, or restore these values to resume"
                    )
            self.write_fact("config", config.to_json(settings))

    def _previous(self, stored: str, kind: type[Section]) -> Section:
        """Returns the stored config; raises UserError if it is that of another kind of search."""
        try:
            return config.from_json(stored, kind, where=str(self.path))
        except UserError as error:
            raise UserError(
                f"--workdir={self.path.parent}: it holds the results of another kind of search, or of another version "
                f"({error}); choose another --workdir"
            ) from None

    def _is_free(self, key: str) -> bool:
        return key.startswith(self._free) or config.changes_no_result(key)

    def fact(self, name: str) -> str | None:
        """Returns the text stored under a name."""
        rows = self._file.rows("facts", "name = ?", name)
        return str(rows[0]["value"]) if rows else None

    def write_fact(self, name: str, value: str) -> None:
        """Stores a text under a name."""
        self._file.put("facts", name, value, instead=True)

    def cached(self, name: str, compute: Callable[[], Any]) -> Any:
        """Returns the JSON-ready value of `compute`, which is called only if nothing is stored under the name."""
        stored = self.fact(name)
        if stored is None:
            stored = json.dumps(compute())
            self.write_fact(name, stored)
        return json.loads(stored)

    def claim_images(self, images: Fingerprint, source: str, fold_examples: int | None) -> None:
        """Stores the images of all trials.

        Args:
            images: the images from which folds are drawn, and those that all folds are validated on, if there are any.
            fold_examples: number of images of each independent fold; None for classic folds.

        Raises:
            UserError: the images, or the size of the folds, have changed since the first trial.
        """
        stored, size = self.fact("images"), str(fold_examples)
        if stored is not None:
            remedy = f"The trials in {self.path} used them. Restore them, or choose another --workdir"
            Fingerprint.from_text(stored).require_unchanged(images, source, remedy)
            if self.fact("fold_examples") != size:
                raise UserError(
                    f"config: folds.examples: the folds of the trials in {self.path} had {self.fact('fold_examples')} "
                    f"images each, not {size}; restore the setting, or choose another --workdir"
                )
            return
        with self._file.transaction():
            self.write_fact("images", images.to_text())
            self.write_fact("fold_examples", size)

    def claim_version(self) -> None:
        """Stores how trials are trained, as a version.

        Raises:
            UserError: there are trials of another version.
        """
        if self.fact("version") != VERSION and self._has_trainings():
            raise UserError(
                f"{self.path} has trials of another version of tfeff, which trains them differently; choose another "
                "--workdir, or continue with that version"
            )
        self.write_fact("version", VERSION)

    def add_candidates(self, candidates: Iterable[Candidate]) -> None:
        """Stores the label, the settings and the training of each candidate that is not stored yet.

        Raises:
            UserError: the training of a candidate differs from the stored one of the same name.
        """
        with self._file.transaction():
            for each in candidates:
                self._file.put("candidates", each.name, each.label, json.dumps(each.settings))
                self._claim_experiment(each)

    def _claim_experiment(self, candidate: Candidate) -> None:
        fact, text = f"experiment of {candidate.name}", config.to_json(candidate.experiment)
        stored = self.fact(fact)
        if stored is None:
            self.write_fact(fact, text)
        elif stored != text:
            previous = config.from_json(stored, config.Experiment, where=str(self.path))
            different = config.differences(previous, candidate.experiment)
            if changed := [each for each in different if not self._is_free(f"experiment.{each[0]}")]:
                raise UserError(
                    f"{self.path} holds trials of {candidate.label} that were trained differently:\n"
                    f"{changes(changed)}\nchoose another --workdir, or restore the config to resume"
                )

    def candidates(self) -> dict[str, Mapping[str, Any]]:
        """Returns settings of all stored candidates by name, in the order in which they were added."""
        return {row["name"]: json.loads(row["settings"]) for row in self._file.rows("candidates")}

    def start(self, job: Job) -> None:
        """Marks a job as running."""
        self._change(job, state="running")

    def count_death(self, job: Job) -> int:
        """Counts a lost attempt; returns the number of lost attempts so far."""
        deaths = int(self._file.run(f"select deaths from trials where {_TRIALS.condition}", *astuple(job))[0][0]) + 1
        self._change(job, deaths=deaths)
        return deaths

    def finish(self, job: Job, rows: Sequence[dict[str, Any]], seconds: float, peak_bytes: int | None) -> None:
        """Stores the result of a job."""
        self._change(job, state="done", error=None, seconds=seconds, peak_bytes=peak_bytes, rows=json.dumps(rows))

    def fail(self, job: Job, error: str, *, lost: bool = False) -> None:
        """Stores that a job failed, even if it was never started.

        Args:
            lost: its process was lost too often; with more attempts, it is trained again.
        """
        self._change(job, state="lost" if lost else "failed", error=error)

    def records(self) -> list[Record]:
        """Returns all trials, in the order of their first start."""
        kept = ("state", "deaths", "error", "seconds", "peak_bytes")
        return [
            Record(Job(*row[:4]), rows=json.loads(row["rows"] or "[]"), **{name: row[name] for name in kept})
            for row in self._file.rows("trials")
        ]

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _has_trainings(self) -> bool:
        """Returns whether trials have started, or trainings that find learning rates."""
        rates = self._file.rows("facts", "name glob ?", f"{LEARNING_RATE} *")
        return bool(rates or self.records() or any(self.path.parent.glob("trials/*/rate*")))

    def _change(self, job: Job, **values: Any) -> None:
        """Sets values of a job; adds it if it is new."""
        with self._file.transaction():
            self._file.put("trials", *astuple(job), "running", 0, *[None] * 4)
            columns = ", ".join(f"{name} = ?" for name in values)
            self._file.run(f"update trials set {columns} where {_TRIALS.condition}", *values.values(), *astuple(job))
            self._file.seal("trials", *astuple(job))

    def _require_essential(self) -> None:
        """Checks that facts which cannot be computed again are not damaged.

        Raises:
            UserError: they are.
        """
        names = self._file.run(f"select name, crc is {_FACTS.checksum} from facts")
        intact, damaged = ({name for name, fits in names if bool(fits) == wanted} for wanted in (True, False))
        lost = bool(damaged & _ESSENTIAL)
        if not lost and self._file.run("select 1 from trials limit 1"):  # damaged names may be those of lost facts
            lost = not intact >= (_ESSENTIAL if damaged else {"config"})
        if lost:
            raise self._file.damaged("the config or the images of its trials")


class Records:
    """The trials of a search or a sweep."""

    def __init__(self, records: Sequence[Record]) -> None:
        self.all = list(records)
        self._done: dict[str, list[Record]] = {}
        for record in self.all:
            if record.state == "done":
                self._done.setdefault(record.job.candidate, []).append(record)

    def done(self, candidate: str) -> list[Record]:
        """Returns the finished trials of a candidate."""
        return self._done.get(candidate, [])

    def values(
        self,
        candidate: str,
        epochs: int,
        training: config.Training,
        value: Callable[[Mapping[str, Any]], float],
        blocks: Collection[Block],
    ) -> dict[Block, float]:
        """Returns fold -> value of a candidate after some epochs, averaged over seeds.

        Failed and missing trials are omitted.

        Args:
            epochs: epochs of the trials to read.
            training: training of the candidate; it says which row of metrics belongs to the weights that are kept.
            value: maps this row to the value.
            blocks: blocks to read.
        """
        values = {
            record.job.block: value(result_row(dataclasses.replace(training, epochs=epochs), record.rows))
            for record in self.done(candidate)
            if record.job.epochs == epochs and record.job.block in blocks
        }
        return mean_over_seeds({block: values[block] for block in sorted(values)})

    def epochs(self, candidate: str, blocks: Collection[Block]) -> dict[Block, int]:
        """Returns block -> epochs that a candidate was trained for, in all of its trainings on these blocks."""
        spent = Counter[Block]()
        for record in self.done(candidate):
            if record.job.block in blocks:
                spent[record.job.block] += record.job.epochs
        return spent

    @property
    def seconds(self) -> float:
        """Seconds of all trials, summed over processes."""
        return sum(record.seconds or 0.0 for record in self.all)

    @property
    def failed(self) -> list[dict[str, Any]]:
        """The failed trials."""
        return [{**asdict(record.job), "error": record.error} for record in self.all if record.has_failed]
