"""Damages the files that runs write, and reads them: `python tools/fuzz_runs.py --count=5000`.

Makes each kind of file once, small: those of a training, a search, proposals, stored features, predictions, exports and
caches. Then it changes bytes, cuts, inserts, swaps lines and changes values. A reader must return the same value, raise
`UserError`, or say what it has dropped; another value without a word is a failure. A file of lines or records without
its end looks as after a kill: what is left may be returned silently; so may the rest of a journal, which only saves
time. Damage within the row of a trial must cost that trial and nothing else.
"""

import json
import logging
import os
import re
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import command_line
import fuzzing
import numpy as np

from tfeff import checked, config, training
from tfeff.analysis.comparison.cost import stored_latencies
from tfeff.config.family import FILE, Family
from tfeff.data.input.disk_cache import DiskCache
from tfeff.errors import UserError
from tfeff.proposals.proposals import ProposedBoxes
from tfeff.proposals.store import ProposalStore, Writer
from tfeff.rcnn.feature_store import stored_features
from tfeff.runs.journal import MARK, Journal
from tfeff.serving import interface
from tfeff.training import checkpoint
from tfeff.trials.results import Job
from tfeff.trials.store import TrialStore
from tfeff.trials.trial import Candidate

UNUSUAL = (None, True, -1, 0, 1e308, float("nan"), 10**30, "", "x", "猫\ud800", [], {}, [[1]], {"a": None}, [1, "2"])
"""Values in place of others in JSON."""


@dataclass(frozen=True)
class Kind:
    """A file, and how it is read.

    Attributes:
        name: name of the kind.
        file: its path in its folder.
        read: reads it in a folder; returns something to compare.
        appended: whether a part of it is what a kill leaves.
        row: the part of the file that is damaged; None: any.
        left: what must be returned if the row is damaged.
    """

    name: str
    file: str
    read: Callable[[Path], Any]
    appended: bool = False
    row: slice | None = None
    left: Any = None


def main() -> None:
    """Runs the check."""
    fuzzing.main(__doc__, prepare, 5_000, needs_data=False)


def prepare(_: Path) -> fuzzing.Make:
    """Makes all files."""
    cases = list[tuple[Kind, dict[str, bytes], Any]]()
    with tempfile.TemporaryDirectory() as folder:
        for make in (_training, _records, _journal, _proposals, _features, _search, _cache):
            place = Path(folder, make.__name__)
            made = list(make(place))
            paths = [path for path in place.rglob("*") if path.is_file()]
            files = {path.relative_to(place).as_posix(): path.read_bytes() for path in paths}
            cases += [(kind, files, kind.read(place)) for kind in made]

    def make_case(rng: np.random.Generator, folder: Path) -> fuzzing.Case:
        kind, files, expected = fuzzing.pick(rng, cases)
        damage, content = damaged(files[kind.file], rng, kind.row, text=".json" in kind.file)
        for name, whole in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if name == kind.file else whole)
            os.utime(path, (0, 0))
        return fuzzing.Case(kind.name, damage, lambda: check(kind, folder, expected))

    return make_case


def check(kind: Kind, folder: Path, expected: Any) -> tuple[str, str]:
    """Reads a damaged file; see `fuzzing.Case.check`."""
    said = list[str]()
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    checked.warn.cache_clear()
    logging.getLogger().addHandler(handler)
    try:
        value = kind.read(folder)
    except UserError as error:
        if kind.row is not None:
            return "UserError", f"more than the damaged row is lost\n{error}"
        return "UserError", "" if str(folder) in str(error) else f"does not name its file\n{error}"
    except Exception as error:
        return type(error).__name__, f"{type(error).__name__}\n{traceback.format_exc()}"
    finally:
        logging.getLogger().removeHandler(handler)
    if kind.row is not None:
        failure = "" if said and value == kind.left else f"not the other rows\n{_difference(value, kind.left)}"
        return "dropped, said" if said else "read", failure
    if value == expected:
        return ("equal, said" if said else "equal"), ""
    if said:
        return "dropped, said", ""
    if kind.appended and _is_part(value, expected):
        return "as after a kill", ""
    return "read", f"another value without a word\n{_difference(value, expected)}"


def _is_part(value: Any, expected: Any) -> bool:
    if isinstance(expected, Mapping):
        return isinstance(value, Mapping) and all(expected.get(key) == each for key, each in value.items())
    return isinstance(value, list) and value == expected[: len(value)]


