"""Where the files of a Pascal VOC dataset are.

Found are, in any case:

- annotations in `Annotations`, `annots`, `labels` or `xml` (also deeper), or next to the images;
- images in `JPEGImages`, `images`, `image`, `imgs` or `img` (also deeper), or next to the annotations;
- folders of splits with both: `train/`, `valid/`, `test/`;
- otherwise the only folder with annotations and the only one with images, whatever they are called;
- all of this in the only folder of the dataset's folder.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tfeff.data.images import decoding
from tfeff.data.names import listed, shown
from tfeff.data.sources import files
from tfeff.data.sources.files import Files
from tfeff.data.splits import FRACTIONS, canonical_name
from tfeff.errors import UserError

_ANNOTATIONS = ("annotations", "annotation", "annots", "labels", "xml", "xmls")
_IMAGES = ("jpegimages", "images", "image", "imgs", "img", "pictures", "photos")


@dataclass(frozen=True)
class Layout:
    """The files of a dataset.

    Attributes:
        root: the folder that contains them.
        annotations: id -> XML file, in the order of the ids: the path below the folder of the annotations, without its
            ending and after the folder of the split, if there are such.
        images: path below the folder of the images, after the folder of the split -> file.
        problems: why files cannot be used.
        split_folders: whether ids and images start with the folder of their split.
        notes: what was chosen, one line each.
    """

    root: Path
    annotations: dict[str, Path]
    images: dict[str, Path]
    problems: dict[Path, str]
    split_folders: bool
    notes: tuple[str, ...]

    @classmethod
    def of(cls, root: Path) -> "Layout":
        """Returns the layout of a folder.

        Raises:
            UserError: the folder is missing, or has none of the layouts.
        """
        if not root.is_dir():
            problem = "is not a folder" if root.exists() else "does not exist"
            raise UserError(f"VOC dataset {root} {problem}; expected {root}/Annotations/*.xml and {root}/JPEGImages/")
        outer = root
        while True:
            parts = _parts(root)
            inner = files.subfolders(root)
            if parts or len(inner) != 1:
                break
            root = root / inner[0]
        if not parts:
            raise UserError(
                f"VOC dataset {outer} has no folder with XML annotations: {files.contents(outer)}; expected "
                f"{outer}/Annotations/*.xml and {outer}/JPEGImages/"
            )
        annotations, images, problems = dict[str, Path](), dict[str, Path](), dict[Path, str]()
        for part in parts:
            part.collect(annotations, images, problems)
        notes = [f"voc:{outer}: reading {root}"] if root != outer else []
        unusual = [part for part in parts if not part.usual]
        notes += [f"annotations are read from {part.annotations}, images from {part.images}" for part in unusual]
        others = _unread(root, parts)
        if others:
            notes.append(f"voc:{outer}: annotations in other folders are not read: {listed(others)}")
        return cls(root, annotations, images, problems, bool(parts[0].prefix), tuple(notes))


@dataclass(frozen=True)
class _Part:
    """The files of one split folder, or of the whole dataset.

    Attributes:
        prefix: what its ids start with.
        annotations: folder of the XML files.
        xml: its files.
        images: folder of the images.
        pictures: its files.
    """

    prefix: str
    annotations: Path
    xml: Files
    images: Path
    pictures: Files

    @property
    def usual(self) -> bool:
        """Whether its folders are called as usual, or are the same."""
        named = self.annotations.name.lower() in _ANNOTATIONS and self.images.name.lower() in _IMAGES
        return named or self.annotations == self.images

    def collect(self, annotations: dict[str, Path], images: dict[str, Path], problems: dict[Path, str]) -> None:
        """Adds its files."""
        for found, folder in ((self.xml, self.annotations), (self.pictures, self.images)):
            for path, problem in found.unusable.items():
                problems[folder / path] = problem
        names = [path for path in (*self.xml.paths, *self.xml.unusable) if path.lower().endswith(".xml")]
        for stem, path in sorted((path[: -len(".xml")], path) for path in names):
            annotations[f"{self.prefix}{stem}"] = self.annotations / path
        for path in sorted([*self.pictures.paths, *self.pictures.unusable]):
            images[f"{self.prefix}{path}"] = self.images / path


def _parts(root: Path) -> list[_Part]:
    """Returns the split folders, or the whole dataset; none if there are no annotations."""
    whole = _part(root, "", _named(root, _ANNOTATIONS), deep=False)
    splits = dict[str, _Part]()
    for name in files.subfolders(root) if whole is None or whole.annotations == root else ():
        split = canonical_name(name)
        folder = root / name
        part = _part(folder, f"{name}/", _named(folder, _ANNOTATIONS)) if split in FRACTIONS else None
        if part is not None:
            if split in splits:
                raise UserError(f"{root}: two folders would be the {split} split, one is {name}; keep one")
            splits[split] = part
    if splits:
        return [splits[split] for split in FRACTIONS if split in splits]
    if whole is None:
        whole = _part(root, "", _named(root, _ANNOTATIONS)) or _part(root, "", _only(root, (".xml",)))
    return [whole] if whole is not None else []


def _part(folder: Path, prefix: str, named: Sequence[Path], *, deep: bool = True) -> _Part | None:
    """Returns the XML files and images in or below a folder, or None if there are no XML files.

    Args:
        folder: the folder.
        prefix: prefix of its ids.
        named: folders in which annotations are usual.
        deep: whether annotations may be in subfolders of these.
    """
    pictures = _named(folder, _IMAGES)
    for annotations in (*named, folder, *pictures):
        xml = files.find(annotations, (".xml",), deep=annotations != folder)
        if xml.paths and (deep or any("/" not in path for path in xml.paths)):
            break
    else:
        return None
    annotations, xml = _narrowed(annotations, xml, (".xml",))
    for images in (*pictures, annotations, folder, *_only(folder, decoding.EXTENSIONS)):
        found = files.find(images, deep=images != folder)
        if found.paths:
            return _Part(prefix, annotations, xml, *_narrowed(images, found, decoding.EXTENSIONS))
    raise UserError(
        f"VOC dataset {folder} has annotations in {annotations} but no images: {files.contents(folder)}; expected "
        f"{folder}/JPEGImages/ or {folder}/images/"
    )


def _narrowed(folder: Path, found: Files, endings: tuple[str, ...]) -> tuple[Path, Files]:
    """Returns the subfolder that contains everything, if there is one that is not a split."""
    inner = {path.partition("/")[0] if "/" in path else "" for path in found.paths}
    name = inner.pop()
    if inner or not name or canonical_name(name) in FRACTIONS:
        return folder, found
    return _narrowed(folder / name, files.find(folder / name, endings), endings)


def _named(folder: Path, names: Sequence[str]) -> list[Path]:
    """Returns the subfolders with one of these names in any case, in the order of the names."""
    found = [(names.index(name.lower()), name) for name in files.subfolders(folder) if name.lower() in names]
    return [folder / name for _, name in sorted(found)]


def _only(folder: Path, endings: tuple[str, ...]) -> list[Path]:
    """Returns the subfolder that contains files with one of these endings, if it is the only one."""
    found = [name for name in files.subfolders(folder) if files.find(folder / name, endings).paths]
    return [folder / found[0]] if len(found) == 1 else []


def _unread(root: Path, parts: Sequence[_Part]) -> list[str]:
    """Returns subfolders with XML files that belong to no part."""
    read = {path for part in parts for path in (part.annotations, *part.annotations.parents)}
    others = [root / name for name in files.subfolders(root) if root / name not in read]
    return [shown(each.name) for each in others if files.find(each, (".xml",), deep=False).paths]
