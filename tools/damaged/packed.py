"""Damaged records: the manifest, its index and the shards.

All of them have checksums: reading returns what was written, or an error that names the file.
"""

import tempfile
from pathlib import Path

import fuzzing
import numpy as np
from fuzzing import pick

from damaged.annotations import image, write
from tfeff.data.sources import catalog, packing
from tfeff.data.sources.manifest import INDEX, MANIFEST
from tfeff.data.sources.source import Options
from tfeff.errors import UserError

SIZES = ((30, 40), (50, 20), (20, 90))
_SHARD_BYTES = 4000
_BOXES = b"image,label,xmin,ymin,xmax,ymax\n0.png,cat,1,2,10,12\n0.png,dog,5,5,15,9\n1.png,dog,3,4,18,40\n"
_Content = list[tuple[object, ...]]


def records_case() -> fuzzing.Make:
    """Packs a table of boxes and folders of labels; returns what damages a file of one of them."""
    undamaged = {kind: _packed(kind) for kind in ("boxes", "labels")}

    def make(rng: np.random.Generator, folder: Path) -> fuzzing.Case:
        kind = pick(rng, tuple(undamaged))
        files, content = undamaged[kind]
        others, _ = undamaged[pick(rng, tuple(undamaged))]
        name = pick(rng, (MANIFEST, INDEX, pick(rng, sorted(set(files) - {MANIFEST, INDEX}))))
        damage, damaged = fuzzing.damaged(files[name], rng, others.get(name, b""))
        for each, written in (files | {name: damaged}).items():
            write(folder / each, written)
        part = name if name in (MANIFEST, INDEX) else "shard"
        return fuzzing.Case(f"records, {part}", damage, lambda: _check(folder, kind, content))

    return make


def _packed(kind: str) -> tuple[dict[str, bytes], _Content]:
    """Returns the files of records, and what they contain."""
    with tempfile.TemporaryDirectory() as kept:
        folder = Path(kept)
        for number, size in enumerate(SIZES):
            write(folder / "boxes" / f"{number}.png", image(size))
            write(folder / "labels" / ("cat", "dog")[number % 2] / f"{number}.png", image(size))
        write(folder / "boxes" / "boxes.csv", _BOXES)
        name = f"csv:{folder}/boxes/boxes.csv" if kind == "boxes" else f"folder:{folder}/labels"
        packing.pack(packing.open_source(name), folder / "records", shard_bytes=_SHARD_BYTES)
        files = {path.name: path.read_bytes() for path in (folder / "records").iterdir()}
        return files, _read(folder / "records", kind)


def _check(directory: Path, kind: str, content: _Content) -> tuple[str, str]:
    """See `fuzzing.Case`."""
    try:
        found = _read(directory, kind)
    except UserError as error:
        return "UserError", "" if str(directory) in str(error) else f"no file is named\n{error}"
    return "read", "" if found == content else "silent: images or annotations changed"


def _read(directory: Path, kind: str) -> _Content:
    """Returns id, file, and class or objects of each image."""
    opened = catalog.open_objects if kind == "boxes" else catalog.open_labels
    found = opened(f"records:{directory}", Options()).load("all")
    files = [found.encoded(index) for index in range(len(found))]
    classes = [found.class_names[label] for label in found.labels]
    objects = [
        [b"" if values is None else values.tobytes() for values in vars(each).values()] for each in found.objects
    ]
    return list(zip(found.ids, files, classes or objects, strict=True))
