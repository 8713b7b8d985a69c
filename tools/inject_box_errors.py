"""How many wrong boxes does `tfeff.analyze` find? Puts some into a dataset, and counts.

    python tools/inject_box_errors.py inject --dataset=voc:DIR --out=DIR2 [--split=all] [--copy=test] [--count=100]
    python -m tfeff.train --config=own_boxes --config.data.source=coco:DIR2 \
        --config.data.folds=5 --config.data.fold=0 --workdir=RUN0                           # and 1, 2, 3, 4
    python -m tfeff.analyze --workdir=RUN0                                                   # and 1, 2, 3, 4
    python tools/inject_box_errors.py count --injected=DIR2 --report=RUN0/analysis/analysis.json [--report=...]

DIR2 is a copy in COCO's format, in which --split is named train. In it, --count boxes of each kind are wrong: removed,
moved by 20 to 40 % of their height and width, of another class, or added where nothing is annotated. They are listed in
DIR2/injected.json. Datasets have errors of their own, which are counted as suspects, too.
"""

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import command_line
import convert_annotations
import numpy as np

from tfeff.boxes import iou
from tfeff.data.dataset import Dataset, Objects
from tfeff.data.sources import catalog
from tfeff.durable import write
from tfeff.errors import UserError
from tfeff.evaluation.box_errors import BOX, CLASS, KINDS, MISSING, UNCONFIRMED

LIST = "injected.json"
MOVED = 0.2, 0.4
"""Range of the shift of a moved box, relative to its height and width."""
APART = 0.1
"""Largest IoU of an added box with an annotated one."""
TRIES = 1000


def main() -> None:
    """Injects errors, or counts which were found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    injecting = verbs.add_parser("inject")
    injecting.add_argument("--dataset", required=True, help="Dataset with boxes.")
    injecting.add_argument("--out", type=Path, required=True, help="Output directory.")
    injecting.add_argument("--split", default="all", help="The split that gets errors.")
    injecting.add_argument("--copy", default="", help="Splits that are copied unchanged: test,validation.")
    injecting.add_argument("--count", type=int, default=100, help="Errors of each kind.")
    injecting.add_argument("--seed", type=int, default=0)
    counting = verbs.add_parser("count")
    counting.add_argument("--injected", type=Path, required=True, help="What `inject` wrote.")
    counting.add_argument("--report", type=Path, action="append", required=True, help="analysis.json; repeatable.")
    counting.add_argument("--first", type=int, default=200, help="Suspects of each kind to look at.")
    given = parser.parse_args()
    if given.verb == "inject":
        with command_line.new_folder(given.out) as new:
            source = catalog.open_objects(given.dataset)
            wrong, errors = inject(source.load(given.split), given.count, np.random.default_rng(given.seed))
            convert_annotations.convert(wrong, "train", "coco", new)
            for split in filter(None, given.copy.split(",")):
                convert_annotations.convert(source.load(split), split, "coco", new)
            write(new / LIST, json.dumps(errors, indent=1) + "\n")
        print(f"wrote {given.out / LIST}: {len(errors)} errors in {len(wrong)} images")
    else:
        print("\n".join(count(json.loads((given.injected / LIST).read_text()), suspects(given.report), given.first)))


def inject(images: Dataset, number: int, rng: np.random.Generator) -> tuple[Dataset, list[dict[str, Any]]]:
    """Returns a copy of a dataset with `number` errors of each kind, and what they are.

    Of a dataset with one class, no class is changed. Difficult objects and crowds stay as they are.

    Raises:
        UserError: the dataset has too few objects.
    """
    places = [(i, k) for i, each in enumerate(images.objects) for k in np.flatnonzero(~each.ignored).tolist()]
    kinds = [MISSING, BOX] if images.num_classes < 2 else [MISSING, BOX, CLASS]
    if len(places) < len(kinds) * number:
        raise UserError(f"{images.name}: {len(places)} objects; {len(kinds) * number} boxes to change")
    order = rng.permutation(len(places))[: len(kinds) * number]
    chosen = {places[index]: kinds[rank // number] for rank, index in enumerate(order.tolist())}
    errors, changed = list[dict[str, Any]](), list[list[tuple[Any, ...]]]()
    names = [Path(name).stem for name, *_ in convert_annotations.named_images(images)]

    def error(image: int, kind: str, box: np.ndarray, label: int) -> dict[str, Any]:
        """Returns `class` is the true class; `box` is yxyx in pixels, of a removed object its own."""
        name = images.class_names[label]
        return {"image": names[image], "kind": kind, "class": name, "box": box.round(4).tolist()}

    for image, each in enumerate(images.objects):
        size, kept = tuple(images.sizes[image].tolist()), list[tuple[Any, ...]]()
        for index, (box, label) in enumerate(zip(each.boxes_yxyx, each.labels.tolist(), strict=True)):
            kind, true = chosen.get((image, index)), label
            if kind == BOX:
                box = _moved(box, size, rng)
            if kind == CLASS:
                label = (label + int(rng.integers(1, images.num_classes))) % images.num_classes
            if kind != MISSING:
                kept.append((box, label, each.difficult[index], each.crowd[index]))
            if kind:
                errors.append(error(image, kind, box, true))
        changed.append(kept)
    for _ in range(number):
        image, box, label = _added(images, changed, places, rng)
        changed[image].append((box, label, False, False))
        errors.append(error(image, UNCONFIRMED, box, label))
    return replace(images, objects=tuple(map(_objects, changed)), raw_annotations=()), errors


def _objects(rows: Sequence[tuple[Any, ...]]) -> Objects:
    columns = [list(column) for column in zip(*rows, strict=True)] or [[], [], [], []]
    boxes, kinds = np.array(columns[0], np.float32).reshape(-1, 4), (np.int32, bool, bool)
    return Objects(boxes, *(np.array(column, kind) for column, kind in zip(columns[1:], kinds, strict=True)))


def _moved(box: np.ndarray, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Returns the box elsewhere, clipped to the image, with an IoU below 0.5."""
    for _ in range(TRIES):
        shift = rng.uniform(*MOVED, 2) * rng.choice([-1, 1], 2) * (box[2:] - box[:2])
        moved = np.clip(box + np.tile(shift, 2), 0, np.tile(size, 2)).astype(np.float32)
        if iou(box[None], moved[None])[0, 0] < 0.5:
            return moved
    raise UserError(f"a box of {box.tolist()} cannot be moved in an image of {size}; choose another --seed")


