"""Where a COCO dataset has its annotation files and its images."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tfeff.data.sources.files import contents
from tfeff.data.sources.listing import IMAGES, Tree, entered, folded, joined
from tfeff.data.splits import FRACTIONS, canonical_name
from tfeff.errors import UserError

_ANNOTATIONS = ("annotations", "annotation", "labels")
_USUAL = (r"instances_.+\.json", r"_annotations\.coco\.json", r"result\.json", r".+\.json")
"""Names of annotation files. If a dataset has files of one name, those of the names after it are not used."""
_WITHOUT_OBJECTS = r"(captions|image_info)_"
"""How names of files start that COCO publishes beside `instances_*.json` and that have no objects."""
EXPECTED = (
    "annotations/instances_<split>.json, <split>/_annotations.coco.json or result.json, with the images next to it or "
    "in <split>/, images/<split>/ or images/"
)


class COCOLayout:
    """The files of a COCO dataset.

    Args:
        given: its folder, or one annotation file.

    Attributes:
        root: the folder.
        files: candidates for annotation files, the most usual ones; several may belong to one split.
        others: less usual names of JSON files in the same places.
        tree: the files below it.
        usual: whether their names say that they are annotations.

    Raises:
        UserError: it is missing, or has no JSON file.
    """

    def __init__(self, given: Path) -> None:
        if not given.exists():
            raise UserError(f"COCO dataset {given} does not exist; expected {EXPECTED}")
        self.files: tuple[Path, ...]
        self.others = tuple[Path, ...]()
        if given.is_file():
            given = given.absolute()
            inner = folded(given.parent.name) in _ANNOTATIONS
            self.root = given.parent.parent if inner else given.parent
            self.files, self.usual = (given,), True
            self.tree = Tree.of(self.root)
            return
        self.root = entered(given)
        self.tree = Tree.of(self.root)
        paths = [
            joined(folder, name)
            for folder, names in self.tree.folders.items()
            if _may_annotate(folder)
            for name in names
            if folded(name).endswith(".json")
        ]
        for place, pattern in enumerate(_USUAL):
            found = [path for path in paths if re.fullmatch(pattern, path.rpartition("/")[2], re.IGNORECASE)]
            if found:
                known = set(found)
                self.files, self.usual = tuple(self.root / path for path in found), place < len(_USUAL) - 1
                self.others = tuple(self.root / path for path in paths if path not in known)
                return
        raise self.error("has no annotation file")

    def error(self, problem: str) -> UserError:
        """Returns the error that says what was expected, and what there is."""
        return UserError(f"COCO dataset {self.root} {problem}; expected {EXPECTED}; {contents(self.root)}")

    def splits(self, files: Sequence[Path]) -> dict[str, Path]:
        """Returns split -> annotation file.

        Raises:
            UserError: two files have the same split.
        """
        named = {path: self._split(path) for path in files}
        counts = Counter(named.values())
        for path, split in named.items():
            if counts[split] > 1:
                named[path] = path.stem
        found = dict[str, Path]()
        for path, split in named.items():
            if split in found:
                raise UserError(f"{self.root}: both {found[split]} and {path} would be the split {split}; keep one")
            found[split] = path
        order = sorted(found, key=lambda split: [*FRACTIONS, canonical_name(split)].index(canonical_name(split)))
        return {split: found[split] for split in order}

    def unused(self, files: Sequence[Path]) -> dict[Path, str]:
        """Returns the JSON files that are not used, and the split that would be lost with each, or "".

        Args:
            files: the annotation files that are used.
        """
        used, known = set(files), {canonical_name(self._split(path)) for path in files}
        unused = dict[Path, str]()
        for path in (*self.files, *self.others):
            if path not in used:
                split = canonical_name(self._split(path))
                lost = split in FRACTIONS and split not in known
                unused[path] = split if lost and not re.match(_WITHOUT_OBJECTS, path.name, re.IGNORECASE) else ""
        return unused

    def images(self, split: str, file: Path) -> tuple[str, list[str]]:
        """Returns the folder, relative to the root, in which a split has its images, and their paths in it."""
        own = self._relative(file.parent)
        inner = [joined(own, name) for name in IMAGES] + [own] if canonical_name(own) in FRACTIONS else []
        owned = [folder for name in inner for folder in self.tree.folders if folded(folder) == folded(name)]
        named = [folder for folder in self.tree.folders if _is_of(folder, split)]
        named.sort(key=lambda folder: (folded(folder.rpartition("/")[2]) != folded(split), folder.count("/")))
        shared = [folder for name in IMAGES for folder in self.tree.folders if folded(folder) == name]
        for folder in (*owned, *named, *shared):
            if found := self.tree.images(folder):
                return folder, [path.removeprefix(f"{folder}/") for path in found]
        return "", self.tree.images()

    def _split(self, path: Path) -> str:
        """Returns the split in the name of an annotation file, or else of its folder; else all of the file's name."""
        name = re.sub(r"^instances_", "", path.stem, flags=re.IGNORECASE)
        if canonical_name(name) in FRACTIONS:
            return name
        words = [word for word in re.split(r"[\W_]+", name) if canonical_name(word) in FRACTIONS]
        if len(words) == 1:
            return words[0]
        for folder in reversed(path.relative_to(self.root).parent.parts):
            if canonical_name(folder) in FRACTIONS:
                return folder
        return name

    def _relative(self, folder: Path) -> str:
        return "" if folder == self.root else folder.relative_to(self.root).as_posix()


def _may_annotate(folder: str) -> bool:
    """Returns whether a folder, relative to the root, may have annotation files.

    This is true of the root, of folders for annotations, and of splits.
    """
    return all(part in _ANNOTATIONS or canonical_name(part) in FRACTIONS for part in folded(folder).split("/") if part)


def _is_of(folder: str, split: str) -> bool:
    """Returns whether a folder, relative to the root, is named like a split, by itself or in a folder for images."""
    above, _, name = folder.rpartition("/")
    same = folded(name) == folded(split) or canonical_name(name) == canonical_name(split)
    return same and (not above or folded(above) in IMAGES)
