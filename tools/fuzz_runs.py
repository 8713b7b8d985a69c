"""Damages the files that runs write, and reads them: `python tools/fuzz_runs.py --count=5000`.

Makes each kind of file once, small: those of a training, a search, proposals, stored features, predictions, exports and
caches. Then it flips bits, cuts, inserts, empties, swaps lines and changes values. A reader must finish within a time
limit and return the same value, raise `UserError`, or say what it has dropped; another value without a word is a
failure. A file of lines or records without its end looks as after a kill: what is left may be returned silently; so may
the rest of a journal, which only saves time.
"""

import argparse
import json
import logging
import signal
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import command_line
import numpy as np

from tfeff import checked, config, training
from tfeff.analysis.comparison.insight import stored_latencies
from tfeff.config.family import FILE, Family
from tfeff.data.input.disk_cache import DiskCache
from tfeff.errors import UserError
from tfeff.proposals.proposals import ProposedBoxes
from tfeff.proposals.store import ProposalStore, Writer
from tfeff.rcnn.feature_store import stored_features
from tfeff.runs.journal import Journal
from tfeff.serving.detector import DETECTOR_FILE, DetectorRecord, read_record
from tfeff.training import checkpoint
from tfeff.trials.results import Job
from tfeff.trials.store import TrialStore
from tfeff.trials.trial import Candidate

SECONDS = 30.0
"""Time limit per file."""
UNUSUAL = (None, True, -1, 0, 1e308, float("nan"), 10**30, "", "x", "猫\ud800", [], {}, [[1]], {"a": None}, [1, "2"])
"""Values in place of others in JSON."""


@dataclass(frozen=True)
class Kind:
    """A file, and how it is read.

    Attributes:
        path: the file.
        read: reads it; returns something to compare.
        rest: files that `read` may change; restored before each case.
        appended: whether a part of it is what a kill leaves.
    """

    path: Path
    read: Callable[[], Any]
    rest: tuple[Path, ...] = ()
    appended: bool = False


