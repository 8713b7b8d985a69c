"""What a search has done so far: one SQLite file that can be read while it grows.

One process writes. Each change is a transaction of its own (write-ahead log), so that a kill at any moment leaves whole
rows and nothing else.
"""

import json
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tfeff import config
from tfeff.errors import UserError, changes
from tfeff.scaling.allocation import Job
from tfeff.scaling.baseline import Baseline, ScaledNetwork, memory

FREE = ("sweeps.", "objective.", "allocation.", "budget.", "trials.attempts", "folds.seeds")
"""Keys that say which trials there are and what becomes of their results; the trials themselves do not depend on them,
so that a search may go on with others."""
_TABLES = """
create table if not exists facts (name text primary key, value text not null);
create table if not exists networks (
    id text primary key, label text not null, depth real, width real, resolution integer, scale real,
    blocks text, widths text, params integer, macs integer, memory integer, relative_macs real
);
create table if not exists trials (
    network text not null references networks(id), fold integer not null, seed integer not null,
    epochs integer not null, state text not null check (state in ('running', 'done', 'failed')),
    deaths integer not null default 0, error text, seconds real, peak_bytes integer, rows text,
    primary key (network, fold, seed, epochs)
);
"""


@dataclass(frozen=True)
class Record:
    """What is known of one trial.

    Attributes:
        job: which.
        state: `running` (or cut short by a kill), `done` or `failed`.
        deaths: how often its process died.
        error: why it failed.
        seconds: of its process, image reading and compilation included.
        peak_bytes: most device memory that it took, or None where that is not counted.
        rows: of metrics.jsonl, one an epoch.
    """

    job: Job
    state: str
    deaths: int
    error: str | None
    seconds: float | None
    peak_bytes: int | None
    rows: Sequence[dict[str, Any]]


class Store:
    """The file of one search.

    Args:
        path: of the file.
        search: whose results it holds; None to read whatever is there.

    Raises:
        UserError: when it holds the results of another search (the keys that differ are listed), or is no store.
    """

    def __init__(self, path: Path, search: config.Search | None) -> None:
        self.path = path
        if search is None and not path.is_file():
            raise UserError(f"--workdir={path.parent}: no {path.name} there; it should be the workdir of a search")
        self._file = sqlite3.connect(path, timeout=60, isolation_level=None)
        self._file.row_factory = sqlite3.Row
        try:
            self._file.execute("pragma journal_mode = wal")
            self._file.executescript(_TABLES)
            kept = self.fact("config")
        except sqlite3.DatabaseError as error:
            raise UserError(f"{path}: {error}; remove it, or give another --workdir") from None
        if search is None:
            return
        if kept is None:
            self.write_fact("config", config.to_json(search))
            return
        changed = config.differences(config.from_json(kept, config.Search, where=str(path)), search)
        changed = [difference for difference in changed if not difference[0].startswith(FREE)]
        if changed and not self.records():
            # A list of candidates and a forecast, of which nothing is kept.
            self._file.executescript("delete from facts; delete from networks;")
        elif changed:
            raise UserError(
                f"{path} holds the results of another search:\n{changes(changed)}\n"
                "give another --workdir, or the same values to go on with that search"
            )
        self.write_fact("config", config.to_json(search))

    def fact(self, name: str) -> str | None:
        """A text kept under a name."""
        row = self._file.execute("select value from facts where name = ?", (name,)).fetchone()
        return None if row is None else str(row["value"])

    def write_fact(self, name: str, value: str) -> None:
        """Keeps a text under a name."""
        self._file.execute("insert or replace into facts values (?, ?)", (name, value))

    def remember(self, name: str, compute: Callable[[], Any]) -> Any:
        """What `compute` gives, JSON-ready, kept under a name: asked once a search."""
        kept = self.fact(name)
        if kept is None:
            kept = json.dumps(compute())
            self.write_fact(name, kept)
        return json.loads(kept)

    def add_networks(self, networks: Iterable[ScaledNetwork]) -> None:
        """Describes networks for those who read the file."""
        rows = [
            (
                network.id,
                network.label,
                network.depth,
                network.width,
                network.resolution,
                network.scale,
                json.dumps(network.blocks),
                json.dumps(network.widths),
                network.cost.params,
                network.cost.macs,
                memory(network.cost),
                network.relative["macs"],
            )
            for network in networks
        ]
        self._file.execute("begin")
        self._file.executemany(f"insert or ignore into networks values ({', '.join('?' * 12)})", rows)
        self._file.execute("commit")

    def networks(self, baseline: Baseline) -> dict[str, ScaledNetwork]:
        """The networks described so far, by id, with the coefficients that they came with; those of other baselines
        are left out."""
        rows = self._file.execute("select id, depth, width, resolution from networks")
        made = {row["id"]: baseline.network(row["depth"], row["width"], row["resolution"]) for row in rows}
        return {id_: network for id_, network in made.items() if network.id == id_}

    def start(self, job: Job) -> None:
        """Notes that a trial is running."""
        self._file.execute(
            "insert into trials (network, fold, seed, epochs, state) values (?, ?, ?, ?, 'running')"
            " on conflict do update set state = 'running'",
            _key(job),
        )

    def died(self, job: Job) -> int:
        """Notes that a trial's process died; how often it has by now."""
        where = "where network = ? and fold = ? and seed = ? and epochs = ?"
        self._file.execute(f"update trials set deaths = deaths + 1 {where}", _key(job))
        return int(self._file.execute(f"select deaths from trials {where}", _key(job)).fetchone()["deaths"])

    def finish(self, job: Job, rows: Sequence[dict[str, Any]], seconds: float, peak_bytes: int | None) -> None:
        """Keeps what a trial gave."""
        self._file.execute(
            "update trials set state = 'done', error = null, seconds = ?, peak_bytes = ?, rows = ?"
            " where network = ? and fold = ? and seed = ? and epochs = ?",
            (seconds, peak_bytes, json.dumps(rows), *_key(job)),
        )

    def fail(self, job: Job, error: str) -> None:
        """Keeps why a trial failed for good, or could not even start."""
        self._file.execute(
            "insert into trials (network, fold, seed, epochs, state, error) values (?, ?, ?, ?, 'failed', ?)"
            " on conflict do update set state = 'failed', error = excluded.error",
            (*_key(job), error),
        )

    def records(self) -> list[Record]:
        """All trials, in the order in which they were started first."""
        return [
            Record(
                job=Job(row["network"], row["fold"], row["seed"], row["epochs"]),
                state=row["state"],
                deaths=row["deaths"],
                error=row["error"],
                seconds=row["seconds"],
                peak_bytes=row["peak_bytes"],
                rows=json.loads(row["rows"] or "[]"),
            )
            for row in self._file.execute("select * from trials order by rowid")
        ]

    def close(self) -> None:
        """Lets go of the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _key(job: Job) -> tuple[str, int, int, int]:
    return job.candidate, job.fold, job.seed, job.epochs
