"""Damaged COCO files."""

import json
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import fuzzing
import numpy as np
from fuzzing import flipped, inserted, pick

from damaged.annotations import Annotations, image, write
from tfeff.data.images import decoding
from tfeff.data.sources import coco, yolo
from tfeff.data.sources.source import Options


def coco_case(data: Path) -> fuzzing.Make:
    """Makes cases from COCO files for four images of COCO128 each, written from their labels."""
    source = yolo.YOLO(data / "coco128", Options()).load("all")
    not_empty = [index for index in range(len(source)) if len(source.objects[index])]
    sizes = {index: decoding.encoded_size(source.encoded(index), "") for index in not_empty}

    def make(rng: np.random.Generator, root: Path) -> fuzzing.Case:
        chosen = [int(index) for index in rng.choice(not_empty, 4, replace=False)]
        images, annotations, values = [], [], []
        for place, index in enumerate(chosen):
            name, size = Path(source.ids[index]).stem, sizes[index]
            images.append({"id": 10 + place, "file_name": f"{name}.png", "height": size[0], "width": size[1]})
            write(root / "images" / f"{name}.png", image(size))
            objects = source.objects[index]
            for label, box in zip(objects.labels.tolist(), objects.boxes_yxyx.tolist(), strict=True):
                top, left, bottom, right = box
                xywh = [left, top, right - left, bottom - top]
                row = {"id": len(annotations), "image_id": 10 + place, "category_id": label, "bbox": xywh, "iscrowd": 0}
                annotations.append(row)
                y, x, h, w = np.array([top, left, bottom - top, right - left])
                values.append(
                    (name, source.class_names[label], tuple(np.array([y, x, y + h, x + w], np.float32).tolist()))
                )
        categories = [{"id": label, "name": name} for label, name in enumerate(source.class_names)]
        content = {"images": images, "annotations": annotations, "categories": categories}
        damage, text, lost, any_loss = _coco_damage(content, rng)
        write(root / "annotations/instances_x.json", text)
        expected = Counter(value for number, value in enumerate(values) if number not in lost)
        return Annotations(
            damage, lambda: coco.COCO(root, Options()).load("x"), expected, may_fail=any_loss, may_lose=any_loss
        ).case("coco")

    return make


def _touched(text: bytes, content: dict[str, Any], offsets: Iterable[int]) -> set[int]:
    """Returns the annotations that bytes at some offsets belong to, also by their image or class."""
    rows = [(part, row) for part in ("images", "annotations", "categories") for row in content[part]]
    spans = [match.span() for match in re.finditer(rb"\{[^{}]*\}", text)]
    hit = [row for row, (start, end) in zip(rows, spans, strict=True) if any(start <= at < end for at in offsets)]
    return {
        number
        for number, each in enumerate(content["annotations"])
        for part, row in hit
        if row is each
        or (part == "images" and row["id"] == each["image_id"])
        or (part == "categories" and row["id"] == each["category_id"])
    }


def _coco_damage(content: dict[str, Any], rng: np.random.Generator) -> tuple[str, bytes, set[int], bool]:
    """Damages a COCO file. Also returns the affected annotations, and whether others may be lost with a word."""
    text = json.dumps(content).encode()
    kind = pick(
        rng,
        ("flipped bytes", "truncated", "inserted bytes", "deep nesting", "section missing", "section of wrong type",
         *("unusual value", "key missing", "unusual row", "rows shuffled", "row duplicated") * 3),
    )  # fmt: skip
    if kind == "flipped bytes":
        damaged, offsets = flipped(text, rng)
        return kind, damaged, _touched(text, content, offsets), True
    if kind == "truncated":
        return kind, text[: int(rng.integers(len(text)))], set(), True
    if kind == "inserted bytes":
        damaged = inserted(text, rng)
        place = next((at for at, (a, b) in enumerate(zip(text, damaged, strict=False)) if a != b), len(text))
        return kind, damaged, _touched(text, content, [place]), True
    if kind == "deep nesting":
        return kind, b'{"images":' + b"[" * 100_000, set(), True
    unusual: tuple[Any, ...] = (
        None,
        True,
        "x",
        "",
        [],
        {},
        -1,
        1e308,
        float("nan"),
        float("inf"),
        10**400,
        [[1]],
        "猫",
        1.5,
    )
    unusual += (
        "../../etc/passwd",
        "/etc/passwd",
        "a\0b",
        "\ud800",
        "a" * 5000,
        [1, 2, 3, float("nan")],
        [1, 2, 10**400, 1],
        "1",
    )
    part = pick(rng, list(content))
    if kind == "section missing":
        del content[part]
        return kind, json.dumps(content).encode(), set(), True
    if kind == "section of wrong type":
        everything = set(range(len(content["annotations"]))) if part == "annotations" else set()
        content[part] = pick(rng, unusual)  # no annotations are valid
        return kind, json.dumps(content).encode(), everything, True
    annotations = list(content["annotations"])
    rows = content[part]
    place = int(rng.integers(len(rows)))
    before = dict(rows[place])
    lost = {
        number
        for number, row in enumerate(annotations)
        if (part == "annotations" and number == place)
        or (part == "images" and row["image_id"] == before["id"])
        or (part == "categories" and row["category_id"] == before["id"])
    }
    if kind == "rows shuffled":
        content[part] = [rows[int(number)] for number in rng.permutation(len(rows))]
        lost = set()
    elif kind == "row duplicated":
        rows.append(before)
        lost = set()
    elif kind == "unusual row":
        rows[place] = pick(rng, unusual)
    elif kind == "key missing":
        del rows[place][pick(rng, list(before))]
    else:
        key = pick(rng, list(before))
        rows[place][key] = pick(rng, unusual)
        if part != "annotations" and key == "id" and type(rows[place][key]) in (bool, int, float):
            # It may now have the id of another row.
            lost |= {number for number, row in enumerate(annotations) if 1 in (row["image_id"], row["category_id"])}
    return f"{kind} in {part}", json.dumps(content).encode(), lost, False
