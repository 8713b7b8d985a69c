"""Pascal VOC: one XML file per image.

The official layout is `<dir>/Annotations/*.xml` and `<dir>/JPEGImages/*`, with splits as lists in
`<dir>/ImageSets/Main/<split>.txt`. Published datasets vary it, so these are found as well, in any case:

- annotations in `annotations`, `annots`, `labels` or `xml` (also one folder deeper), or next to the images;
- images in `JPEGImages`, `images`, `image`, `imgs` or `img`, or next to the annotations;
- splits as folders, each with both: `train/`, `valid/`, `test/`; otherwise splits are drawn by seed.

Corners are counted from 1 and belong to the box (VOC2012 development kit, section 3.2): xmin = 1 and xmax = width span
the whole width. A box whose two corners coincide is an annotation mistake and has no area.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

import defusedxml
import defusedxml.ElementTree
import numpy as np

from tfeff.data.dataset import Dataset
from tfeff.data.defects import Defects
from tfeff.data.images import decoding
from tfeff.data.images.decoding import Headers
from tfeff.data.images.header import Header
from tfeff.data.images.storage import ImageFiles
from tfeff.data.sources.annotations import AnnotatedSplit, ObjectCollector
from tfeff.data.sources.source import Options, Source
from tfeff.data.splits import ALL, FRACTIONS, canonical_name, checked_fractions, drawn_split
from tfeff.errors import UserError

_ANNOTATIONS = ("annotations", "annots", "labels", "xml", "xmls")
_IMAGES = ("jpegimages", "images", "image", "imgs", "img")
_LISTS = ("train", "val", "trainval", "test")  # lists of single classes, such as `car_train.txt`, are not splits


@dataclass(frozen=True)
class _Part:
    """The files of one split folder, or of the whole dataset.

    Attributes:
        prefix: what its images' ids start with.
        annotations: folder of the XML files.
        images: folder of the images.
    """

    prefix: str
    annotations: Path
    images: Path


class VOC(Source):
    """A VOC dataset, its images in the order of the split's list or of their names.

    Args:
        root: the folder.
        options: `channels`, `fractions`, `seed` and `on_defect` apply.

    Raises:
        UserError: the folder is missing, or has none of the layouts.
    """

    def __init__(self, root: str | Path, options: Options) -> None:
        super().__init__(f"voc:{root}", options)
        self._root, self._headers = Path(root), Headers()
        self._parts = _parts(self._root)
        self._lists = _lists(self._root)
        if self.drawn:
            checked_fractions(options.fractions)

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits of its lists or folders, or those of `fractions`."""
        return tuple(self._lists or [name for name in self._parts if name] or self.options.fractions)

    @property
    def drawn(self) -> bool:
        """Whether it has neither lists nor split folders."""
        return not self._lists and "" in self._parts

    @property
    def disjoint(self) -> bool:
        """No, if splits are lists: `trainval` contains `train`."""
        return not self._lists

    def _load(self, split: str) -> Dataset:
        found = AnnotatedSplit(f"{self.name}/{split}", self.options)
        defects, parsed, pictures = found.defects, self._parsed, self._pictures
        members = Counter(self._members(split))
        for name, count in members.items():
            if count > 1:
                defects.add("image listed twice", f"{self._root}, {split}: {name}")
            annotation = self._annotation(name)
            if annotation is None:
                defects.add("name that leaves the folder", f"{self._root}, {split}: {name}", lost="images")
                continue
            if name not in pictures:
                defects.add("annotation without its image", f"{annotation}: no image {name}", lost="images")
                continue
            element = parsed.get(name)
            if element is None:
                defects.add("unreadable annotation", str(annotation), lost="images")
                continue
            header = found.header(self._headers, pictures[name])
            if header is None:
                continue
            collector = _collected(element, annotation, header, self._class_names, defects)
            found.add(name, header.size, collector)
        return found.dataset(self._class_names, ImageFiles([pictures[name] for name in found.ids]))

    def _members(self, split: str) -> Sequence[str]:
        """Ids of the images of a split."""
        if split == ALL:
            return list(self._annotations)
        if self._lists:
            return _listed(self._lists[split])
        if not self.drawn:
            return [name for name in self._annotations if name.startswith(self._parts[split].prefix)]
        return drawn_split(list(self._annotations), split, self.options.fractions, self.options.seed)

    def _annotation(self, name: str) -> Path | None:
        """The XML file of an id; None if the id, read from a list, points outside the folder."""
        if name in self._annotations:
            return self._annotations[name]
        part = self._parts.get("")
        return part.annotations / f"{name}.xml" if part and Path(name).name == name else None

    @cached_property
    def _annotations(self) -> dict[str, Path]:
        """Id -> XML file, in the order of the files' names."""
        return {
            part.prefix + path.stem: path
            for part in self._parts.values()
            for path in sorted(part.annotations.iterdir(), key=lambda path: path.stem)
            if path.suffix.lower() == ".xml"
        }

    @cached_property
    def _pictures(self) -> dict[str, Path]:
        """Id -> image file."""
        return {
            part.prefix + path.stem: path
            for part in self._parts.values()
            for path in sorted(part.images.iterdir())
            if path.name.lower().endswith(decoding.EXTENSIONS)
        }

    @cached_property
    def _parsed(self) -> dict[str, Element | None]:
        """Id -> root element of its XML file, None if the file is invalid; each file is parsed once."""
        return {name: _parse(path) for name, path in self._annotations.items()}

    @cached_property
    def _class_names(self) -> tuple[str, ...]:
        """The classes of all splits, so that labels mean the same in each."""
        found = set()
        for element in self._parsed.values():
            for item in () if element is None else element.iter("object"):
                if text := (item.findtext("name") or "").strip():
                    found.add(text)
        return tuple(sorted(found))


