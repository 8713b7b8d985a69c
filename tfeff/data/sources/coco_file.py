"""The contents of a COCO annotation file."""

import json
import math
import os
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tfeff.data.dataset import Id
from tfeff.data.defects import Defects, Lost
from tfeff.data.names import listed
from tfeff.data.sources import foreign, text
from tfeff.data.sources.annotations import RELATIVE_LIMIT, Box, ObjectCollector, are_relative, scaled, stated_area
from tfeff.data.sources.coco_masks import segmentation_box
from tfeff.data.sources.listing import Finder, folded, path_parts
from tfeff.errors import UserError

Key = int | str
"""An id as it is compared: 7, 7.0 and "7" are one."""
Row = tuple[int, dict[str, Any]]
"""Number of an annotation, counted from 1, and its row."""


@dataclass(frozen=True)
class Problem:
    """A defect that is counted where the file is used: its kind, where it is in the file, and what is lost."""

    kind: str
    where: str
    lost: Lost | None = None


@dataclass(frozen=True)
class Named:
    """A category or an image: its id as it is written, and its name."""

    id: Id
    name: str


@dataclass(frozen=True)
class COCOFile:
    """An annotation file.

    Attributes:
        categories: the categories, in the order of their keys.
        images: the images, in the order of the file.
        sizes: (height, width) of the images, where they are stated.
        annotations: the annotations, by the key of their image.
        problems: what is wrong.
        parents: categories without annotations that only group others, as exporters add them.
        notes: what the user should know.
    """

    categories: dict[Key, Named]
    images: dict[Key, Named]
    sizes: dict[Key, tuple[int, int]]
    annotations: defaultdict[Key, list[Row]]
    problems: list[Problem]
    parents: frozenset[Key]
    notes: tuple[str, ...] = ()

    @cached_property
    def relative(self) -> bool:
        """Whether its boxes are relative to width and height, and not in pixels as COCO's are."""
        return are_relative(_box(item.get("bbox")) for rows in self.annotations.values() for _, item in rows)

    @classmethod
    def read(cls, path: Path) -> "COCOFile":
        """Reads a file.

        Raises:
            UserError: it is not a COCO annotation file, or categories with different names have the same id.
        """
        content: Any = None
        try:
            content = json.loads(text.read(path))
        except UnicodeDecodeError as error:
            problem = text.not_utf8(error)
        except OSError as error:
            problem = f"it cannot be read: {error.strerror}"
        except (ValueError, RecursionError) as error:
            problem = f"it is not JSON: {str(error)[:200]}"
        else:
            parts = content if isinstance(content, dict) else {}
            missing = [
                part for part in ("categories", "images", "annotations") if not isinstance(parts.get(part), list)
            ]
            problem = f"it has no list {' or '.join(missing)}" if missing else ""
        if problem:
            raise UserError(f"{path}: not a COCO annotation file: {foreign.hint(path) or problem}")
        categories, images, annotations = (content[part] for part in ("categories", "images", "annotations"))
        categories, annotations, notes = _without_stuff(categories, annotations)
        problems, by_image = list[Problem](), defaultdict[Key, list[Row]](list)
        named, named_images = _categories(categories, path, problems), _images(images, problems)
        for number, item in enumerate(annotations, 1):
            owner = key_of(item.get("image_id")) if isinstance(item, dict) else None
            if owner is None or owner not in named_images:
                problems.append(Problem("object without an image", f", annotation {number}", "objects"))
            else:
                by_image[owner].append((number, item))
        order = sorted(named, key=lambda key: (isinstance(key, str), key))
        parents = _parents(categories).intersection(named)
        parents -= {key_of(row.get("category_id")) for row in annotations if parents and isinstance(row, dict)}
        return cls({key: named[key] for key in order}, named_images, _sizes(images), by_image, problems, parents, notes)


