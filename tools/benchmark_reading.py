"""How the time to list and open images grows: `python tools/benchmark_reading.py [--before=DIR]`. Linux only.

For each format, sets of tiny images (links to a few files) with a quarter, a half and all of --images are read: the
source is opened, and all images are listed with their labels or boxes. Images with boxes are opened for their headers.
Sets with many boxes or classes follow. `coco boxes` and `yolo boxes` have ten times as many boxes as images. `classes`
and `coco classes` have as many images as the others and ten times as many classes, a quarter and a half of it.

--before=DIR is a checkout of an earlier version, which reads the largest set in turn with this one. Each reading is a
new process, whose CPU time counts. Growth is the exponent of the time as a function of the size, by the smallest and
the largest size: 1 is linear.
"""

import argparse
import io
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import command_line
import numpy as np
from PIL import Image

from tfeff.reporting import tables

ROOT = Path(__file__).resolve().parents[1]
CLASSES = 10
LINKS = 50_000
"""How many names a file may have; file systems allow 65,000."""
_READ = """
import sys, time
from tfeff.data.sources import catalog
open_ = catalog.open_objects if sys.argv[2] == "objects" else catalog.open_labels
start = time.process_time()
try:
    source = open_(sys.argv[1])
except Exception as error:
    if "unknown scheme" not in str(error):
        raise
    print("NaN")
    sys.exit()
split = source.load("train")
source.load("validation") if "validation" in source.splits else None
print(time.process_time() - start)
"""


class Images:
    """Writer of images: links to a few files.

    Args:
        folder: folder of these files.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._count = folder, 0
        file = io.BytesIO()
        Image.new("RGB", (8, 8)).save(file, "JPEG")
        self._content = file.getvalue()

    def write(self, path: Path | str) -> None:
        """Writes one."""
        original = self._folder / f"{self._count // LINKS}.jpg"
        if self._count % LINKS == 0:
            original.write_bytes(self._content)
        os.link(original, path)
        self._count += 1


Write = Callable[[Path, Images, int], str]
"""Writes a dataset with a number of images (or boxes, or classes) and returns its name."""


def folder(root: Path, images: Images, count: int, classes: int = CLASSES) -> str:
    """Returns an image folder."""
    for number in range(classes):
        (root / "train" / f"class {number:06}").mkdir(parents=True)
    for number in range(count):
        images.write(f"{root}/train/class {number % classes:06}/{number:07}.jpg")
    return f"folder:{root}"


def csv(root: Path, images: Images, count: int) -> str:
    """Returns a table of labels."""
    _flat(root / "images", images, count)
    rows = (f"images/{number:07}.jpg,class {number % CLASSES},train\n" for number in range(count))
    (root / "labels.csv").write_text("image,label,split\n" + "".join(rows))
    return f"csv:{root}/labels.csv"


def voc(root: Path, images: Images, count: int) -> str:
    """Writes Pascal VOC, with a list."""
    _flat(root / "JPEGImages", images, count)
    (root / "Annotations").mkdir()
    (root / "ImageSets/Main").mkdir(parents=True)
    for number in range(count):
        (root / f"Annotations/{number:07}.xml").write_text(
            f"<annotation><filename>{number:07}.jpg</filename><size><width>8</width><height>8</height><depth>3</depth>"
            f"</size><object><name>class {number % CLASSES}</name><difficult>0</difficult><bndbox><xmin>2</xmin>"
            "<ymin>3</ymin><xmax>6</xmax><ymax>7</ymax></bndbox></object></annotation>"
        )
    (root / "ImageSets/Main/train.txt").write_text("".join(f"{number:07}\n" for number in range(count)))
    return f"voc:{root}"


def coco(root: Path, images: Images, count: int, boxes: int = 1, classes: int = CLASSES) -> str:
    """Returns a COCO file."""
    _flat(root / "train", images, count)
    (root / "annotations").mkdir()
    rows = [
        {"id": n, "image_id": n // boxes, "category_id": n % classes + 1, "bbox": [1, 2, 3, 4], "iscrowd": 0}
        for n in range(count * boxes)
    ]
    content = {
        "images": [{"id": n, "file_name": f"{n:07}.jpg", "height": 8, "width": 8} for n in range(count)],
        "annotations": rows,
        "categories": [{"id": n + 1, "name": f"class {n}"} for n in range(classes)],
    }
    (root / "annotations/instances_train.json").write_text(json.dumps(content))
    return f"coco:{root}"


def yolo(root: Path, images: Images, count: int, boxes: int = 1) -> str:
    """Writes YOLO's text files."""
    _flat(root / "images/train", images, count)
    (root / "labels/train").mkdir(parents=True)
    names = "".join(f"  {number}: class {number}\n" for number in range(CLASSES))
    (root / "data.yaml").write_text(f"path: .\ntrain: images/train\nval: images/train\nnames:\n{names}")
    text = "".join(f"{number % CLASSES} 0.5 0.5 0.25 0.5\n" for number in range(boxes))
    for number in range(count):
        (root / f"labels/train/{number:07}.txt").write_text(text)
    return f"yolo:{root}"


