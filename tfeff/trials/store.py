"""The results of an experiment: one SQLite file that can be read while it is written.

A single process writes. Each change is its own transaction in a write-ahead log, so a kill at any moment leaves only
complete rows.
"""

import dataclasses
import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Any, Self

from tfeff import config
from tfeff.config.section import Section
from tfeff.errors import UserError, changes
from tfeff.selection import Fingerprint
from tfeff.trials.results import Block, Job, mean_over_seeds
from tfeff.trials.trial import Candidate, result_row

VERSION = "2"
"""Changes if trials with the same config are trained differently: with other seeds, schedules or learning rates."""
LEARNING_RATE = "learning_rate"
"""First word of the facts that hold the learning rates found for a candidate."""
_FACTS = "create table if not exists facts (name text primary key, value text not null)"
_CANDIDATES = (
    "create table if not exists candidates (name text primary key, label text not null, settings text not null)"
)
_TRIALS = """
create table if not exists trials (
    candidate text not null, fold integer not null, seed integer not null, epochs integer not null,
    state text not null check (state in ('running', 'done', 'failed')),
    deaths integer not null default 0, error text, seconds real, peak_bytes integer, rows text,
    primary key (candidate, fold, seed, epochs)
)"""
_JOB = "where candidate = ? and fold = ? and seed = ? and epochs = ?"


@dataclass(frozen=True)
class Record:
    """The stored state of one trial.

    Attributes:
        state: `running` (or killed while running), `done` or `failed`.
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


class TrialStore:
    """The SQLite file of one experiment.

    Args:
        settings: config of the experiment; None opens an existing file with any config.
        free: prefixes of config keys that no trial depends on. They may differ from the stored config; all other
            keys must be equal.

    Raises:
        UserError: the file holds results of another config (the keys that differ are listed) or is not a database.
    """

    def __init__(self, path: Path, settings: Section | None, free: tuple[str, ...] = ()) -> None:
        self.path = path
        if settings is None and not path.is_file():
            raise UserError(f"--workdir={path.parent}: no {path.name} in it; expected the workdir of a search")
        self._file = sqlite3.connect(path, timeout=60, isolation_level=None)
        self._file.row_factory = sqlite3.Row
        try:
            self._file.execute("pragma journal_mode = wal")
            for table in (_FACTS, _CANDIDATES, _TRIALS):
                self._file.execute(table)
            stored = self.fact("config")
        except sqlite3.DatabaseError as error:
            raise UserError(f"{path}: {error}; remove the file or choose another --workdir") from None
        if settings is None:
            return
        if stored is not None:
            previous = config.from_json(stored, type(settings), where=str(path))
            changed = [change for change in config.differences(previous, settings) if not change[0].startswith(free)]
            if changed and not self._has_trainings():
                # Only a list of candidates and a forecast so far: nothing to keep.
                self._file.executescript("delete from facts; delete from candidates;")
            elif changed:
                raise UserError(
                    f"{path} holds the results of another config:\n{changes(changed)}\n"
                    "choose another --workdir, or restore these values to resume"
                )
        self.write_fact("config", config.to_json(settings))

    def fact(self, name: str) -> str | None:
        """The text stored under a name."""
        row = self._file.execute("select value from facts where name = ?", (name,)).fetchone()
        return None if row is None else str(row["value"])

    def write_fact(self, name: str, value: str) -> None:
        """Stores a text under a name."""
        self._file.execute("insert or replace into facts values (?, ?)", (name, value))

    def cached(self, name: str, compute: Callable[[], Any]) -> Any:
        """The JSON-ready value of `compute`, which is called only if nothing is stored under the name."""
        stored = self.fact(name)
        if stored is None:
            stored = json.dumps(compute())
            self.write_fact(name, stored)
        return json.loads(stored)

    def claim_images(self, images: Fingerprint, source: str, fold_examples: int | None) -> None:
        """Stores the images of all trials.

        Args:
            images: those from which folds are drawn, and those that all folds are validated on, if there are any.
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
        """Stores the label and the settings of each candidate that is not stored yet."""
        rows = [(candidate.name, candidate.label, json.dumps(candidate.settings)) for candidate in candidates]
        self._file.execute("begin")
        self._file.executemany("insert or ignore into candidates values (?, ?, ?)", rows)
        self._file.execute("commit")

    def candidates(self) -> dict[str, Mapping[str, Any]]:
        """Settings of all stored candidates by name, in the order in which they were added."""
        rows = self._file.execute("select name, settings from candidates order by rowid")
        return {row["name"]: json.loads(row["settings"]) for row in rows}

    def start(self, job: Job) -> None:
        """Marks a job as running."""
        self._file.execute(
            "insert into trials (candidate, fold, seed, epochs, state) values (?, ?, ?, ?, 'running')"
            " on conflict do update set state = 'running'",
            astuple(job),
        )

    def count_death(self, job: Job) -> int:
        """Counts a lost attempt; returns the number of lost attempts so far."""
        self._file.execute(f"update trials set deaths = deaths + 1 {_JOB}", astuple(job))
        return int(self._file.execute(f"select deaths from trials {_JOB}", astuple(job)).fetchone()["deaths"])

    def finish(self, job: Job, rows: Sequence[dict[str, Any]], seconds: float, peak_bytes: int | None) -> None:
        """Stores the result of a job."""
        self._file.execute(
            f"update trials set state = 'done', error = null, seconds = ?, peak_bytes = ?, rows = ? {_JOB}",
            (seconds, peak_bytes, json.dumps(rows), *astuple(job)),
        )

    def fail(self, job: Job, error: str) -> None:
        """Stores that a job failed for good, even if it was never started."""
        self._file.execute(
            "insert into trials (candidate, fold, seed, epochs, state, error) values (?, ?, ?, ?, 'failed', ?)"
            " on conflict do update set state = 'failed', error = excluded.error",
            (*astuple(job), error),
        )

    def records(self) -> list[Record]:
        """All trials, in the order of their first start."""
        kept = ("state", "deaths", "error", "seconds", "peak_bytes")
        return [
            Record(Job(*row[:4]), rows=json.loads(row["rows"] or "[]"), **{name: row[name] for name in kept})
            for row in self._file.execute("select * from trials order by rowid")
        ]

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _has_trainings(self) -> bool:
        """Whether trials have started, or trainings that find learning rates."""
        rates = self._file.execute("select 1 from facts where name glob ?", (f"{LEARNING_RATE} *",)).fetchone()
        return bool(rates or self.records() or any(self.path.parent.glob("trials/*/rate*")))