def main() -> None:
    """Tries all files; exits with code 1 if a reader failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=5_000, help="Total number of damaged files.")
    parser.add_argument("--seed", type=int, default=0, help="Seed of the damage.")
    arguments = parser.parse_args()
    failures = list[str]()
    with tempfile.TemporaryDirectory() as folder:
        outcomes = run(Path(folder), arguments.count, arguments.seed, failures)
    for (name, damage, outcome), count in sorted(outcomes.items()):
        print(f"{count:6}  {name:16} {damage:16} {outcome}")
    for kind, count in Counter(failure.partition("\n")[0] for failure in failures).most_common():
        print(f"{count} x {kind}")
    for failure in failures[:10]:
        print(f"\n{failure}", file=sys.stderr)
    print(f"{sum(outcomes.values())} files, {len(failures)} failures")
    sys.exit(bool(failures))


def run(folder: Path, count: int, seed: int, failures: list[str]) -> Counter[tuple[str, str, str]]:
    """Tries `count` files, as many of each kind.

    Args:
        folder: for the files.
        count: number of files.
        seed: the damage to file i is a function of (seed, i).
        failures: list to which a text is appended for each failure.

    Returns:
        (kind, damage, outcome) -> number of files.
    """
    outcomes = Counter[tuple[str, str, str]]()
    made = kinds(folder)
    whole = {path: path.read_bytes() for kind in made.values() for path in (kind.path, *kind.rest)}
    expected = {name: kind.read() for name, kind in made.items()}
    for number in range(count):
        name = tuple(made)[number % len(made)]
        kind, rng = made[name], np.random.default_rng([seed, number])
        damage, content = damaged(whole[kind.path], rng, text=kind.path.suffix.startswith(".json"))
        for path in (kind.path, *kind.rest):
            path.write_bytes(whole[path])
        kind.path.write_bytes(content)
        outcome, failure = check(kind, expected[name])
        kind.path.write_bytes(whole[kind.path])
        outcomes[name, damage, outcome] += 1
        if failure:
            failures.append(f"{name}, {damage}: {failure}\nfile {number} of seed {seed}")
    return outcomes


def check(kind: Kind, expected: Any) -> tuple[str, str]:
    """Reads a damaged file; returns the outcome in a word or two, and a description of the failure ("" if none)."""

    def time_out(number: int, frame: FrameType | None) -> None:
        raise TimeoutError

    said = list[str]()
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    checked.warn.cache_clear()
    logging.getLogger().addHandler(handler)
    signal.signal(signal.SIGALRM, time_out)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        value = kind.read()
        if value == expected:
            return ("equal, said" if said else "equal"), ""
        if said:
            return "dropped, said", ""
        if kind.appended and _is_part(value, expected):
            return "as after a kill", ""
        return "read", f"another value without a word\n{_difference(value, expected)}"
    except UserError as error:
        return "UserError", "" if str(kind.path.parent) in str(error) else f"does not name its file\n{error}"
    except TimeoutError:
        return "time-out", f"not finished after {SECONDS} s"
    except Exception as error:
        return type(error).__name__, f"{type(error).__name__}\n{traceback.format_exc()}"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        logging.getLogger().removeHandler(handler)


def _is_part(value: Any, expected: Any) -> bool:
    if isinstance(expected, Mapping):
        return isinstance(value, Mapping) and all(expected.get(key) == each for key, each in value.items())
    return isinstance(value, list) and value == expected[: len(value)]


def _difference(value: Any, expected: Any) -> str:
    texts = repr(value), repr(expected)
    place = next((i for i, (a, b) in enumerate(zip(*texts, strict=False)) if a != b), min(map(len, texts)))
    return " instead of ".join(text[max(0, place - 40) : place + 60] for text in texts)


# Damage


def damaged(content: bytes, rng: np.random.Generator, *, text: bool) -> tuple[str, bytes]:
    """Kind of damage, and the damaged content."""
    ways = ["bits", "bits", "bits", "cut", "inserted", "empty", "zeros", "removed"]
    if text:
        ways += ["lines swapped", "line removed", "line repeated", "value", "value", "value"]
    way = str(rng.choice(ways))
    size, data = len(content), bytearray(content)
    place, length = int(rng.integers(size)), int(rng.integers(1, 40))
    lines = content.splitlines(keepends=True)
    first, second = sorted(int(index) for index in rng.integers(len(lines), size=2))
    if way == "bits":
        for _ in range(int(rng.integers(1, 4))):
            data[int(rng.integers(size))] ^= 1 << int(rng.integers(8))
    elif way == "cut":
        del data[place:]
    elif way == "inserted":
        data[place:place] = rng.bytes(length) if rng.integers(2) else content[place : place + length]
    elif way == "empty":
        data.clear()
    elif way == "zeros":
        data[place : place + 16 * length] = bytes(len(data[place : place + 16 * length]))
    elif way == "removed":
        del data[place : place + length]
    elif way == "lines swapped":
        lines[first], lines[second] = lines[second], lines[first]
        data = bytearray(b"".join(lines))
    elif way == "line removed":
        data = bytearray(b"".join(lines[:first] + lines[first + 1 :]))
    elif way == "line repeated":
        data = bytearray(b"".join([*lines[: second + 1], lines[first], *lines[second + 1 :]]))
    else:
        data = bytearray(_with_another_value(content, rng))
    return way, bytes(data)


def _with_another_value(content: bytes, rng: np.random.Generator) -> bytes:
    """JSON, or a line of JSON, with one value replaced; its checksum remains, or goes, as if the user had edited it."""
    lines = content.splitlines(keepends=True)
    try:
        place, record = None, json.loads(content)
    except ValueError:
        place = int(rng.integers(len(lines)))
        record = json.loads(lines[place])
    if rng.integers(4) == 0:
        record.pop(checked.KEY, None)
    holder, key = record, None
    while isinstance(holder, dict | list) and holder:
        keys = list(holder) if isinstance(holder, dict) else range(len(holder))
        parent, key = holder, keys[int(rng.integers(len(keys)))]
        holder = holder[key]
    if key is not None:
        parent[key] = UNUSUAL[int(rng.integers(len(UNUSUAL)))]
    text = json.dumps(record).encode() + b"\n"
    return text if place is None else b"".join([*lines[:place], text, *lines[place + 1 :]])


# Files


def kinds(folder: Path) -> dict[str, Kind]:
    """Makes all files."""
    return {
        name: kind
        for make in (_training, _records, _journal, _proposals, _features, _search, _cache)
        for name, kind in make(folder / make.__name__.strip("_"))
    }


def _training(folder: Path) -> Iterator[tuple[str, Kind]]:
    """The workdir of a classifier."""
    settings = config.Experiment(
        model=config.architecture("resnet", width=2, stage_blocks=(1,), resolution=8),
        data=config.Data(source="embedded:digits", channels=1, train_examples=96),
        training=config.Training(epochs=3, batch_size=32, precision="float32"),
    )
    workdir = training.train(settings, folder, reporter=training.Reporter(quiet=True), tensorboard=False)
    workdir.write_divergence({"step": 10**6, "epoch": 9, "reason": "the loss is nan"})
    yield "config", Kind(folder / "config.json", lambda: config.saved(folder, config.Experiment))
    yield "dataset", Kind(folder / "dataset.json", lambda: (workdir.dataset(), workdir.config()))
    yield "metrics", Kind(folder / "metrics.jsonl", workdir.rows, appended=True)
    yield "images", Kind(folder / "images.npz", lambda: workdir.fingerprint().digest)
    yield "divergence", Kind(folder / "divergence.json", workdir.divergence)
    yield "final", Kind(workdir.final, lambda: _plain(*checkpoint.load(workdir.final)))

    def latest() -> Any:
        saved = workdir.checkpoints.load_latest(checked.warn)
        return saved and _plain(saved.arrays, saved.record)

    path = workdir.checkpoints.latest()
    assert path is not None
    yield "checkpoint", Kind(path, latest)


def _plain(arrays: Mapping[str, np.ndarray], record: Mapping[str, Any]) -> Any:
    return {name: (array.tobytes(), array.shape, array.dtype.str) for name, array in arrays.items()}, record


def _records(folder: Path) -> Iterator[tuple[str, Kind]]:
    """JSON files of searches, exports and reports."""
    (folder / "assets").mkdir(parents=True)
    family = Family(baseline=config.architecture("resnet", resolution=32), alpha=1.2, beta=1.1, gamma=1.15, finding="x")
    (folder / FILE).write_text(family.to_json())
    yield "family", Kind(folder / FILE, lambda: Family.load(folder))
    detector = DetectorRecord(("cat", "dog"), 0.35, 3, {"engine": "windows", "max_proposals": 100}, (7, 9))
    (folder / "assets" / DETECTOR_FILE).write_text(detector.to_json())
    yield "detector", Kind(folder / "assets" / DETECTOR_FILE, lambda: read_record(folder))
    checked.write_json(folder / "latency.json", {"key": "a", "seconds": [[0.25, 0.5], [0.125, 0.75]]})

    def latency() -> Any:
        found = stored_latencies(folder / "latency.json", "a")
        return None if found is None else found.tolist()

    yield "latency", Kind(folder / "latency.json", latency)


def _journal(folder: Path) -> Iterator[tuple[str, Kind]]:
    folder.mkdir()
    journal, names = Journal(folder / "rows.jsonl", "model"), [f"{number}.jpg" for number in range(8)]
    for number, name in enumerate(names):
        (folder / name).write_bytes(b"image")
        journal.add(name, folder / name, {"label": f"ü{number}", "probability": number / 7})

    def read() -> Any:
        again = Journal(folder / "rows.jsonl", "model")
        rows = {name: again.get(name, folder / name) for name in names}
        return {name: row for name, row in rows.items() if row is not None}

    yield "journal", Kind(folder / "rows.jsonl", read, appended=True)


def _proposals(folder: Path) -> Iterator[tuple[str, Kind]]:
    store, rng = ProposalStore.create(folder, {"engine": "x", "scales": [1, 2]}), np.random.default_rng(0)
    with Writer(store) as writer:
        for number in range(8):
            cells = rng.integers(0, 300, (5 * number, 4)).astype(np.uint16)
            writer.add(f"ü{number}.jpg", bytes([number]) * 16, ProposedBoxes(cells, (100, 200), (300, 400 + number)))

    def read() -> Any:
        found = ProposalStore(folder)
        return {name: (found[name].cells.tolist(), found[name].size) for name in found}

    yield "proposals", Kind(folder / "shard-00000.bin", read, appended=True)
    yield "parameters", Kind(folder / "parameters.json", lambda: ProposalStore(folder).parameters)


def _features(folder: Path) -> Iterator[tuple[str, Kind]]:
    counts = (3, 0, 7, 1)

    def read() -> Any:
        features, found = stored_features(
            folder, [f"image {n}" for n in range(4)], 5, lambda n: np.full((counts[n], 5), n + 0.5)
        )
        return features[:].tolist(), found.tolist()

    read()
    index, data = folder / "index.jsonl", folder / "features.bin"
    yield "features' index", Kind(index, read, rest=(data,))
    yield "features", Kind(data, read, rest=(index,))


def _search(folder: Path) -> Iterator[tuple[str, Kind]]:
    folder.mkdir()
    path, search, rng = folder / "search.sqlite", config.Search(), np.random.default_rng(0)
    with TrialStore(path, search) as store:
        for number in range(6):
            name = f"candidate{number}"
            store.add_candidates([Candidate(name, name, search.experiment, 7, {"depth": number / 7})])
            job = Job(name, number, 0, 9)
            store.start(job)
            store.finish(job, [{"epoch": each, "validation_accuracy": rng.random()} for each in range(9)], 2.5, 1 << 40)
            store.write_fact(f"latency {number}", str(rng.random()))

    def read() -> Any:
        with TrialStore(path, search) as again:
            facts = {f"latency {number}": again.fact(f"latency {number}") for number in range(6)}
            return facts, again.candidates(), again.records()

    logs = tuple(path.with_name(path.name + suffix) for suffix in ("-wal", "-shm"))

    def alone() -> Any:
        for log in logs:
            log.unlink(missing_ok=True)
        return read()

    yield "search", Kind(path, alone)


def _cache(folder: Path) -> Iterator[tuple[str, Kind]]:
    cache = DiskCache(folder / "images", (50, 4))
    with cache.filling() as (array, kept):
        array[:] = np.arange(200).reshape(50, 4)
        kept["note"] = {"skipped": [3, 5], "sizes": [[1, 2]]}

    files = {name: (cache.folder / name).read_bytes() for name in ("index.json", "images.uint8")}

    def read() -> Any:
        note = cache.note()
        found = None if note is None else (note, cache.array_path.read_bytes())
        cache.folder.mkdir(exist_ok=True)  # a damaged cache was removed
        for name, content in files.items():
            (cache.folder / name).write_bytes(content)
        return found

    yield "cache's index", Kind(cache.folder / "index.json", read)
    yield "cache", Kind(cache.array_path, read)


if __name__ == "__main__":
    command_line.run(main)
