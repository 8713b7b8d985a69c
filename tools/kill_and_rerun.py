"""Kills a command at random moments, reruns it to the end, and compares its results with those of an unbroken run.

    python tools/kill_and_rerun.py --kills=10 --out=/tmp/kills -- python -m tfeff.propose --dataset=voc:DIR --out={out}

`{out}` in the command stands for the directory of its results. The command is run once without interruption in
OUT/unbroken. In OUT/killed, it is killed `--kills` times (SIGKILL, with all its children), each time after a random
share of the unbroken run's time, and then runs to its end. The files of both must be equal. Compared are

- JSON, lines of JSON, arrays (`.npz`), SQLite, CSV and tables in Markdown: all values, except those whose names or
  columns say that they are measured times, speeds or memory (`MEASURED`)
- PNG: the pixels, and SVG: the text, except figures that draw measured values (`TIMED_FIGURES`)
- Markdown and text: all lines, except numbers with a unit of time or speed (`QUANTITY`)
- HTML: only whether there is a page; its numbers and figures are in other files
- proposals: the boxes of each image, since writers share them differently
- all others: the bytes.

Names of the two directories do not count. Not compared: logs, locks, TensorBoard's events, profiles and SavedModels.
Exit code 1: a difference, or a run that failed.
"""

import argparse
import csv
import itertools
import json
import os
import random
import re
import shlex
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import command_line
import numpy as np
from PIL import Image

from tfeff.errors import UserError
from tfeff.proposals.store import ProposalStore

MEASURED = re.compile(
    r"second|latency|input_wait|time|speed|duration|memory|began|finished|/s\b|^peak_bytes$|^crc|^deaths$"
)
"""Names of values that differ from run to run, and of checksums that include such values."""
QUANTITY = re.compile(r"\d[\d,.:]*([eE][-+]?\d+)?[  ]?(ms|µs|s|min|h|seconds|minutes|hours|process-hours|[a-z]+/s)\b")
"""Numbers in texts that differ from run to run."""
TIMED_FIGURES = {"training", "latency", "accuracy_latency"}
"""Figures that draw measured values, by their file's name without its ending: images per second, and latencies."""
NAMES_ALONE = {"tensorboard", "saved_model", "trace"}
"""Folders that are not compared: their files' names and contents contain times."""
SKIPPED = re.compile(r"\.lock$|\.log$|-wal$|-shm$|\.crc")


def main() -> None:
    """Runs both and compares."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, help="Directory for both results; must not exist.")
    parser.add_argument("command", nargs="+", help="The command, after --.")
    given = parser.parse_args()
    if not any("{out}" in part for part in given.command):
        raise UserError("the command does not contain {out}, the directory of its results")
    if given.out.exists():
        raise UserError(f"--out={given.out} exists; choose another directory")
    given.out.mkdir(parents=True)
    unbroken, killed = given.out / "unbroken", given.out / "killed"
    began = time.monotonic()
    run(given.command, unbroken, given.out / "unbroken.log")
    whole = time.monotonic() - began
    rng = random.Random(given.seed)
    for number in range(given.kills):
        after = rng.uniform(0.05, 0.95) * whole
        ended = kill(given.command, killed, given.out / f"kill{number}.log", after)
        print(f"{'ended' if ended else 'killed'} after {after:.1f} of {whole:.1f} s", flush=True)
    run(given.command, killed, given.out / "rerun.log")
    found = list(differences(unbroken, killed))
    print("\n".join(found) or f"equal: {sum(path.is_file() for path in unbroken.rglob('*'))} files")
    sys.exit(bool(found))


def start(command: list[str], out: Path, log: Path) -> subprocess.Popen[bytes]:
    """Starts a command in a process group of its own."""
    words = [part.replace("{out}", str(out)) for part in command]
    with log.open("wb") as file:
        return subprocess.Popen(words, stdout=file, stderr=subprocess.STDOUT, start_new_session=True)


def stop(process: subprocess.Popen[bytes]) -> None:
    """Kills the process group of a command."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def run(command: list[str], out: Path, log: Path) -> None:
    """Runs a command to its end.

    Raises:
        UserError: it fails.
    """
    process = start(command, out, log)
    try:
        code = process.wait()
    except BaseException:
        stop(process)
        raise
    if code:
        raise UserError(f"exit code {code} of {shlex.join(command)}; see {log}")


def kill(command: list[str], out: Path, log: Path, after: float) -> bool:
    """Kills a command after some seconds; whether it had ended before.

    Raises:
        UserError: it fails by itself.
    """
    process = start(command, out, log)
    try:
        code = process.wait(after)
    except subprocess.TimeoutExpired:
        stop(process)
        return False
    except BaseException:
        stop(process)
        raise
    if code:
        raise UserError(f"exit code {code} after an earlier kill; see {log}")
    return True


