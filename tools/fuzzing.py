"""What the tools `fuzz_*.py` share: damage to bytes, and files that are tried in a process that may crash or hang.

A tool makes damaged files and checks what a reader does with each. This module runs the checks in a worker process and
notices what no check within a process can: a crash, a hang, and memory. Each file is a function of the seed and its
number, so a failure can be repeated alone (`--only=NUMBER`, in this process, with its files kept). Linux only.
"""

import argparse
import json
import multiprocessing
import os
import resource
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from tfeff.durable import write
from tfeff.errors import UserError

SECONDS = 60.0
"""Time limit per file. Generous, because other programs may use the processor."""
MEGABYTES = 1000
"""How much the files may add to the worker's memory."""
ADDRESS_SPACE = 6 << 30
"""Further bytes of address space that the worker may take, so that it cannot exhaust the machine's memory."""
RENEWED = 1000
"""After how many files the worker is replaced, so that its peak memory is that of few files."""


_FATAL = ("crash", "hang", "memory")
"""How failures begin after which the worker is replaced."""


@dataclass(frozen=True)
class Case:
    """A damaged file.

    Attributes:
        kind: kind of file, such as `voc`.
        damage: kind of damage.
        check: reads the file, and returns what came of it in a few words, and a description of the failure, whose first
            line is its kind ("" if there is none).
    """

    kind: str
    damage: str
    check: Callable[[], tuple[str, str]]


Make = Callable[[np.random.Generator, Path], Case]
"""Makes a case in an empty folder."""


@dataclass(frozen=True)
class Row:
    """What came of a file; `megabytes`: how much the files so far have added to the worker's memory at most."""

    seed: int
    number: int
    kind: str
    damage: str
    result: str
    failure: str
    seconds: float
    megabytes: int


