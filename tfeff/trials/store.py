"""The results of an experiment: one SQLite file that can be read while it is written.

A single process writes. Each change is its own transaction in a write-ahead log, which is on the disk before the next
one, so a kill or a power cut at any moment leaves only complete rows. Each row has a checksum.
"""

import dataclasses
import json
import sqlite3
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Any, Self

from tfeff import config
from tfeff.checked import warn
from tfeff.config.section import Section
from tfeff.errors import UserError, changes, is_disk_full
from tfeff.selection import Fingerprint
from tfeff.trials.results import Block, Job, mean_over_seeds
from tfeff.trials.trial import Candidate, result_row

VERSION = "2"
"""Changes if trials with the same config are trained differently: with other seeds, schedules or learning rates."""
LEARNING_RATE = "learning_rate"
"""First word of the facts that hold the learning rates found for a candidate."""
_FACTS = "create table if not exists facts (name text primary key, value text not null, crc integer)"
_CANDIDATES = (
    "create table if not exists candidates "
    "(name text primary key, label text not null, settings text not null, crc integer)"
)
_TRIALS = """
create table if not exists trials (
    candidate text not null, fold integer not null, seed integer not null, epochs integer not null,
    state text not null check (state in ('running', 'done', 'failed')),
    deaths integer not null default 0, error text, seconds real, peak_bytes integer, rows text, crc integer,
    primary key (candidate, fold, seed, epochs)
)"""
_JOB = "candidate = ? and fold = ? and seed = ? and epochs = ?"
_CHECKSUMS = {
    "facts": "crc(name, value)",
    "candidates": "crc(name, label, settings)",
    "trials": "crc(candidate, fold, seed, epochs, state, deaths, error, seconds, peak_bytes, rows)",
}
"""The checksum of a row of each table, in SQL."""
_ESSENTIAL = ("config", "images", "fold_examples", "version")
"""Facts that cannot be computed again: trials must fit them."""


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
        if path.is_file() and not path.stat().st_size:
            warn(f"{path}: empty, so no trial is known; all are trained again")
        self._file = sqlite3.connect(path, timeout=60, isolation_level=None)
        self._file.row_factory = sqlite3.Row
        self._file.text_factory = lambda text: text.decode(errors="replace")
        self._file.create_function("crc", -1, _crc, deterministic=True)
        try:
            self._open(settings, free)
        except BaseException:
            self._file.close()  # else it would remain locked
            raise

    def _open(self, settings: Section | None, free: tuple[str, ...]) -> None:
        """Checks the file and the config; see the class."""
        self._run("pragma journal_mode = wal")
        self._run("pragma synchronous = full")
        if (found := self._run("pragma integrity_check(1)")[0][0]) != "ok":
            raise self._damaged(found)
        for table in (_FACTS, _CANDIDATES, _TRIALS):
            self._run(table)
        self._check()
        stored = self.fact("config")
        if settings is None:
            return
        for table, checksum in _CHECKSUMS.items():
            self._run(f"delete from {table} where crc is not {checksum}")
        if stored is not None:
            previous = config.from_json(stored, type(settings), where=str(self.path))
            changed = [change for change in config.differences(previous, settings) if not change[0].startswith(free)]
            if changed and not self._has_trainings():
                # Only a list of candidates and a forecast so far: nothing to keep.
                self._run("delete from facts")
                self._run("delete from candidates")
            elif changed:
                raise UserError(
                    f"{self.path} holds the results of another config:\n{changes(changed)}\n"
                    "choose another --workdir, or restore these values to resume"
                )
        self.write_fact("config", config.to_json(settings))

    def fact(self, name: str) -> str | None:
        """The text stored under a name."""
        rows = self._intact("facts", "where name = ?", name)
        return str(rows[0]["value"]) if rows else None

    def write_fact(self, name: str, value: str) -> None:
        """Stores a text under a name."""
        self._run("insert or replace into facts values (?1, ?2, crc(?1, ?2))", name, value)

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
        with self._transaction():
            for each in candidates:
                row = each.name, each.label, json.dumps(each.settings)
                self._run("insert or ignore into candidates values (?1, ?2, ?3, crc(?1, ?2, ?3))", *row)

    def candidates(self) -> dict[str, Mapping[str, Any]]:
        """Settings of all stored candidates by name, in the order in which they were added."""
        return {row["name"]: json.loads(row["settings"]) for row in self._intact("candidates")}

    def start(self, job: Job) -> None:
        """Marks a job as running."""
        self._change(
            job,
            "insert into trials (candidate, fold, seed, epochs, state) values (?, ?, ?, ?, 'running')"
            " on conflict do update set state = 'running'",
            *astuple(job),
        )

    def count_death(self, job: Job) -> int:
        """Counts a lost attempt; returns the number of lost attempts so far."""
        self._change(job, f"update trials set deaths = deaths + 1 where {_JOB}", *astuple(job))
        return int(self._run(f"select deaths from trials where {_JOB}", *astuple(job))[0]["deaths"])

    def finish(self, job: Job, rows: Sequence[dict[str, Any]], seconds: float, peak_bytes: int | None) -> None:
        """Stores the result of a job."""
        self._change(
            job,
            f"update trials set state = 'done', error = null, seconds = ?, peak_bytes = ?, rows = ? where {_JOB}",
            *(seconds, peak_bytes, json.dumps(rows), *astuple(job)),
        )

    def fail(self, job: Job, error: str) -> None:
        """Stores that a job failed for good, even if it was never started."""
        self._change(
            job,
            "insert into trials (candidate, fold, seed, epochs, state, error) values (?, ?, ?, ?, 'failed', ?)"
            " on conflict do update set state = 'failed', error = excluded.error",
            *(*astuple(job), error),
        )

    def records(self) -> list[Record]:
        """All trials, in the order of their first start."""
        kept = ("state", "deaths", "error", "seconds", "peak_bytes")
        return [
            Record(Job(*row[:4]), rows=json.loads(row["rows"] or "[]"), **{name: row[name] for name in kept})
            for row in self._intact("trials")
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
        rates = self._intact("facts", "where name glob ?", f"{LEARNING_RATE} *")
        return bool(rates or self.records() or any(self.path.parent.glob("trials/*/rate*")))

    def _run(self, statement: str, *values: Any) -> list[sqlite3.Row]:
        """Runs a statement and returns its rows.

        Raises:
            UserError: the file is damaged, or cannot be read or written.
        """
        try:
            return self._file.execute(statement, values).fetchall()
        except sqlite3.OperationalError as error:
            if is_disk_full(error):
                raise
            if any(words in str(error) for words in ("locked", "readonly", "unable to open", "disk I/O")):
                advice = "see whether the disk is full and the file can be written, or choose another --workdir"
                raise UserError(f"{self.path}: {error}; {advice}") from None
            raise self._damaged(str(error)) from None
        except sqlite3.DatabaseError as error:
            raise self._damaged(str(error)) from None

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Makes one change of several statements."""
        self._run("begin immediate")
        try:
            yield
            self._run("commit")
        except BaseException:
            if self._file.in_transaction:
                self._file.rollback()
            raise

    def _change(self, job: Job, statement: str, *values: Any) -> None:
        """Changes the row of a job, and its checksum."""
        with self._transaction():
            self._run(statement, *values)
            self._run(f"update trials set crc = {_CHECKSUMS['trials']} where {_JOB}", *astuple(job))

    def _intact(self, table: str, where: str = "", *values: Any) -> list[sqlite3.Row]:
        """Rows that fit their checksum, in the order in which they were added."""
        condition = f"{where} and" if where else "where"
        return self._run(f"select * from {table} {condition} crc is {_CHECKSUMS[table]} order by rowid", *values)

    def _check(self) -> None:
        """Reports damaged rows.

        Raises:
            UserError: among them are facts that cannot be computed again.
        """
        for table, checksum in _CHECKSUMS.items():
            damaged = self._run(f"select count(*) from {table} where crc is not {checksum}")[0][0]
            if damaged:
                warn(f"{self.path}: {damaged} of its {table} are damaged; what they held is computed again")
        facts = {row[0]: bool(row[1]) for row in self._run("select name, crc is crc(name, value) from facts")}
        lost = any(not facts.get(name, True) for name in _ESSENTIAL)
        if lost or ("config" not in facts and self._run("select 1 from trials limit 1")):
            raise self._damaged("the config or the images of its trials")

    def _damaged(self, what: str) -> UserError:
        return UserError(
            f"{self.path}: damaged ({what}); delete it and rerun the command, which trains again, or choose another "
            "--workdir"
        )


def _crc(*values: str | float | bytes | None) -> int:
    return zlib.crc32(repr(values).encode(errors="surrogatepass"))


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
