"""Pascal VOC: one XML file an image, lists of images a split.

`<dir>/Annotations/*.xml` and `<dir>/JPEGImages/*`, with splits as lists in `<dir>/ImageSets/Main/<split>.txt`; or, as
LabelImg users have it, `annotations/` and `images/` without lists, then divided by seed. Corners are counted from 1 and
belong to the box (VOC2012 development kit, section 3.2): xmin = 1, xmax = width is the whole width. A box whose corners
are the same one is a slip of the hand, and taken as one without area.
"""

import os
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

import defusedxml
import defusedxml.ElementTree
import numpy as np

from tfeff.data.annotations import AnnotatedSource, Collector, Objects, OnDefect, Report
from tfeff.data.images import decoding
from tfeff.data.splits import members, split_names
from tfeff.errors import UserError

_ANNOTATIONS, _IMAGES = ("Annotations", "annotations"), ("JPEGImages", "images")


def splits(root: Path, fractions: Mapping[str, float]) -> tuple[str, ...]:
    """The names of the data set's splits: its own lists, or those of `fractions`; and `all`.

    Raises:
        UserError: the folder is missing, or is no VOC data set.
    """
    _folder(root, _ANNOTATIONS)
    return split_names(_lists(root), fractions)


def load(
    root: Path, split: str, *, fractions: Mapping[str, float], seed: int = 0, on_defect: OnDefect = "fix"
) -> AnnotatedSource:
    """One split, its images in the order of its list (or of their names).

    Args:
        root: the folder.
        split: one of `splits(root)`.
        fractions: shares of the splits where the data set has no lists.
        seed: of that division.
        on_defect: what to do with annotations that cannot be.

    Raises:
        UserError: the folder or the split is missing, holds no image, or (as `on_defect` says) has a defect.
    """
    annotations, images = _folder(root, _ANNOTATIONS), _folder(root, _IMAGES)
    report = Report(on_defect)
    every = sorted(path.stem for path in annotations.iterdir() if path.suffix.lower() == ".xml")
    own = {name: partial(_listed, path) for name, path in _lists(root).items()}
    names = members(root, split, every, own, fractions, seed)
    pictures = {path.stem: path for path in sorted(images.iterdir()) if path.name.lower().endswith(decoding.EXTENSIONS)}
    parsed = {name: _parsed(annotations / f"{name}.xml") for name in every}
    # The classes of all images, so that every split counts them alike.
    class_names = _class_names(parsed.values())
    ids, objects, paths = list[str](), list[Objects](), list[Path]()
    for name in names:
        path = annotations / f"{name}.xml"
        if os.path.basename(name) != name:
            report.defect("name that leaves the folder", f"{root}, {split}: {name}")
            continue
        if name not in pictures:
            report.defect("annotation without its image", f"{path}: no {name} in {images}")
            continue
        root_element = parsed.get(name)
        if root_element is None:
            report.defect("file that is no annotation", str(path))
            continue
        found = _objects(root_element, path, pictures[name], class_names, report)
        if found is not None:
            ids.append(name)
            objects.append(found)
            paths.append(pictures[name])
    return AnnotatedSource(
        name=f"voc:{root}/{split}",
        class_names=class_names,
        ids=ids,
        objects=objects,
        encoded=lambda index: paths[index].read_bytes(),
        report=report,
    )


def _folder(root: Path, names: tuple[str, ...]) -> Path:
    for name in names:
        if (root / name).is_dir():
            return root / name
    what = "does not exist" if not root.exists() else f"has no folder {' or '.join(names)}"
    raise UserError(f"VOC data set {root} {what}; expected {root}/Annotations/*.xml and {root}/JPEGImages/")


def _lists(root: Path) -> dict[str, Path]:
    """Split -> file; those of single classes (`car_train.txt`) are left out."""
    folder = root / "ImageSets" / "Main"
    names = sorted(folder.glob("*.txt")) if folder.is_dir() else []
    known = ("train", "val", "trainval", "test")
    return {"validation" if path.stem == "val" else path.stem: path for path in names if path.stem in known}


def _listed(path: Path) -> list[str]:
    """The names in a list of images; what follows them in a line is left out."""
    try:
        return [line.split()[0] for line in path.read_text().splitlines() if line.strip()]
    except (OSError, UnicodeError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from None


def _parsed(path: Path) -> Element | None:
    """The file's root element; None for one that cannot be read."""
    try:
        return defusedxml.ElementTree.parse(path, forbid_dtd=True).getroot()
    except (ParseError, defusedxml.DefusedXmlException, OSError, UnicodeError, ValueError, LookupError):
        return None


def _class_names(roots: Iterable[Element | None]) -> tuple[str, ...]:
    found = set()
    for root in roots:
        for item in () if root is None else root.iter("object"):
            if text := (item.findtext("name") or "").strip():
                found.add(text)
    return tuple(sorted(found))


def _objects(root: Element, path: Path, picture: Path, class_names: tuple[str, ...], report: Report) -> Objects | None:
    """The objects of one file; None where its image cannot be read."""
    try:
        size = decoding.size(picture)
    except UserError as error:
        report.defect("image that cannot be read", str(error))
        return None
    said = root.find("size")
    if said is not None:
        written = _number(said, "height"), _number(said, "width")
        if None not in written and written != size and written != (0, 0):
            report.defect("size that is not the image's", f"{path}: {written} written, {size} real")
    collector = Collector(str(path), size, report, origin=1)
    for number, item in enumerate(root.iter("object"), 1):
        name = (item.findtext("name") or "").strip()
        if not name:
            report.defect("object without a name", f"{path}, object {number}")
            continue
        corners = item.find("bndbox")
        values = [None if corners is None else _number(corners, key) for key in ("ymin", "xmin", "ymax", "xmax")]
        if any(value is None for value in values):
            report.defect("object without a whole box", f"{path}, object {number}")
            continue
        top, left, bottom, right = (value for value in values if value is not None)
        difficult = (item.findtext("difficult") or "0").strip() == "1"
        collector.add(number, (top, left, bottom, right), class_names.index(name), difficult=difficult)
    return collector.objects()


def _number(element: Element, key: str) -> float | None:
    try:
        value = float(element.findtext(key) or "")
    except ValueError:
        return None
    return value if np.isfinite(value) else None