def differences(one: Path, other: Path) -> Iterator[str]:
    """Yields files that only one directory has, and those with other contents."""
    files = [
        {path.relative_to(root) for path in root.rglob("*") if path.is_file() and not SKIPPED.search(path.name)}
        for root in (one, other)
    ]
    models = [{path.parent for path in each if path.name == "saved_model.pb"} for each in files]
    yield from (f"only in one: SavedModel {folder}" for folder in sorted(models[0] ^ models[1]))
    files = [
        {path for path in each if not (NAMES_ALONE & {*path.parts} or own & {*path.parents})}
        for each, own in zip(files, models, strict=True)
    ]
    shards = [{path.parent for path in each if path.name.startswith("shard-")} for each in files]
    files = [{path for path in each if not path.name.startswith("shard-")} for each in files]
    for folder in sorted(shards[0] | shards[1]):
        first, second = (
            {name: store[name].boxes_yxyx.tobytes() for name in store}
            for store in (ProposalStore(root / folder) for root in (one, other))
        )
        if first != second:
            yield f"different: proposals in {folder}"
    yield from (f"only without kills: {path}" for path in sorted(files[0] - files[1]))
    yield from (f"only after kills: {path}" for path in sorted(files[1] - files[0]))
    for path in sorted(files[0] & files[1]):
        first, second = contents(one / path, one), contents(other / path, other)
        if first != second:
            yield f"different: {path}"


def contents(path: Path, root: Path) -> Any:
    """Returns what is compared: values without measured ones."""
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as arrays:
            return {
                name: (str(arrays[name].dtype), arrays[name].tobytes())
                if arrays[name].dtype.kind != "U"
                else without_measured(json.loads(str(arrays[name])), root)
                for name in arrays
            }
    if path.suffix == ".json":
        return without_measured(json.loads(path.read_text()), root)
    if path.suffix == ".jsonl":
        return [without_measured(json.loads(line), root) for line in path.read_text().splitlines()]
    if path.suffix == ".sqlite":
        with sqlite3.connect(path) as database:
            tables = [name for (name,) in database.execute("select name from sqlite_master where type = 'table'")]
            return {name: rows(database, name, root) for name in sorted(tables)}
    if path.suffix == ".csv":
        with path.open(newline="") as file:
            return without_measured(without_columns(list(csv.reader(file))), root)
    if (path.suffix in (".png", ".svg") and path.stem in TIMED_FIGURES) or path.suffix == ".html":
        return None
    if path.suffix == ".png":
        with Image.open(path) as image:
            return image.mode, image.size, image.tobytes()
    if path.suffix in (".md", ".txt", ".svg"):
        text = path.read_text().replace(str(root), "")
        return text if path.suffix == ".svg" else without_quantities(text)
    return path.read_bytes()


def without_columns(table: list[list[str]]) -> list[list[str]]:
    """Returns a table, titles first, without its measured columns."""
    kept = [place for place, name in enumerate(table[0]) if not MEASURED.search(name)] if table else []
    return [[line[place] for place in kept] for line in table]


def without_quantities(text: str) -> list[Any]:
    """Returns the lines of a text without numbers that have a unit of time or speed.

    Measured columns of tables are left out, too.
    """
    found = list[Any]()
    for in_table, group in itertools.groupby(text.splitlines(), lambda line: line.startswith("|")):
        lines = list(group)
        if in_table:
            found += without_columns([line.split("|") for line in lines])
        else:
            found += [QUANTITY.sub("#", line) for line in lines]
    return found


def rows(database: sqlite3.Connection, table: str, root: Path) -> list[Any]:
    """Returns the rows of a table, sorted, without measured values."""
    cursor = database.execute(f"select * from {table}")
    names = [each[0] for each in cursor.description]
    found = []
    for row in cursor:
        values = {name: value for name, value in zip(names, row, strict=True) if not MEASURED.search(name)}
        for name, value in values.items():
            if name == "value" and MEASURED.search(str(values.get("name"))):  # a fact, such as a latency
                values[name] = None
            elif isinstance(value, str) and value[:1] in ("[", "{"):
                values[name] = without_measured(json.loads(value), root)
        found.append(json.dumps(values, sort_keys=True, default=repr))
    return sorted(found)


def without_measured(value: Any, root: Path) -> Any:
    """Returns a JSON value without the values that differ from run to run and the directory's name."""
    if isinstance(value, dict):
        return {key: without_measured(each, root) for key, each in value.items() if not MEASURED.search(key)}
    if isinstance(value, list):
        return [without_measured(each, root) for each in value]
    return value.replace(str(root), "") if isinstance(value, str) else value


if __name__ == "__main__":
    command_line.run(main)