class Records:
    """The trials of a search or a sweep."""

    def __init__(self, records: Sequence[Record]) -> None:
        self.all = list(records)

    def done(self, candidate: str) -> list[Record]:
        """The finished trials of a candidate."""
        return [record for record in self.all if record.job.candidate == candidate and record.state == "done"]

    def values(
        self,
        candidate: str,
        epochs: int,
        training: config.Training,
        value: Callable[[Mapping[str, Any]], float],
        blocks: Collection[Block] | None = None,
    ) -> dict[Block, float]:
        """Fold -> value of a candidate after some epochs, averaged over seeds; failed and missing trials are omitted.

        Args:
            epochs: epochs of the trials to read.
            training: training of the candidate; it says which row of metrics belongs to the weights that are kept.
            value: maps this row to the value.
            blocks: those to read; None: all.
        """
        values = {
            record.job.block: value(result_row(dataclasses.replace(training, epochs=epochs), record.rows))
            for record in self.done(candidate)
            if record.job.epochs == epochs and (blocks is None or record.job.block in blocks)
        }
        return mean_over_seeds({block: values[block] for block in sorted(values)})

    def epochs(self, candidate: str, blocks: Collection[Block]) -> dict[Block, int]:
        """Block -> epochs that a candidate was trained for, in all of its trainings on these blocks."""
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
        return [{**asdict(record.job), "error": record.error} for record in self.all if record.state == "failed"]