def _flat(folder: Path, images: Images, count: int) -> None:
    folder.mkdir(parents=True)
    for number in range(count):
        images.write(f"{folder}/{number:07}.jpg")


KINDS: dict[str, tuple[str, str, Write]] = {
    "folder": ("labels", "images", folder),
    "csv": ("labels", "images", csv),
    "voc": ("objects", "images", voc),
    "coco": ("objects", "images", coco),
    "yolo": ("objects", "images", yolo),
    "coco boxes": ("objects", "boxes", lambda root, images, count: coco(root, images, count // 10, boxes=100)),
    "yolo boxes": ("objects", "boxes", lambda root, images, count: yolo(root, images, count // 10, boxes=100)),
}
"""Kind -> labels or objects, what is counted, and what writes a dataset."""
CLASS_KINDS = "classes", "coco classes"
"""Kinds whose number of classes grows."""


def main() -> None:
    """Prints a row of the table for each format."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", help="Checkout of an earlier version.")
    parser.add_argument("--images", type=int, default=100_000, help="Number of images of the largest sets.")
    parser.add_argument("--rounds", type=int, default=3, help="Readings of the largest set by each version.")
    every = [*KINDS, *CLASS_KINDS]
    parser.add_argument("--kinds", nargs="*", choices=every, default=every, help="Which rows.")
    arguments = parser.parse_args()
    before = None if arguments.before is None else command_line.checkout(arguments.before)
    rows = []
    for kind in arguments.kinds:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(measured(kind, Path(folder), arguments.images, arguments.rounds, before))
        print(rows[-1], file=sys.stderr, flush=True)
    print(tables.markdown(rows))


def measured(kind: str, place: Path, images: int, rounds: int, before: Path | None) -> dict[str, object]:
    """Measures one row."""
    annotations, unit, write = KINDS.get(kind, ("labels" if kind == "classes" else "objects", "classes", folder))
    written, sizes = Images(place), [images // 4, images // 2, images]
    if unit == "boxes":
        sizes = [10 * size for size in sizes]
    if unit == "classes":
        sizes = [size // 10 for size in sizes]
    seconds, earlier = dict[int, list[float]](), list[float]()
    for size in sizes:
        root = place / "set"
        if kind == "classes":
            name = folder(root, written, images, classes=size)
        elif kind == "coco classes":
            name = coco(root, written, images, classes=size)
        else:
            name = write(root, written, size // 10 if unit == "boxes" else size)
        seconds[size] = []
        for number in range(rounds if size == sizes[-1] else 1):
            sides = [(ROOT, seconds[size])]
            if before is not None and size == sizes[-1]:
                sides.append((before, earlier))
            for side, times in sides if number % 2 == 0 else reversed(sides):
                times.append(read(side, name, annotations))
        shutil.rmtree(root)
    medians = [statistics.median(seconds[size]) for size in sizes]
    ratios = sorted(then / now for then, now in zip(earlier, seconds[sizes[-1]], strict=bool(earlier))) or [math.nan]
    return {
        "set": f"{kind}: {sizes[-1]:,} {unit}",
        "s": medians[-1],
        "half, s": medians[1],
        "quarter, s": medians[0],
        "growth": float(np.log2(medians[2] / medians[0]) / 2),
        "before, s": statistics.median(earlier) if earlier else math.nan,
        "before / now": statistics.median(ratios),
        "range": "–" if math.isnan(ratios[0]) else f"{ratios[0]:.2f} to {ratios[-1]:.2f}",
    }


def read(side: Path, name: str, annotations: str) -> float:
    """Measures CPU seconds in which a version reads a dataset, in a new process; NaN if it lacks the format."""
    environment = {**os.environ, "PYTHONPATH": str(side), "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-c", _READ, name, annotations]
    output = subprocess.run(command, env=environment, cwd=side, stdout=subprocess.PIPE, text=True, check=True).stdout
    return float(output.splitlines()[-1])


if __name__ == "__main__":
    command_line.run(main)
