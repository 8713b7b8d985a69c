"""An SQLite file in which damage of a value costs its row alone.

A single process writes. Each change is its own transaction in a write-ahead log, which is on the disk before the next
one, so a kill or a power cut at any moment leaves only complete rows. Each row has a checksum, of the stored bytes.
Indexes are made again whenever the file is opened for writing, and the tables have no other constraints: these would
make the whole file unusable if a single value is damaged.
"""

import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfeff.checked import warn
from tfeff.errors import UserError, is_disk_full


@dataclass(frozen=True)
class Table:
    """A table; its first `key` columns identify a row."""

    name: str
    columns: tuple[str, ...]
    key: int = 1

    @property
    def checksum(self) -> str:
        """The checksum of a row, in SQL. Text is passed as bytes, because damaged text may not be UTF-8."""
        values = (
            f"typeof({each}), iif(typeof({each}) = 'text', cast({each} as blob), {each})" for each in self.columns
        )
        return f"crc({', '.join(values)})"

    @property
    def condition(self) -> str:
        """That the values of a key follow, in SQL."""
        return " and ".join(f"{each} = ?" for each in self.columns[: self.key])


class Database:
    """An open file.

    Args:
        path: the file; created if it is missing.
        tables: its tables.
        writable: remove damaged rows. Readers only skip them.

    Raises:
        UserError: it is no database, or its structure is damaged.
    """

    def __init__(self, path: Path, tables: Sequence[Table], *, writable: bool) -> None:
        self.path, self._tables = path, {table.name: table for table in tables}
        self._by_scanning = "" if writable else "not indexed"  # an index may be damaged
        if path.is_file() and not path.stat().st_size:
            warn(f"{path}: empty, so no trial is known; all are trained again")
        self._file = sqlite3.connect(path, timeout=60, isolation_level=None)
        self._file.row_factory = sqlite3.Row
        self._file.text_factory = lambda text: text.decode(errors="replace")
        self._file.create_function("crc", -1, _crc, deterministic=True)
        try:
            self.run("pragma journal_mode = wal")
            self.run("pragma synchronous = full")
            if (found := self.run("pragma quick_check(1)")[0][0]) != "ok":
                raise self.damaged(found)
            for table in tables:
                self.run(f"create table if not exists {table.name} ({', '.join(table.columns)}, crc)")
                count = self.run(f"select count(*) from {table.name} where crc is not {table.checksum}")[0][0]
                if count:
                    warn(f"{path}: {count} of its {table.name} are damaged; what they held is computed again")
        except BaseException:
            self.close()  # else it would remain locked
            raise

    def repair(self) -> None:
        """Removes damaged rows, and makes the indexes."""
        with self.transaction():
            for table in self._tables.values():
                self.run(f"drop index if exists {table.name}_key")
                self.run(f"delete from {table.name} where crc is not {table.checksum}")
                self.run(
                    f"create unique index {table.name}_key on {table.name} ({', '.join(table.columns[: table.key])})"
                )

    def rows(self, name: str, where: str = "true", *values: Any) -> list[sqlite3.Row]:
        """Returns undamaged rows of a table, in the order in which they were added."""
        checksum = self._tables[name].checksum
        condition = f"{self._by_scanning} where {where} and crc is {checksum}"
        return self.run(f"select * from {name} {condition} order by rowid", *values)

    def put(self, name: str, *values: Any, instead: bool = False) -> None:
        """Adds a row, unless its key is there; `instead`: in its place."""
        table = self._tables[name]
        conflict, row = "replace" if instead else "ignore", ", ".join(f"? as {each}" for each in table.columns)
        self.run(f"insert or {conflict} into {name} select *, {table.checksum} from (select {row})", *values)

    def seal(self, name: str, *key: Any) -> None:
        """Computes the checksum of a row after a change, in the same transaction."""
        table = self._tables[name]
        self.run(f"update {name} set crc = {table.checksum} where {table.condition}", *key)

    def run(self, statement: str, *values: Any) -> list[sqlite3.Row]:
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
            raise self.damaged(str(error)) from None
        except sqlite3.DatabaseError as error:
            raise self.damaged(str(error)) from None

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Makes one change of several statements; within another one, a part of it."""
        if self._file.in_transaction:
            yield
            return
        self.run("begin immediate")
        try:
            yield
            self.run("commit")
        except BaseException:
            self._file.rollback()
            raise

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def damaged(self, what: str) -> UserError:
        """Returns the error for a file that cannot be used."""
        return UserError(
            f"{self.path}: damaged ({what}); delete it and rerun the command, which trains again, or choose another "
            "--workdir"
        )


def _crc(*values: str | float | bytes | None) -> int:
    return zlib.crc32(repr(values).encode())
