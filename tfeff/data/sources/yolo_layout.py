"""Where a YOLO dataset has its images: in folders, or as a YAML file, Darknet's `.data` file or lists of images say.

Folders, in any case, with `labels` where `images` stands, or with the label files beside the images:

- `images/<split>/`, or `<split>/images/` (Roboflow), or `<split>/`; CVAT's `obj_<split>_data/`;
- without splits: `images/`, or the folder itself.

Lists such as `train.txt` or Ultralytics' `autosplit_train.txt` in the folder of the dataset give each split its images.
A file that names the splits (`train`, `val`, `test`) gives each a folder, a text file that lists images, or a list of
them. These are looked for inside the dataset if they are not where the file says, since published files rarely fit.
"""

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tfeff.data.names import listed
from tfeff.data.sources import text
from tfeff.data.sources.files import contents
from tfeff.data.sources.listing import (
    IMAGES,
    Finder,
    Tree,
    depth,
    entered,
    folded,
    is_image,
    is_moved,
    joined,
    named_split,
    path_parts,
    tails,
)
from tfeff.data.sources.yolo_names import NAME_LISTS, Declaration, declaration, is_list
from tfeff.data.splits import FRACTIONS
from tfeff.errors import UserError

EXPECTED = (
    "images/ and labels/, each with a folder per split or none; <split>/images/ and <split>/labels/; or a data.yaml "
    "that says where the images are"
)


@dataclass
class Part:
    """The images of one split, or of all.

    Attributes:
        origin: folder or list where they were found, for messages.
        images: their files.
        missing: lines of a list that mean no image -> what is wrong with them.
        moved: lines of a list -> the image of that name in another folder.
    """

    origin: str
    images: list[Path]
    missing: dict[str, str] = field(default_factory=dict)
    moved: dict[str, Path] = field(default_factory=dict)


@dataclass
class YOLOLayout:
    """The images of a YOLO dataset.

    Attributes:
        root: its folder.
        tree: the files below it.
        declared: what its YAML or `.data` file says.
        parts: split -> its images; "" if there are no splits.
        notes: what the user should know, one line each.
    """

    root: Path
    tree: Tree
    declared: Declaration
    parts: dict[str, Part]
    notes: list[str]

    @property
    def count(self) -> int:
        """Number of images."""
        return sum(len(part.images) for part in self.parts.values())

    def error(self, problem: str) -> UserError:
        """Returns the error that says what was expected, and what there is."""
        return UserError(f"YOLO dataset {self.root} {problem}; expected {EXPECTED}; {contents(self.root)}")


def find_layout(given: Path) -> YOLOLayout:
    """Finds the images.

    Args:
        given: the folder of the dataset, or its YAML or `.data` file.

    Raises:
        UserError: it is missing, has no known layout, or two folders would be the same split.
    """
    if not given.exists():
        raise UserError(f"YOLO dataset {given} does not exist; expected {EXPECTED}")
    root = given.parent if given.is_file() else entered(given)
    declared = declaration(root, given if given.is_file() else None)
    if given.is_file() and declared.path and os.path.isdir(root / declared.path):
        root = root / declared.path
    tree = Tree.of(root)
    notes = [f"{declared.file}: {note}" for note in declared.notes]
    places = _Places(root, tree, declared)
    parts = _declared_parts(root, tree, declared, places, notes)
    used = {path for part in parts.values() for path in part.images}
    for split, part in _folder_parts(root, tree).items():
        if not parts or (split and split not in parts and used.isdisjoint(part.images)):
            parts[split] = part
    folders = {path.parent for part in parts.values() for path in part.images}
    folders |= {root / folder for folder in tree.folders if folded(folder) in IMAGES}
    beside = {path for folder in folders for path in _images_of(root, tree, folder)}
    if unused := sorted(beside.difference(*(part.images for part in parts.values()))):
        notes.append(f"{root}: {len(unused)} images belong to no split and are not used, first: {unused[0]}")
    if lists := places.unused_lists():
        names = "train.txt, val.txt or test.txt in the folder of the dataset, or are named in a YAML file"
        notes.append(f"{root}: lists of images that are not used: {listed(lists)}; lists of splits are called {names}")
    order = sorted(parts, key=lambda split: [*FRACTIONS, split].index(split))
    layout = YOLOLayout(root, tree, declared, {split: parts[split] for split in order}, notes)
    if not layout.count and (missing := joined_missing(parts.values())):
        line, problem = next(iter(missing.items()))
        raise layout.error(
            f"has lists of images, but none of their {len(missing):,} lines is found ({problem}: {line})"
        )
    if not layout.count:
        raise layout.error("has no folders images and labels, or they have no images")
    return layout