def _without_stuff(categories: list[Any], annotations: list[Any]) -> tuple[list[Any], list[Any], tuple[str, ...]]:
    """Converts a file for panoptic segmentation to one with boxes: categories, annotations, and what to say.

    Such a file has an annotation for each image, whose `segments_info` has a box for each object. Other boxes are of
    stuff without objects, such as sky; the categories of stuff have `isthing` 0.
    """
    panoptic = [each for each in annotations if isinstance(each, dict) and isinstance(each.get("segments_info"), list)]
    if not panoptic:
        return categories, annotations, ()
    stuff = {key_of(each.get("id")) for each in categories if isinstance(each, dict) and each.get("isthing") == 0}
    rows = [each for each in annotations if not isinstance(each, dict) or "segments_info" not in each]
    used = amorphous = 0
    for image in panoptic:
        for segment in image["segments_info"]:
            category = key_of(segment.get("category_id")) if isinstance(segment, dict) else None
            if category is not None and category in stuff:
                amorphous += 1
            elif isinstance(segment, dict):
                rows.append({**segment, "image_id": image.get("image_id")})
                used += 1
            else:
                rows.append(segment)
    kept = [each for each in categories if not isinstance(each, dict) or key_of(each.get("id")) not in stuff]
    note = (
        f"panoptic segmentation: the boxes of {used:,} segments are used; {amorphous:,} segments of "
        f"{len(categories) - len(kept):,} categories of stuff (isthing 0) are not objects"
    )
    return kept, rows, (note,)


@dataclass(frozen=True)
class Listed:
    """The images of an annotation file that exist.

    Attributes:
        files: path of an image in the folder of the images -> its keys; several, if it is listed several times.
        problems: what is wrong.
        notes: what the user should know.
    """

    files: dict[str, list[Key]]
    problems: list[Problem]
    notes: list[str]

    @classmethod
    def of(cls, file: COCOFile, finder: Finder, unusable: Mapping[str, str], *, exclusive: bool) -> "Listed":
        """Finds the images of a file.

        Args:
            finder: finds files in the folder of the images.
            unusable: what is wrong with other images in that folder, by path.
            exclusive: whether no other annotation file lists images of that folder.
        """
        found, problems, others = dict[str, list[Key]](), list[Problem](), Finder(unusable)
        for key, image in file.images.items():
            path = finder.find(image.name)
            if path is not None:
                found.setdefault(path, []).append(key)
                continue
            leaves = os.path.isabs(image.name) or ".." in re.split(r"[\\/]", image.name)
            other = others.find(image.name)
            kind = "name that leaves the folder" if leaves else finder.problem(image.name)
            kind = kind if other is None else unusable[other]
            problems.append(Problem(kind, f": {image.name}", "images"))
        for path, keys in [*found.items()]:
            if len(keys) == 1:
                continue
            written = {key: folded("/".join(path_parts(file.images[key].name))) for key in keys}
            if len(set(written.values())) > 1:  # they differ in folders that do not exist
                kept = [key for key in keys if written[key] == folded(path)]
                for key in keys:
                    if key not in kept:
                        where = f": {file.images[key].name}: could be {path}, as other names could"
                        problems.append(Problem("image without a file", where, "images"))
                found[path] = kept
                if not kept:
                    del found[path]
            problems += [Problem("image listed twice", f": {path}")] * (len(found.get(path, ())) - 1)
        notes = []
        names = {path: file.images[keys[0]].name for path, keys in found.items()}
        if moved := [f"{name}: {path}" for path, name in names.items() if name != path]:
            notes.append(f"{len(moved)} of {len(found)} images have another path than written, first: {moved[0]}")
        unlisted = [path for path in finder.files if path not in found]
        if exclusive and unlisted:
            notes.append(f"{len(unlisted)} image files are not listed and not used, first: {unlisted[0]}")
        return cls(found, problems, notes)


def collect(
    collector: ObjectCollector,
    annotations: Sequence[Sequence[Row]],
    labels: Mapping[Key, int],
    where: str,
    defects: Defects,
    scale: tuple[int, int] | None = None,
) -> int:
    """Adds the objects of one image.

    Args:
        collector: collector of the image's objects.
        annotations: under each of the image's ids; what is repeated under another id is added once.
        labels: label of each category.
        where: the annotation file.
        defects: where defects are counted.
        scale: (height, width) to which boxes are relative; None: they are in pixels.

    Returns:
        Number of boxes that come from polygons or masks.
    """
    masks, known = 0, set[tuple[Any, ...]]()
    for rows in annotations:
        added = set[tuple[Any, ...]]()
        for number, item in rows:
            box, category = _box(item.get("bbox")), key_of(item.get("category_id"))
            if box is None and category is not None:
                box = segmentation_box(item.get("segmentation"))
                masks += box is not None
            if box is not None and scale is not None and max(box) <= RELATIVE_LIMIT:  # masks are in pixels
                box = scaled(box, scale)
            if box is None or category is None:
                defects.add("object without a box or a class", f"{where}, annotation {number}", lost="objects")
                continue
            if len(annotations) > 1:
                added.add((category, box))
            if (category, box) in known:
                defects.add("object listed under two ids of its image", f"{where}, annotation {number}")
            elif category not in labels:
                first = next(iter(labels), None)
                below = isinstance(category, int) and isinstance(first, int) and category < first
                text = f"{where}, annotation {number}: category_id {category}"
                defects.add("class without a name", text, lost="objects")
                collector.add_unnamed(box, -1 if below or not labels else len(labels))
            else:
                difficult, crowd = _is_set(item.get("ignore")), _is_set(item.get("iscrowd"))
                area = stated_area(item.get("area")) if scale is None else math.nan
                collector.add(number, box, labels[category], difficult=difficult, crowd=crowd, area=area)
        known |= added
    return masks