def _parts(root: Path) -> dict[str, _Part]:
    """Split folders by split; the whole dataset as "" if there are none."""
    if not root.is_dir():
        problem = "is not a folder" if root.exists() else "does not exist"
        raise UserError(f"VOC dataset {root} {problem}; expected {root}/Annotations/*.xml and {root}/JPEGImages/")
    whole = _part(root, "")
    if whole is not None:
        return {"": whole}
    annotations, images = _named(root, _ANNOTATIONS), _named(root, _IMAGES)
    found = dict[str, _Part]()
    for folder in _folders(annotations[0] if annotations else root):
        split = canonical_name(folder.name)
        if split not in FRACTIONS:
            continue
        pictures = next((each for base in images for each in _folders(base) if each.name == folder.name), None)
        part = _part(folder, f"{folder.name}/", images=pictures)
        if part is not None:
            if split in found:
                raise UserError(f"{root}: two folders would be the {split} split, one is {folder.name}; keep one")
            found[split] = part
    if not found:
        raise UserError(
            f"VOC dataset {root} has no folder with XML annotations; expected {root}/Annotations/*.xml and "
            f"{root}/JPEGImages/ (also annotations, annots, labels or xml, and images)"
        )
    return {split: found[split] for split in FRACTIONS if split in found}


def _part(folder: Path, prefix: str, images: Path | None = None) -> _Part | None:
    """The XML files and images in or below a folder, or None if there are no XML files."""
    named = _named(folder, _ANNOTATIONS)
    nested = [deeper for each in named for deeper in _named(each, _ANNOTATIONS)]
    pictures = _named(folder, _IMAGES)
    annotations = next((each for each in (*named, *nested, folder, *pictures) if _has(each, (".xml",))), None)
    if annotations is None:
        return None
    candidates = [each for each in (images, *pictures, annotations, folder) if each is not None]
    found = next((each for each in candidates if _has(each, decoding.EXTENSIONS)), None)
    if found is None:
        raise UserError(
            f"VOC dataset {folder} has annotations in {annotations} but no images; expected {folder}/JPEGImages/ or "
            f"{folder}/images/"
        )
    return _Part(prefix, annotations, found)


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir())


def _named(folder: Path, names: Sequence[str]) -> list[Path]:
    """The subfolders with one of these names in any case, in the order of the names."""
    found = [(names.index(path.name.lower()), path) for path in _folders(folder) if path.name.lower() in names]
    return [path for _, path in sorted(found)]


def _has(folder: Path, extensions: tuple[str, ...]) -> bool:
    return any(path.name.lower().endswith(extensions) for path in _files(folder))


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.iterdir() if path.is_file())


def _lists(root: Path) -> dict[str, Path]:
    """Split -> file with its list of images."""
    folder = root / "ImageSets" / "Main"
    files = sorted(folder.glob("*.txt")) if folder.is_dir() else []
    return {canonical_name(path.stem): path for path in files if path.stem in _LISTS}


def _listed(path: Path) -> list[str]:
    """The names in a list of images: the first word of each line."""
    try:
        return [line.split()[0] for line in path.read_text().splitlines() if line.strip()]
    except (OSError, UnicodeError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from None


def _parse(path: Path) -> Element | None:
    try:
        return defusedxml.ElementTree.parse(path, forbid_dtd=True).getroot()
    except (ParseError, defusedxml.DefusedXmlException, OSError, UnicodeError, ValueError, LookupError):
        return None


def _collected(
    root: Element, path: Path, header: Header, class_names: tuple[str, ...], defects: Defects
) -> ObjectCollector:
    """The objects of one file."""
    written, turned = _annotated_size(root), header.orientation
    collector = ObjectCollector(str(path), header.size, defects, origin=1, orientation=turned, written=written)
    for number, item in enumerate(root.iter("object"), 1):
        name = (item.findtext("name") or "").strip()
        if not name:
            defects.add("object without a name", f"{path}, object {number}", lost="objects")
            continue
        corners = item.find("bndbox")
        values = [None if corners is None else _number(corners, key) for key in ("ymin", "xmin", "ymax", "xmax")]
        if any(value is None for value in values):
            defects.add("object without a complete box", f"{path}, object {number}", lost="objects")
            continue
        top, left, bottom, right = (value for value in values if value is not None)
        difficult = (item.findtext("difficult") or "0").strip() == "1"
        collector.add(number, (top, left, bottom, right), class_names.index(name), difficult=difficult)
    return collector


def _annotated_size(root: Element) -> tuple[int, int] | None:
    """(height, width) of the image according to its annotation; None if it does not say."""
    annotated = root.find("size")
    if annotated is None:
        return None
    height, width = _number(annotated, "height"), _number(annotated, "width")
    return None if not height or not width else (int(height), int(width))


def _number(element: Element, key: str) -> float | None:
    try:
        value = float(element.findtext(key) or "")
    except ValueError:
        return None
    return value if np.isfinite(value) else None