def _declared_parts(
    root: Path, tree: Tree, declared: Declaration, places: "_Places", notes: list[str]
) -> dict[str, Part]:
    """Returns the splits that a file declares, as far as they are found."""
    splits: Mapping[str, Sequence[str]] = declared.splits
    origin = str(declared.file)
    if not splits:
        lists = [name for name in tree.folders[""] if folded(name).endswith(".txt") and named_split(name) in FRACTIONS]
        splits, origin = {split: [name] for split, name in _named(root, lists).items()}, str(root)
    known = places.parts(entry for entries in splits.values() for entry in entries)
    parts = dict[str, Part]()
    for split, entries in splits.items():
        found = list[Part]()
        for entry in entries:
            part = known[entry]
            if part is not None and part.missing and not part.images:
                line, problem = next(iter(part.missing.items()))
                lines = f"{len(part.missing):,} lines of {entry}"
                notes.append(f"{origin}: {split}: none of the {lines} is found, first: {line} ({problem})")
            elif part is None or not part.images:
                notes.append(f"{origin}: {split}: {entry} {'does not exist' if part is None else 'has no images'}")
            if part is not None and part.moved:
                line, path = next(iter(part.moved.items()))
                count = f"{len(set(part.moved.values())):,} of {len(part.images):,} images of {entry}"
                notes.append(f"{origin}: {split}: {count} are in another folder than written, first: {line}: {path}")
            if part is not None and (part.images or (part.missing if declared.splits else _are_names(part.missing))):
                found.append(part)
        if not found:
            continue
        images = dict.fromkeys(path for part in found for path in part.images)
        where = f" ({declared.file.name})" if declared.file else ""
        part = Part(", ".join(part.origin for part in found) + where, [*images], joined_missing(found))
        same = next((other for other, its in parts.items() if images and set(its.images) == set(images)), None)
        if same is not None:
            notes.append(f"{origin}: {split} has the images of {same}; it is ignored")
        else:
            parts[split] = part
    return parts


def joined_missing(parts: Iterable[Part]) -> dict[str, str]:
    """Returns what is missing in any of some parts."""
    return {line: problem for part in parts for line, problem in part.missing.items()}


def _are_names(lines: Iterable[str]) -> bool:
    """Returns whether some lines of a file named after a split can be names, unlike labels of an image."""
    return any(not re.fullmatch(r"\S+(\s+[-+.\de]+){4,}", line) for line in lines)


class _Places:
    """Finder of what the entries of a file that declares splits mean."""

    def __init__(self, root: Path, tree: Tree, declared: Declaration) -> None:
        self._root, self._tree = root, tree
        self._bases = [root / declared.path] if declared.path else []
        self._bases += [declared.file.parent] if declared.file else []
        self._folders = {folded(folder): folder for folder in tree.folders}
        self._files = {
            folded(joined(folder, name)): joined(folder, name)
            for folder in tree.folders
            for name in tree.folders[folder]
        }
        self._depth = depth([*self._folders, *self._files])
        self._images = Finder(tree.images())
        self._lists, self._own_folders = set[Path](), dict[Path, Path]()

    def parts(self, entries: Iterable[str]) -> dict[str, Part | None]:
        """Returns the images of entries: folders, or lists of images; None for those that do not exist.

        An image in another folder than written is used if all lines that mean it are written alike.
        """
        found = {entry: self._part(entry) for entry in dict.fromkeys(entries)}
        parts = [part for part in found.values() if part is not None]
        exact, written = {path for part in parts for path in part.images}, defaultdict[Path, set[str]](set)
        for part in parts:
            for line, path in part.moved.items():
                written[path].add(folded("/".join(path_parts(line))))
        for part in parts:
            for line, path in [*part.moved.items()]:
                if path in exact or len(written[path]) > 1:
                    del part.moved[line]
                    part.missing[line] = self._images.problem(line)
            part.images = [*dict.fromkeys([*part.images, *part.moved.values()])]
        return found

    def _part(self, entry: str) -> Part | None:
        parts = path_parts(entry)
        whole, ends = "/".join(parts), tails(parts[1:], self._depth)
        absolute = Path(entry).is_absolute()
        if not absolute and (part := self._inside(whole)):
            return part
        for base in (*self._bases, self._root):
            path = Path(os.path.normpath(base / entry.replace("\\", "/")))
            if os.path.isdir(path) and path.resolve() != self._root.resolve():
                return Part(str(path), [self._own(path / name) for name in Tree.of(path).images()])
            if os.path.isfile(path):  # unlike `is_file`, also without an error for a name that is too long
                return self._list(self._own(path), "")
        return next((part for tail in ([whole, *ends] if absolute else ends) if (part := self._inside(tail))), None)

    def _inside(self, path: str) -> Part | None:
        """Returns a folder or a list in the dataset."""
        folder, file = self._folders.get(folded(path)), self._files.get(folded(path))
        if folder is not None:
            return Part(folder or ".", [self._root / name for name in self._tree.images(folder)])
        if file is not None and not is_image(file):
            return self._list(self._root / file, file.rpartition("/")[0])
        return None

    def _list(self, path: Path, folder: str) -> Part:
        """Returns the images that a text file lists, relative to the dataset or to the file's folder in it."""
        try:
            lines = text.read(path, "replace").splitlines()
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror})") from None
        self._lists.add(path)
        images, missing, moved = list[Path](), dict[str, str](), dict[str, Path]()
        for line in filter(None, map(str.strip, lines)):
            if line.startswith("#") and self._images.find(line) is None:
                continue  # a comment
            beside = joined(folder, line.removeprefix("./"))
            found = beside if beside in self._images.files else self._images.find(line)
            if Path(line).is_absolute() and is_image(line) and os.path.isfile(line):
                images.append(self._own(Path(line)))
            elif found is not None and (found == beside or not is_moved(line, found)):
                images.append(self._root / found)
            elif is_image(line) and os.path.isfile(path.parent / line):
                images.append(self._own(path.parent / line))
            elif found is not None:
                moved[line] = self._root / found
            else:
                missing[line] = self._images.problem(line)
        name = joined(folder, path.name) if path.is_relative_to(self._root) else str(path)
        return Part(name, [*dict.fromkeys(images)], missing, moved)

    def _own(self, path: Path) -> Path:
        """Returns the path of a file, which starts with the root as it is given if the file is below it."""
        if path.parent not in self._own_folders:
            self._own_folders[path.parent] = self._own_folder(path.parent)
        return self._own_folders[path.parent] / path.name

    def _own_folder(self, folder: Path) -> Path:
        root = self._root.resolve()
        for above in (folder, *folder.parents):
            if above.resolve() == root:
                return self._root / folder.relative_to(above)
        resolved = folder.resolve()
        return self._root / resolved.relative_to(root) if resolved.is_relative_to(root) else folder

    def unused_lists(self) -> list[str]:
        """Returns other text files in the dataset that name an image in their first line."""
        stems = {folded(Path(name).stem) for name in self._images.files}
        found = list[str]()
        for path in self._files.values():
            name = path.rpartition("/")[2]
            may_list = folded(name).endswith(".txt") and not any(is_list(name, ending) for ending in NAME_LISTS)
            if not may_list or folded(Path(name).stem) in stems or self._root / path in self._lists:
                continue
            try:
                first = text.read(self._root / path, "replace").lstrip().partition("\n")[0].strip()
            except OSError:
                continue
            if is_image(first) and self._images.find(first) is not None:
                found.append(path)
        return found


