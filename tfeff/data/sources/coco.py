"""COCO JSON: `annotations/instances_<split>.json`; images in `<split>/`, `images/<split>/` or `images/`."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tfeff.data.dataset import Dataset
from tfeff.data.defects import Defects
from tfeff.data.images.decoding import Headers
from tfeff.data.images.storage import ImageFiles
from tfeff.data.sources.annotations import AnnotatedSplit, ObjectCollector
from tfeff.data.sources.source import Options, Source
from tfeff.data.splits import ALL
from tfeff.errors import UserError

_PREFIX = "instances_"


class COCO(Source):
    """A COCO dataset, in the order of its lists of images; classes are in the order of their ids.

    Splits are named as in the files (`train2017`); `train` and `val` find them too. An annotation with `ignore` set
    counts as difficult.

    Args:
        root: the folder.
        options: `channels` and `on_defect` apply.

    Raises:
        UserError: the folder is missing, or has no annotation file.
    """

    def __init__(self, root: str | Path, options: Options) -> None:
        super().__init__(f"coco:{root}", options)
        self._root, self._headers = Path(root), Headers()
        folder = self._root / "annotations"
        files = sorted(folder.glob(f"{_PREFIX}*.json")) if folder.is_dir() else []
        self._files = {path.stem.removeprefix(_PREFIX): path for path in files}
        if not self._files:
            problem = "has no annotation file" if self._root.exists() else "does not exist"
            raise UserError(f"COCO dataset {root} {problem}; expected {folder}/{_PREFIX}<split>.json")

    @property
    def splits(self) -> tuple[str, ...]:
        """One per annotation file."""
        return tuple(self._files)

    @property
    def disjoint(self) -> bool:
        """No: several files may list the same image."""
        return False

    def _load(self, split: str) -> Dataset:
        """Reads the annotation file of one split.

        Raises:
            UserError: an invalid annotation file, no images, `all` of several splits, or (with `on_defect="stop"`) an
                invalid annotation.
        """
        if split == ALL:
            if len(self._files) > 1:
                raise UserError(f"{self.name}: all splits cannot be joined; choose one of {', '.join(self._files)}")
            split = next(iter(self._files))
        path = self._files[split]
        found = AnnotatedSplit(f"{self.name}/{split}", self.options)
        defects = found.defects
        categories, images, annotated_sizes, annotations = _parse(path, defects)
        order = sorted(categories)
        of_image: dict[int, list[tuple[int, Any]]] = {id_: [] for id_ in images}
        for number, item in enumerate(annotations, 1):
            owner = item.get("image_id") if isinstance(item, dict) else None
            if not isinstance(owner, int) or owner not in of_image:
                defects.add("object without an image", f"{path}, annotation {number}", lost="objects")
                continue
            of_image[owner].append((number, item))
        folders = (self._root / split, self._root / "images" / split)
        folder = next((each for each in folders if each.is_dir()), self._root / "images")
        listed = set[str]()
        for id_, name in images.items():
            if name in listed:
                defects.add("image listed twice", f"{path}: {name}")
                continue
            listed.add(name)
            if os.path.isabs(name) or ".." in Path(name).parts:
                defects.add("name that leaves the folder", f"{path}: {name}", lost="images")
                continue
            header = found.header(self._headers, folder / name)
            if header is None:
                continue
            collector = ObjectCollector(
                f"{path}, {name}",
                header.size,
                defects,
                orientation=header.orientation,
                written=annotated_sizes.get(id_),
            )
            _collect(collector, of_image[id_], order, str(path), defects)
            found.add(name, header.size, collector)
        return found.dataset(tuple(categories[id_] for id_ in order), ImageFiles([folder / name for name in found.ids]))


def _parse(
    path: Path, defects: Defects
) -> tuple[dict[int, str], dict[int, str], dict[int, tuple[int, int]], list[Any]]:
    """Names of the categories and files of the images, by id; sizes of the images, where given; the annotations."""
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
        categories, images, annotations = (content[part] for part in ("categories", "images", "annotations"))
        if not all(isinstance(part, list) for part in (categories, images, annotations)):
            raise TypeError("categories, images and annotations must be lists")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{path}: not a COCO annotation file ({type(error).__name__}: {str(error)[:200]})") from None
    return (
        _by_id(categories, "name", f"{path}, category", defects),
        _by_id(images, "file_name", f"{path}, image", defects),
        _sizes(images),
        annotations,
    )


def _collect(
    collector: ObjectCollector, items: Sequence[tuple[int, Any]], order: list[int], where: str, defects: Defects
) -> None:
    """Adds the objects of one image."""
    for number, item in items:
        try:
            left, top, width, height = (float(value) for value in item["bbox"])
            category = int(item["category_id"])
        except (KeyError, TypeError, ValueError, OverflowError):
            defects.add("object without a box or a class", f"{where}, annotation {number}", lost="objects")
            continue
        box = top, left, top + height, left + width
        if category not in order:
            defects.add("class without a name", f"{where}, annotation {number}: category_id {category}", lost="objects")
            collector.add_unnamed(box, -1 if not order or category < order[0] else len(order))
            continue
        collector.add(
            number,
            box,
            order.index(category),
            difficult=bool(item.get("ignore", 0)),
            crowd=bool(item.get("iscrowd", 0)),
        )


def _sizes(images: list[Any]) -> dict[int, tuple[int, int]]:
    """(height, width) of the images by id, of those rows that state it."""
    found = dict[int, tuple[int, int]]()
    for row in images:
        try:
            id_, size = int(row["id"]), (int(row["height"]), int(row["width"]))
        except (KeyError, TypeError, ValueError, OverflowError):
            continue
        if min(size) > 0:
            found.setdefault(id_, size)
    return found


def _by_id(rows: list[Any], key: str, where: str, defects: Defects) -> dict[int, str]:
    """`id` -> the text under a key; of several rows with one id, the first counts."""
    found = dict[int, str]()
    for number, row in enumerate(rows, 1):
        try:
            id_, name = int(row["id"]), row[key]
        except (KeyError, TypeError, ValueError, OverflowError):
            defects.add(f"row without id or {key}", f"{where} {number}")
            continue
        if not isinstance(name, str):
            defects.add(f"row without id or {key}", f"{where} {number}")
        elif found.setdefault(id_, name) != name:
            defects.add("id used twice", f"{where} {number}: {id_}")
    return found