def _difference(value: Any, expected: Any) -> str:
    texts = repr(value), repr(expected)
    place = next((i for i, (a, b) in enumerate(zip(*texts, strict=False)) if a != b), min(map(len, texts)))
    return " instead of ".join(text[max(0, place - 40) : place + 60] for text in texts)


# Damage


def damaged(content: bytes, rng: np.random.Generator, row: slice | None = None, *, text: bool) -> tuple[str, bytes]:
    """Returns the kind of damage, and the damaged content.

    In a row, bytes are replaced, so that the others remain in place.
    """
    if row is not None:
        place = int(rng.integers(row.start, row.stop))
        byte = (content[place] ^ int(rng.integers(1, 256))).to_bytes()
        return "byte of a row", content[:place] + byte + content[place + 1 :]
    way = str(rng.choice(["bytes", "bytes", "bytes", "swapped", "removed", "repeated", "value", "value", "value"]))
    lines = content.splitlines(keepends=True)
    first, second = sorted(int(index) for index in rng.integers(len(lines), size=2))
    if rng.integers(20) == 0:
        return "empty", b""
    if not text or way == "bytes":
        return fuzzing.damaged(content, rng)
    if way == "swapped":
        lines[first], lines[second] = lines[second], lines[first]
    elif way == "removed":
        del lines[first]
    elif way == "repeated":
        lines.insert(second + 1, lines[first])
    else:
        return "other value", _with_another_value(content, rng)
    return f"line {way}", b"".join(lines)


def _with_another_value(content: bytes, rng: np.random.Generator) -> bytes:
    """Replaces one value of JSON or a line of JSON; its checksum remains, or goes, as if the user had edited it."""
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


def _training(folder: Path) -> Iterator[Kind]:
    """Yields the workdir of a classifier."""
    settings = config.Experiment(
        model=config.architecture("resnet", width=2, stage_blocks=(1,), resolution=8),
        data=config.Data(source="embedded:digits", channels=1, train_examples=96),
        training=config.Training(epochs=3, batch_size=32, precision="float32"),
    )
    workdir = training.train(settings, folder, reporter=training.Reporter(quiet=True), tensorboard=False)
    workdir.write_divergence({"step": 10**6, "epoch": 9, "reason": "the loss is nan"})
    final, latest = workdir.final, workdir.checkpoints.latest()
    assert latest is not None
    opened, whole, newest = training.Workdir, *(path.relative_to(folder).as_posix() for path in (final, latest))

    def load_latest(place: Path) -> Any:
        saved = opened(place).checkpoints.load_latest(checked.warn)
        return saved and _plain(saved.arrays, saved.record)

    yield Kind("config", "config.json", lambda place: config.saved(place, config.Experiment))
    yield Kind("dataset", "dataset.json", lambda place: (opened(place).dataset(), opened(place).config()))
    yield Kind("metrics", "metrics.jsonl", lambda place: opened(place).rows(), appended=True)
    yield Kind("images", "images.npz", lambda place: opened(place).fingerprint().digest)
    yield Kind("divergence", "divergence.json", lambda place: opened(place).divergence())
    yield Kind("final", whole, lambda place: _plain(*checkpoint.load(opened(place).final)))
    yield Kind("checkpoint", newest, load_latest)


def _plain(arrays: Mapping[str, np.ndarray], record: Mapping[str, Any]) -> Any:
    return {name: (array.tobytes(), array.shape, array.dtype.str) for name, array in arrays.items()}, record


def _records(folder: Path) -> Iterator[Kind]:
    """Returns JSON files of searches, exports and reports."""
    folder.mkdir(parents=True)
    family = Family(baseline=config.architecture("resnet", resolution=32), alpha=1.2, beta=1.1, gamma=1.15, finding="x")
    (folder / FILE).write_text(family.to_json())
    yield Kind("family", FILE, Family.load)
    about = {"input": [None, None, 3], "image_size": None, "fit": "stretch", "interpolation": "bilinear"}
    about |= {"class_names": ["cat", "dog"], "class_ids": [7, 9]}
    about |= {"boxes": "yxyx", "score": 0.35, "class_agnostic": True}
    checked.write_json(folder / interface.METADATA, about)
    yield Kind("metadata", interface.METADATA, lambda place: interface.read(place / interface.METADATA))
    checked.write_json(folder / "latency.json", {"key": "a", "latencies": [{"onnx": [0.25, 0.125, 0.5, 1000]}]})
    yield Kind("latency", "latency.json", lambda place: stored_latencies(place / "latency.json", "a"))