def _folder_parts(root: Path, tree: Tree) -> dict[str, Part]:
    """Returns the splits of the usual folders, or all images as ""; empty if there are none."""
    top = {folder for folder in tree.folders if folder and "/" not in folder}
    base = next((each for name in IMAGES for each in sorted(top) if folded(each) == name and tree.images(each)), None)
    if base is not None:
        inner = {folder for folder in tree.folders if folder.rpartition("/")[0] == base and tree.images(folder)}
        splits = _named(root, inner)
        if not any(split in FRACTIONS for split in splits):
            return {"": _part(root, tree, base)}
        return {split: _part(root, tree, folder) for split, folder in splits.items()}
    splits = _named(root, {each for each in top if named_split(each) in FRACTIONS and tree.images(each)})
    if splits:
        return {split: _part(root, tree, _inner_images(tree, folder)) for split, folder in splits.items()}
    if any(is_image(name) for name in tree.folders[""]) and any(
        folded(name).endswith(".txt") for name in tree.folders[""]
    ):
        return {"": Part(".", [root / name for name in tree.folders[""] if is_image(name)])}
    return {}


def _inner_images(tree: Tree, folder: str) -> str:
    """Returns the folder for images in the folder of a split, or the latter itself."""
    inner = (each for name in IMAGES for each in tree.folders if folded(each) == folded(f"{folder}/{name}"))
    return next((each for each in inner if tree.images(each)), folder)


def _named(root: Path, folders: Iterable[str]) -> dict[str, str]:
    """Returns split -> folder.

    Raises:
        UserError: two folders would be the same split.
    """
    found = dict[str, str]()
    for folder in sorted(folders):
        split = named_split(folder.rpartition("/")[2])
        if split in found:
            raise UserError(f"{root}: both {found[split]} and {folder} would be the {split} split; keep one")
        found[split] = folder
    return found


def _images_of(root: Path, tree: Tree, folder: Path) -> list[Path]:
    """Returns the images in a folder, if it belongs to the dataset; not those in folders in it."""
    if not folder.is_relative_to(root):
        return []
    inside = folder.relative_to(root).as_posix()
    return [folder / name for name in tree.folders.get("" if inside == "." else inside, ()) if is_image(name)]


def _part(root: Path, tree: Tree, folder: str) -> Part:
    return Part(folder, [root / name for name in tree.images(folder)])