def main(description: str | None, prepare: Callable[[Path], Make], count: int, *, needs_data: bool = True) -> None:
    """Tries the files of a tool, prints a table, and exits with code 1 if anything failed.

    Args:
        description: description of the tool.
        prepare: folder of the undamaged data -> what makes the cases; called in the worker.
        count: number of files by default.
        needs_data: whether there is undamaged data.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    if needs_data:
        parser.add_argument("--data", type=Path, required=True, help="Folder of the undamaged data.")
    parser.add_argument("--count", type=int, default=count, help="Number of files.")
    parser.add_argument("--seed", type=int, default=0, help="Seed of the damage.")
    parser.add_argument("--journal", type=Path, help="Where results are kept; rerun to try the files that it lacks.")
    parser.add_argument("--only", type=int, help="Number of a file, which is tried in this process and kept.")
    parser.set_defaults(data=Path())
    arguments = parser.parse_args()
    if arguments.only is not None:
        folder = Path(tempfile.mkdtemp())
        case = prepare(arguments.data)(np.random.default_rng([arguments.seed, arguments.only]), folder)
        print(f"{case.kind}, {case.damage}, in {folder}", flush=True)
        print(*case.check(), sep="\n")
        return
    rows = journaled(arguments.journal, arguments.seed) if arguments.journal else []
    missing = sorted(set(range(arguments.count)).difference(row.number for row in rows))
    for row in run(prepare, arguments.data, missing, arguments.seed):
        rows.append(row)
        if arguments.journal:
            with arguments.journal.open("a") as file:
                file.write(json.dumps(asdict(row)) + "\n")
    print(table(rows))
    sys.exit(any(row.failure for row in rows))


def journaled(path: Path, seed: int) -> list[Row]:
    """Returns the results in a journal, and removes the part of a line that a killed run has left.

    Raises:
        UserError: it is no journal, or that of another seed.
    """
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    if lines and not lines[-1].endswith("\n"):
        write(path, "".join(lines := lines[:-1]))
    try:
        rows = [Row(**json.loads(line)) for line in lines]
    except (ValueError, TypeError):
        raise UserError(f"--journal={path}: no journal of this program; give another file") from None
    for row in rows:
        if row.seed != seed:
            raise UserError(f"--journal={path}: its files were made with --seed={row.seed}; give it, or another file")
    return rows


def table(rows: Iterable[Row]) -> str:
    """Returns counts of each kind of file, damage and result; the failures; the slowest file and the peak memory."""
    rows = list(rows)
    counts = Counter((row.kind, row.damage, row.result) for row in rows)
    lines = [f"{count:6}  {kind:16} {damage:30} {result}" for (kind, damage, result), count in sorted(counts.items())]
    failures = [row for row in rows if row.failure]
    for (kind, what), count in Counter((row.kind, row.failure.partition("\n")[0]) for row in failures).most_common():
        lines.append(f"\n{count} x {kind}: {what}")
        shown = [row for row in failures if row.kind == kind and row.failure.partition("\n")[0] == what][:3]
        lines += [f"--only={row.number} ({row.damage})\n{row.failure[:1500]}" for row in shown]
    if rows:
        slowest = max(rows, key=lambda row: row.seconds)
        lines.append(f"\nslowest: {slowest.seconds:.1f} s ({slowest.kind}, {slowest.damage}, --only={slowest.number})")
        lines.append(f"most memory that files added: {max(row.megabytes for row in rows):,} MB")
    return "\n".join([*lines, f"{len(rows):,} files, {len(failures)} failures"])


def run(
    prepare: Callable[[Path], Make], data: Path, numbers: Iterable[int], seed: int, seconds: float | None = None
) -> Iterator[Row]:
    """Tries files in a worker process.

    Args:
        prepare: see `main`.
        data: folder of the undamaged data.
        numbers: numbers of the files; file i is a function of (seed, i).
        seed: seed of the damage.
        seconds: time limit per file; None: `SECONDS`.
    """
    with tempfile.TemporaryDirectory() as folder:
        worker, tried = None, 0
        try:
            for number in numbers:
                if worker is None or tried == RENEWED:
                    if worker is not None:
                        worker.stop()
                    worker, tried = _Worker(prepare, data, Path(folder)), 0
                row = worker.run(number, seed, SECONDS if seconds is None else seconds)
                tried += 1
                if row.failure.startswith(_FATAL):
                    worker.stop()
                    worker = None
                yield row
        finally:
            if worker is not None:
                worker.stop()


class _Worker:
    """A process that tries one file after the other."""

    def __init__(self, prepare: Callable[[Path], Make], data: Path, folder: Path) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs, prepare, data, folder), daemon=True)
        self._process.start()
        theirs.close()
        self._pipe.recv()  # ready

    def run(self, number: int, seed: int, seconds: float) -> Row:
        """Tries a file."""
        self._pipe.send((number, seed))
        kind, damage = "?", "?"
        start = time.monotonic()
        result, failure, megabytes = "", "", 0
        try:
            kind, damage = self._pipe.recv()
            start = time.monotonic()
            if self._pipe.poll(seconds):
                result, failure, megabytes = self._pipe.recv()
            else:
                result = failure = f"hang: not finished after {seconds} s"
        except EOFError:
            self._process.join()
            result = failure = f"crash: exit code {self._process.exitcode}"
        if not failure and megabytes > MEGABYTES:
            failure = f"memory: more than {MEGABYTES} MB\n{megabytes} MB"
        return Row(seed, number, kind, damage, result, failure, time.monotonic() - start, megabytes)

    def stop(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.join()
        self._pipe.close()


def _work(pipe: Connection, prepare: Callable[[Path], Make], data: Path, folder: Path) -> None:
    make = prepare(data)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # what libraries print about damaged files
    resource.setrlimit(resource.RLIMIT_AS, (1024 * _kilobytes("VmSize") + ADDRESS_SPACE, resource.RLIM_INFINITY))
    before = _kilobytes("VmHWM")
    pipe.send("ready")
    while True:
        number, seed = pipe.recv()
        place = folder / "case"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        case = make(np.random.default_rng([seed, number]), place)
        pipe.send((case.kind, case.damage))
        try:
            result, failure = case.check()
        except Exception as error:
            result = type(error).__name__
            failure = f"traceback: {type(error).__name__}\n{traceback.format_exc()[-2000:]}"
        pipe.send((result, failure, (_kilobytes("VmHWM") - before) // 1000))


def _kilobytes(what: str) -> int:
    """Returns a figure of this process's memory, as Linux states it."""
    status = Path("/proc/self/status").read_text().split()
    return int(status[status.index(f"{what}:") + 1])


