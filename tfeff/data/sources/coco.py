"""COCO JSON: `<dir>/annotations/instances_<split>.json` and the images in `<dir>/<split>/` (or `<dir>/images/`)."""

import json
import os
from pathlib import Path
from typing import Any

from tfeff.data.annotations import AnnotatedSource, Collector, Objects, OnDefect, Report
from tfeff.data.images import decoding
from tfeff.data.splits import ALL
from tfeff.errors import UserError, nearest

_PREFIX = "instances_"


def splits(root: Path) -> tuple[str, ...]:
    """The names of the data set's splits, as the files write them (`train2017`).

    Raises:
        UserError: the folder is missing, or is no COCO data set.
    """
    folder = root / "annotations"
    names = (
        sorted(path.stem.removeprefix(_PREFIX) for path in folder.glob(f"{_PREFIX}*.json")) if folder.is_dir() else []
    )
    if not names:
        what = "has no such file" if root.exists() else "does not exist"
        raise UserError(f"COCO data set {root} {what}; expected {folder}/{_PREFIX}<split>.json")
    return tuple(names)


def load(root: Path, split: str, *, on_defect: OnDefect = "fix") -> AnnotatedSource:
    """One split, in the order of its list of images; classes in the order of their ids.

    Args:
        root: the folder.
        split: one of `splits(root)`; `all` where there is one alone.
        on_defect: what to do with annotations that cannot be.

    Raises:
        UserError: the folder or the split is missing, the file is no COCO annotation, holds no image, or (as
            `on_defect` says) has a defect.
    """
    known = splits(root)
    if split == ALL and len(known) == 1:
        split = known[0]
    if split not in known:
        raise UserError(f'{root}: no split "{split}"; {nearest(split, known)}')
    path = root / "annotations" / f"{_PREFIX}{split}.json"
    report = Report(on_defect)
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
        rows = [content[part] for part in ("categories", "images", "annotations")]
        if not all(isinstance(part, list) for part in rows):
            raise TypeError("categories, images and annotations must be lists")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{path}: no COCO annotation ({type(error).__name__}: {str(error)[:200]})") from None
    categories = _numbered(rows[0], "name", f"{path}, category", report)
    images = _numbered(rows[1], "file_name", f"{path}, image", report)
    annotations = rows[2]
    order = sorted(categories)
    of_image: dict[int, list[tuple[int, Any]]] = {id_: [] for id_ in images}
    for number, item in enumerate(annotations, 1):
        owner = item.get("image_id") if isinstance(item, dict) else None
        if not isinstance(owner, int) or owner not in of_image:
            report.defect("object of no image", f"{path}, annotation {number}")
            continue
        of_image[owner].append((number, item))
    folder = root / split if (root / split).is_dir() else root / "images"
    ids, objects, listed = list[str](), list[Objects](), set[str]()
    for id_, name in images.items():
        if name in listed:
            report.defect("image listed twice", f"{path}: {name}")
            continue
        listed.add(name)
        if os.path.isabs(name) or ".." in Path(name).parts:
            report.defect("name that leaves the folder", f"{path}: {name}")
            continue
        try:
            size = decoding.size(folder / name)
        except UserError as error:
            report.defect("image that cannot be read", str(error))
            continue
        collector = Collector(str(path), size, report)
        for number, item in of_image[id_]:
            try:
                left, top, width, height = (float(value) for value in item["bbox"])
                label = order.index(int(item["category_id"]))
            except (KeyError, TypeError, ValueError, OverflowError):
                report.defect("object without a box or a class", f"{path}, annotation {number}")
                continue
            crowd = bool(item.get("iscrowd", 0))
            collector.add(number, (top, left, top + height, left + width), label, crowd=crowd)
        ids.append(name)
        objects.append(collector.objects())
    paths = [folder / name for name in ids]
    return AnnotatedSource(
        name=f"coco:{root}/{split}",
        class_names=tuple(categories[id_] for id_ in order),
        ids=ids,
        objects=objects,
        encoded=lambda index: paths[index].read_bytes(),
        report=report,
    )


def _numbered(rows: list[Any], key: str, where: str, report: Report) -> dict[int, str]:
    """`id` -> what each row has under a key; of rows with one id the first."""
    found = dict[int, str]()
    for number, row in enumerate(rows, 1):
        try:
            id_, name = int(row["id"]), row[key]
        except (KeyError, TypeError, ValueError, OverflowError):
            report.defect(f"row without id or {key}", f"{where} {number}")
            continue
        if not isinstance(name, str):
            report.defect(f"row without id or {key}", f"{where} {number}")
        elif found.setdefault(id_, name) != name:
            report.defect("number of two rows", f"{where} {number}: {id_}")
    return found