def _journal(folder: Path) -> Iterator[Kind]:
    folder.mkdir()
    journal, names = Journal(folder, "model"), [f"{number}.jpg" for number in range(8)]
    for number, name in enumerate(names):
        (folder / name).write_bytes(b"image")
        os.utime(folder / name, (0, 0))
        journal.add(name, folder / name, {"label": f"ü{number}", "probability": number / 7})

    def read(place: Path) -> Any:
        again = Journal(place, "model")
        rows = {name: again.get(name, place / name) for name in names}
        return {name: row for name, row in rows.items() if row is not None}

    (file,) = folder.glob(f"{MARK}*.jsonl")
    yield Kind("journal", file.name, read, appended=True)


def _proposals(folder: Path) -> Iterator[Kind]:
    store, rng = ProposalStore.create(folder, {"engine": "x", "scales": [1, 2]}), np.random.default_rng(0)
    with Writer(store) as writer:
        for number in range(8):
            cells = rng.integers(0, 300, (5 * number, 4)).astype(np.uint16)
            writer.add(f"ü{number}.jpg", bytes([number]) * 16, ProposedBoxes(cells, (100, 200), (300, 400 + number)))

    def read(place: Path) -> Any:
        found = ProposalStore(place)
        return {name: (found[name].cells.tolist(), found[name].size) for name in found}

    yield Kind("proposals", "shard-00000.bin", read, appended=True)
    yield Kind("parameters", "parameters.json", lambda place: ProposalStore(place).parameters)


def _features(folder: Path) -> Iterator[Kind]:
    counts = (3, 0, 7, 1)

    def read(place: Path) -> Any:
        features, found = stored_features(
            place, [f"image {n}" for n in range(4)], 5, lambda n: np.full((counts[n], 5), n + 0.5)
        )
        return features[:].tolist(), found.tolist()

    read(folder)
    yield Kind("features' index", "index.jsonl", read)
    yield Kind("features", "features.bin", read)


def _search(folder: Path) -> Iterator[Kind]:
    folder.mkdir()
    path, search, rng = folder / "search.sqlite", config.Search(), np.random.default_rng(0)
    with TrialStore(path, search) as store:
        store.claim_version()
        for number in range(6):
            name = f"candidate{number}"
            store.add_candidates([Candidate(name, name, search.experiment, 7, {"depth": number / 7})])
            job = Job(name, number, 0, 9)
            store.start(job)
            store.finish(job, [{"epoch": each, "validation_accuracy": rng.random()} for each in range(9)], 2.5, 1 << 40)
            store.write_fact(f"latency {number}", str(rng.random()))

    def read(place: Path) -> Any:
        with TrialStore(place / "search.sqlite", search) as again:
            facts = {f"latency {number}": again.fact(f"latency {number}") for number in range(6)}
            return facts, again.candidates(), again.records()

    yield Kind("search", "search.sqlite", read)
    row = re.search(rb"candidate3.{,3}done.*?\}\]", path.read_bytes(), re.DOTALL)
    assert row is not None
    facts, candidates, records = read(folder)
    left = facts, candidates, [*records[:3], *records[4:]]
    yield Kind("search, a trial", "search.sqlite", read, row=slice(*row.span()), left=left)


def _cache(folder: Path) -> Iterator[Kind]:
    cache = DiskCache(folder / "images")
    layout = np.array([[4 * row, 2, 2] for row in range(50)])
    with cache.locked(), cache.filling(layout, 200) as (memory, kept):
        memory[:] = np.arange(200)
        kept["note"] = {"skipped": [3, 5], "sizes": [[1, 2]]}

    def read(place: Path) -> Any:
        stored = DiskCache(place / "images").opened()
        if stored is None:
            return None
        stored.check(np.arange(len(stored.layout)))
        return stored.note, stored.layout.tolist(), stored.pixels.tolist()

    for what, name in (("index", "index.json"), ("table", "images.int64"), ("pixels", "images.uint8")):
        yield Kind(f"cache's {what}", f"images/{name}", read)


if __name__ == "__main__":
    command_line.run(main)