def _added(
    images: Dataset,
    present: Sequence[Sequence[tuple[Any, ...]]],
    places: Sequence[tuple[int, int]],
    rng: np.random.Generator,
) -> tuple[int, np.ndarray, int]:
    """Returns (image, box, label) of an object of another image, anywhere where nothing is annotated."""
    for _ in range(TRIES):
        owner, index = places[rng.integers(len(places))]
        image = int(rng.integers(len(images)))
        scale = np.tile(images.sizes[image] / images.sizes[owner], 2)
        box = images.objects[owner].boxes_yxyx[index] * scale
        corner = rng.uniform(0, 1, 2) * (images.sizes[image] - (box[2:] - box[:2]))
        box = np.concatenate([corner, corner + box[2:] - box[:2]]).astype(np.float32)
        others = np.concatenate([images.objects[image].boxes_yxyx, *(row[0][None] for row in present[image])])
        if iou(box[None], others).max(initial=0.0) <= APART:
            return image, box, int(images.objects[owner].labels[index])
    raise UserError(f"{images.name}: there is no room for boxes where nothing is annotated; choose a lower --count")


def suspects(reports: Sequence[Path]) -> list[dict[str, Any]]:
    """Returns the suspects of reports, the most suspicious first.

    Raises:
        UserError: a file is not a report about a detector.
    """
    found = list[dict[str, Any]]()
    for report in reports:
        try:
            rows = json.loads(report.read_text())["suspects"]
            found += [row for row in rows if row["kind"] in KINDS and "detected_top" in row]
        except (OSError, ValueError, KeyError, TypeError):
            raise UserError(f"--report={report}: not an analysis.json of tfeff.analyze --workdir=RUN") from None
    return sorted(found, key=lambda row: -row["suspicion"])


def count(errors: Sequence[dict[str, Any]], found: Sequence[dict[str, Any]], first: int) -> list[str]:
    """How many errors are among the first suspects of their kind, and of any kind, by class; one line per kind."""
    shown = {kind: [row for row in found if row["kind"] == kind][:first] for kind in KINDS}
    lines = []
    for kind, rows in shown.items():
        own = [error for error in errors if error["kind"] == kind]
        hits = [error for error in own if any(_same(error, row) for row in rows)]
        anywhere = [error for error in own if any(_same(error, row) for each in shown.values() for row in each)]
        total, by_class = (Counter(error["class"] for error in each) for each in (own, hits))
        classes = ", ".join(f"{name} {by_class[name]} of {total[name]}" for name in sorted(total))
        of = sum(row["kind"] == kind for row in found)
        lines.append(
            f"{kind}: {len(hits)} of {len(own)} are among the first {len(rows)} of {of} suspects of this kind "
            f"({classes}), {len(anywhere)} among the first {first} of any kind"
        )
    return lines


def _same(error: dict[str, Any], suspect: dict[str, Any]) -> bool:
    """Returns whether a suspect is an injected error: its box, or, of a removed object, a detection on it."""
    what, least = ("detected", 0.5) if error["kind"] == MISSING else ("annotated", 0.9)
    box = [suspect[f"{what}_{side}"] for side in ("top", "left", "bottom", "right")]
    if None in box or Path(suspect["image"]).stem != error["image"]:
        return False
    return bool(iou(np.array([error["box"]]), np.array([box]))[0, 0] >= least)


if __name__ == "__main__":
    command_line.run(main)