def key_of(value: Any) -> Key | None:
    """Returns an id as it is compared; None if it is none.

    >>> key_of(7), key_of(7.0), key_of("7"), key_of("007"), key_of("a"), key_of(None), key_of(7.5)
    (7, 7, 7, '007', 'a', None, None)
    """
    if type(value) is int:
        return value
    if isinstance(value, str):
        text = re.sub(r"(?<=\d)\.0+$", "", value.strip())
        return int(text) if re.fullmatch(r"0|-?[1-9]\d{0,17}", text) else text or None
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value or abs(value) == float("inf"):
        return None
    return int(value) if value == int(value) else None


def _box(bbox: Any) -> Box | None:
    """Returns (top, left, bottom, right) of (left, top, width, height)."""
    try:
        left, top, width, height = (float(value) for value in bbox)
    except (TypeError, ValueError, OverflowError):
        return None
    return top, left, top + height, left + width


def _is_set(flag: Any) -> bool:
    if flag is None or type(flag) is int:
        return bool(flag)
    try:
        return float(flag) != 0
    except (TypeError, ValueError, OverflowError):
        return False


def _parents(categories: list[Any]) -> frozenset[Key]:
    """Returns categories that have no supercategory and are one."""
    rows = [row for row in categories if isinstance(row, dict)]
    above = {row.get("supercategory") for row in rows if isinstance(row.get("supercategory"), str)}
    top = [row for row in rows if row.get("supercategory") in (None, "", "none")]
    keys = (key_of(row.get("id")) for row in top if isinstance(row.get("name"), str) and row["name"] in above)
    return frozenset(key for key in keys if key is not None)


def _sizes(images: list[Any]) -> dict[Key, tuple[int, int]]:
    """Returns (height, width) of the images, of those rows that state it."""
    found = dict[Key, tuple[int, int]]()
    for row in images:
        try:
            key, size = key_of(row["id"]), (int(float(row["height"])), int(float(row["width"])))
        except (KeyError, TypeError, ValueError, OverflowError):
            continue
        if key is not None and min(size) > 0:
            found.setdefault(key, size)
    return found


def _categories(rows: list[Any], path: Path, problems: list[Problem]) -> dict[Key, Named]:
    """Returns the categories that have an id and a name.

    Raises:
        UserError: categories with different names have the same id.
    """
    found = _by_id(rows, "name", "category", problems, None)
    for key, named in found.items():
        if len(named) > 1:
            raise UserError(f"{path}: the categories {listed(named)} have the same id, {key}; give each its own id")
    return {key: next(iter(named.values())) for key, named in found.items()}


def _images(rows: list[Any], problems: list[Problem]) -> dict[Key, Named]:
    """Returns the images that have a name and an id of their own: objects of a shared id could be in any of them."""
    found = _by_id(rows, "file_name", "image", problems, "images")
    for key, named in found.items():
        if len(named) > 1:
            problems += [Problem("image id used twice", f", id {key}: {name}", "images") for name in named]
    return {key: next(iter(named.values())) for key, named in found.items() if len(named) == 1}


def _by_id(
    rows: list[Any], field: str, what: str, problems: list[Problem], lost: Lost | None
) -> dict[Key, dict[str, Named]]:
    """Returns what has an id and a name, by key and name."""
    found = defaultdict[Key, dict[str, Named]](dict)
    for number, row in enumerate(rows, 1):
        key = key_of(row.get("id")) if isinstance(row, dict) else None
        name = row.get(field) if isinstance(row, dict) else None
        if key is None or not isinstance(name, str) or not name.strip():
            problems.append(Problem(f"row without id or {field}", f", {what} {number}", lost))
        else:
            found[key].setdefault(name, Named(row["id"], name))
    return found