# Damage


def pick(rng: np.random.Generator, values: Any) -> Any:
    """Returns one of some values."""
    return values[int(rng.integers(len(values)))]


def flipped(content: bytes, rng: np.random.Generator) -> tuple[bytes, list[int]]:
    """Replaces up to five bytes; also returns their offsets."""
    damaged = bytearray(content)
    offsets = [int(offset) for offset in rng.integers(len(content), size=int(rng.integers(1, 6)))]
    for offset in offsets:
        damaged[offset] = int(rng.integers(256))
    return bytes(damaged), offsets


def inserted(content: bytes, rng: np.random.Generator) -> bytes:
    """Inserts up to 199 random bytes."""
    offset = int(rng.integers(len(content)))
    return content[:offset] + rng.bytes(int(rng.integers(1, 200))) + content[offset:]


def damaged(content: bytes, rng: np.random.Generator, other: bytes = b"") -> tuple[str, bytes]:
    """Damages a file as disks, networks, programs and attackers do.

    Args:
        content: content of the file.
        rng: which damage, and where.
        other: another file, of which pieces may be mixed in.

    Returns:
        Kind of damage, and the new content.
    """
    size = len(content)
    # Half of the damage is at the beginning or the end, where the structure of most formats is.
    near = min(size, 400)
    start = int(pick(rng, (rng.integers(size), rng.integers(size), rng.integers(near), size - 1 - rng.integers(near))))
    length = int(min(size - start, pick(rng, (1, 2, 4, 16, 512, 4096))))
    piece = content[start : start + length]
    kind = pick(rng, tuple(_DAMAGE))
    replaced = _DAMAGE[kind](rng, piece, other)
    if kind == "truncated":
        return kind, content[:start]
    if kind == "appended":
        return kind, content + replaced
    return kind, content[:start] + replaced + content[start + length :]


def _extreme(rng: np.random.Generator, piece: bytes, other: bytes) -> bytes:
    """Returns a number as large or small as it can be in the place of another."""
    length = int(pick(rng, (1, 2, 4, 8)))
    ones = b"\xff" * (length - 1)
    number = pick(rng, (bytes(length), ones + b"\xff", ones + b"\x7f", b"\x7f" + ones, b"\x80" + bytes(length - 1)))
    return number[: len(piece)] + piece[len(number) :]


_DAMAGE: dict[str, Callable[[np.random.Generator, bytes, bytes], bytes]] = {
    "flipped bit": lambda rng, piece, _: bytes([piece[0] ^ 1 << int(rng.integers(8))]) + piece[1:],
    "flipped bytes": lambda rng, piece, _: flipped(piece, rng)[0],
    "truncated": lambda rng, piece, _: b"",
    "removed": lambda rng, piece, _: b"",
    "zeros": lambda rng, piece, _: bytes(len(piece)),
    "random": lambda rng, piece, _: rng.bytes(len(piece)),
    "repeated": lambda rng, piece, _: piece * int(rng.integers(2, 5)),
    "inserted": lambda rng, piece, _: rng.bytes(int(rng.integers(1, 200))) + piece,
    "extreme number": _extreme,
    "piece of another file": lambda rng, piece, other: other[: len(piece) * 2] if other else piece[::-1],
    "appended": lambda rng, piece, _: rng.bytes(int(rng.integers(1, 5000))),
}
