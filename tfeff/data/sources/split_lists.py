"""Lists of a dataset's images: text files such as `ImageSets/Main/train.txt`, one image per line.

They are found in the folder `ImageSets` (in any case) and its subfolders, `Main` first; then in `splits`, `lists` or
`sets`; then in the dataset's own folder. A line is the name of an image, with or without ending and leading folders;
VOC's lists of single classes add 1, 0 or -1, others add the annotation file.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from tfeff.data.images import decoding
from tfeff.data.names import listed
from tfeff.data.sources import files, text
from tfeff.data.sources.listing import depth, folded, is_of_other_split, tails
from tfeff.data.splits import canonical_name
from tfeff.errors import UserError

_SPLITS = ("train", "validation", "trainval", "test")
_FLAG = re.compile(r"(?<!\s)\s+[-+]?[01]$")
_PAIR = re.compile(rf"(.+?(?:{'|'.join(map(re.escape, decoding.EXTENSIONS))}))\s.*|(\S+)\s+\S+\.xml", re.IGNORECASE)
_ENDINGS = (*decoding.EXTENSIONS, ".xml")
_OF_CLASS = re.compile(r".+[_-]([A-Za-z]+)")


class SplitLists:
    """The lists of a dataset.

    Args:
        root: folder of the dataset.

    Attributes:
        files: split -> its list, or, if there are only lists of single classes, all lists of the split.
        notes: notes on lists that are not used.

    Raises:
        UserError: two lists would be the same split.
    """

    def __init__(self, root: Path) -> None:
        found = [path for folder in _folders(root) for path in _texts(folder) if folder != root or _split(path)]
        self.files = _first_folder(root, [(path, _split(path)) for path in found])
        if not self.files:
            self.files = _first_folder(root, [(path, _class_split(path)) for path in found], several=True)
        used = {path for paths in self.files.values() for path in paths}
        others = [path.relative_to(root).as_posix() for path in found if path not in used]
        self.notes = tuple(_notes(root, self.files, others))

    def entries(self, split: str) -> list[str]:
        """Returns the lines of a split's lists, without empty ones, those in several lists once.

        Raises:
            UserError: a list cannot be read.
        """
        paths = self.files[split]
        lines = [line for path in paths for line in _lines(path)]
        return lines if len(paths) == 1 else list(dict.fromkeys(_FLAG.sub("", line) for line in lines))


class Names:
    """Finder of the image that a line of a list means.

    Args:
        ids: ids of all images: paths without their endings.
    """

    def __init__(self, ids: Iterable[str]) -> None:
        self._ids = set(ids)
        self._by_key = defaultdict[str, list[str]](list)
        for each in self._ids:
            for key in {folded(each), folded(each.rpartition("/")[2])}:
                self._by_key[key].append(each)
        self._depth = depth(self._ids)

    def find(self, entry: str) -> list[str]:
        """Returns the ids that fit: one, none, or several that cannot be told apart; none of another split."""
        for name in _readings(entry):
            for candidate in (name, _without_ending(name)):
                if candidate in self._ids:
                    return [candidate]
            parts = folded(_without_ending(name)).split("/")
            for tail in tails(parts, self._depth):
                if fitting := [each for each in self._by_key.get(tail, ()) if not is_of_other_split(name, each)]:
                    return sorted(fitting)
        return []


def _readings(entry: str) -> Iterator[str]:
    """Yields what a line can mean, most likely first: a name can contain spaces and end like a flag."""
    yield _normalized(entry)
    if _FLAG.search(entry):
        yield _normalized(_FLAG.sub("", entry))
    if pair := _PAIR.fullmatch(entry):
        yield _normalized(pair[1] or pair[2])


def _normalized(name: str) -> str:
    return name.strip().strip("\"'").replace("\\", "/").removeprefix("./")


def _without_ending(name: str) -> str:
    return name.rpartition(".")[0] if name.lower().endswith(_ENDINGS) else name


def _folders(root: Path) -> list[Path]:
    """Returns the folders that can have lists, the usual ones first."""
    found = list[Path]()
    subfolders = files.subfolders(root)
    for name in subfolders:
        if name.lower() == "imagesets":
            inner = sorted(files.subfolders(root / name), key=lambda each: (each.lower() != "main", each))
            mains = [root / name / each for each in inner]
            deeper = [folder / each for folder in mains for each in files.subfolders(folder)]
            found += [*mains[:1], root / name, *mains[1:], *deeper]
    found += [root / name for name in subfolders if name.lower() in ("splits", "split", "lists", "sets")]
    return [*found, root]


def _texts(folder: Path) -> list[Path]:
    return [folder / name for name in files.find(folder, (".txt",), deep=False).paths]


def _split(path: Path) -> str:
    """Returns the split that a list is called after, or ""."""
    name = canonical_name(path.stem)
    return name if name in _SPLITS else ""


def _class_split(path: Path) -> str:
    """Returns the split that a list of a single class, such as `dog_train.txt`, is called after, or ""."""
    match = _OF_CLASS.fullmatch(path.stem)
    name = canonical_name(match[1]) if match else ""
    return name if name in _SPLITS else ""


def _first_folder(root: Path, named: Iterable[tuple[Path, str]], *, several: bool = False) -> dict[str, list[Path]]:
    """Returns the lists by split, of the first folder that has some."""
    chosen, folder = dict[str, list[Path]](), None
    for path, split in named:
        if not split or folder not in (None, path.parent):
            continue
        folder = path.parent
        others = chosen.setdefault(split, [])
        if others and not several:
            raise UserError(
                f"{root}: both {others[0].relative_to(root)} and {path.relative_to(root)} would be the {split} split; "
                "keep one"
            )
        others.append(path)
    return {split: chosen[split] for split in _SPLITS if split in chosen}


def _notes(root: Path, used: Mapping[str, list[Path]], others: list[str]) -> Iterator[str]:
    if any(len(paths) > 1 for paths in used.values()):
        names = [path.relative_to(root).as_posix() for paths in used.values() for path in paths]
        yield f"{root}: splits are the union of the lists of single classes: {listed(names)}"
    if others and used:
        yield f"{root}: ignored lists: {listed(others)}"
    elif others:
        yield f"{root}: ignored lists: {listed(others)}; lists of splits are called train.txt, val.txt, test.txt"


def _lines(path: Path) -> list[str]:
    try:
        content = text.read(path, "surrogateescape")  # names of files can have any bytes
    except (OSError, UnicodeError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from None
    return [line.strip() for line in re.split(r"[\r\n]+", content) if line.strip()]
