"""YOLO text: one file per image with lines `class cx cy w h`, relative to the image's width and height.

A line with more numbers is a polygon, `class x1 y1 x2 y2 ...` (also the four corners of a rotated box), and becomes its
bounding box; one more number at the end is a confidence, which is ignored. If the YAML file has a `kpt_shape`, further
numbers are keypoints, which are not used; without it, `yolo_keypoints` finds them, and the tracks of trackers.
`yolo_layout` says which layouts are read, `yolo_names` where class names come from; without these, classes are called
by their numbers. The files state no sizes; boxes belong to the upright image (EXIF orientation applied), which labeling
tools show.
"""

from collections import Counter
from functools import cached_property
from pathlib import Path

from tfeff.data.dataset import Dataset, evenly_spaced
from tfeff.data.defects import Defects
from tfeff.data.images.decoding import Headers
from tfeff.data.images.header import Header
from tfeff.data.images.storage import ImageFiles
from tfeff.data.names import shown
from tfeff.data.sources import yolo_keypoints
from tfeff.data.sources.annotations import CENTERS, RELATIVE, AnnotatedSplit, ObjectCollector, distinct, scaled
from tfeff.data.sources.listing import IMAGES
from tfeff.data.sources.source import Options, Source
from tfeff.data.sources.yolo_labels import CONFIDENCE, KEYPOINTS, POLYGON, TRACK, LabelFile, Labels
from tfeff.data.sources.yolo_layout import Part, find_layout, joined_missing
from tfeff.data.sources.yolo_names import names_in_lists
from tfeff.data.splits import ALL, canonical_name, checked_fractions

_SAMPLED = 200
"""Label files that are read to see whether boxes have keypoints or tracks."""


class YOLO(Source):
    """A YOLO dataset, in the order of the images' names. An image without a label file has no objects.

    Args:
        root: the folder, or its YAML or `.data` file.
        options: `channels`, `fractions`, `seed` and `on_defect` apply.

    Raises:
        UserError: the folder is missing, has no known layout, or its class names cannot be read.
    """

    def __init__(self, root: str | Path, options: Options) -> None:
        super().__init__(f"yolo:{root}", options)
        self._layout, self._headers = find_layout(Path(root)), Headers()
        self._labels = Labels(self._layout.root, self._layout.tree)
        self._read = dict[Path, LabelFile]()
        if not any(self._label_files.values()):
            raise self._layout.error(f"has {self._layout.count:,} images but no label file (.txt) for any of them")
        if self.drawn:
            checked_fractions(options.fractions)

    @property
    def splits(self) -> tuple[str, ...]:
        """The dataset's own splits, or those of `fractions`."""
        return tuple(self.options.fractions if self.drawn else self._layout.parts)

    @property
    def drawn(self) -> bool:
        """Whether it has no splits of its own."""
        return "" in self._layout.parts

    @property
    def notes(self) -> tuple[str, ...]:
        """Where each split was found, and what is strange about that."""
        parts = ", ".join(f"{split or 'all images'} in {part.origin}" for split, part in self._layout.parts.items())
        where = self._class_names[0]
        named = "no class names, numbers instead" if where == str(self._layout.root) else f"class names in {where}"
        notes, apart = [f"{self.name}: {parts}; {named}", *self._layout.notes], self._unused[1]
        if not self._layout.declared.keypoints and (count := self._guessed_keypoints):
            text = f"{count} numbers after each box look like keypoints, though no YAML file has a kpt_shape"
            notes.append(f"{self.name}: {text}; they are read as that, not as polygons")
        if self._tracked:
            text = "lines end with a number that looks like that of a track, after a box or polygon"
            notes.append(f"{self.name}: {text}; it is read as that, not as a coordinate or a confidence")
        if apart:
            text = f"{len(apart):,} label files of images that belong to no split are not used, first: {apart[0]}"
            notes.append(f"{self.name}: {text}")
        return tuple(notes)

    @cached_property
    def disjoint(self) -> bool:
        """Whether no image is in two splits, as lists of images allow."""
        images = [path for part in self._layout.parts.values() for path in part.images]
        return len(images) == len(set(images))

    @property
    def box_format(self) -> tuple[str, str]:
        """See `Source`."""
        return CENTERS, RELATIVE

    def _load(self, split: str) -> Dataset:
        """Reads the labels of one split.

        Raises:
            UserError: the class names cannot be read, no images, or (with `on_defect="stop"`) an invalid annotation.
        """
        found, (where, class_names) = AnnotatedSplit(f"{self.name}/{split}", self.options), self._class_names
        class_names = distinct(class_names, where, found.defects)
        part, kinds = self._part(split), Counter[str]()
        for name, problem in part.missing.items():
            found.defects.add(problem, f"{part.origin}: {name}", lost="images")
        used, files, unlabeled, beside = Counter[Path](), list[Path](), list[Path](), list[Path]()
        for path in part.images:
            labels = self._label_files[path]
            header = found.header(self._headers, path)
            if header is None:
                continue
            size = header.size
            lines = LabelFile() if labels is None else self._lines(labels, found.defects)
            found.add(self._id(path), size, _collected(lines, str(labels), header, len(class_names), found.defects))
            files.append(path)
            kinds.update(lines.kinds)
            if labels is None:
                unlabeled.append(path)
            else:
                used[labels] += 1
                if labels.parent == path.parent:
                    beside.append(labels)
        for labels, count in used.items():
            if count > 1:
                found.defects.add("label file of several images", str(labels))
        self._count_unused(split, found.defects)
        for count, what in (
            (kinds[POLYGON], "lines are polygons or rotated boxes; their bounding boxes are used"),
            (kinds[KEYPOINTS], "lines have keypoints, which are not used"),
            (kinds[CONFIDENCE], "lines end with a confidence, which is ignored"),
            (kinds[TRACK], "lines end with the number of a track, which is ignored"),
            (
                len(beside) if len(beside) < len(used) else 0,
                f"label files are beside their images, not in a folder for labels, first: {[*beside, ''][0]}",
            ),
            (
                len(unlabeled),
                f"of {len(files)} images have no label file and so no objects, first: {[*unlabeled, ''][0]}",
            ),
        ):
            if count:
                found.notes.append(f"{found.name}: {count:,} {what}")
        return found.dataset(class_names, ImageFiles(files))

    def _part(self, split: str) -> Part:
        parts = self._layout.parts
        if split in parts:
            return parts[split]
        paths = {self._id(path): path for part in parts.values() for path in part.images}
        names = list(paths)
        if split != ALL:
            names = self._drawn_names(names, split)
        missing = joined_missing(parts.values()) if split in (ALL, self.splits[0]) else {}
        return Part(", ".join(part.origin for part in parts.values()), [paths[name] for name in names], missing)

    def _id(self, path: Path) -> str:
        """Returns the path of an image in the folder for images, or in the dataset."""
        return str(path).removeprefix(_prefix(self._base))

    @cached_property
    def _base(self) -> Path:
        """The folder to which ids of images are relative."""
        images = (str(path) for part in self._layout.parts.values() for path in part.images)
        start = _prefix(self._layout.root)
        names = {path[len(start) :].partition("/")[0] for path in images if path.startswith(start)}
        inner = {self._layout.root / name for name in names}
        return inner.pop() if len(inner) == 1 and next(iter(inner)).name.lower() in IMAGES else self._layout.root

    def _file(self, path: Path) -> LabelFile:
        keypoints = self._layout.declared.keypoints or self._guessed_keypoints
        return LabelFile.read(path, keypoints, tracked=self._tracked)

    @cached_property
    def _guessed_keypoints(self) -> int:
        """How many numbers of keypoints follow each box, as the sample shows it; 0: none."""
        return 0 if self._tracked else yolo_keypoints.guessed(self._sample)

    @cached_property
    def _tracked(self) -> bool:
        """Whether lines end with the number of a track, as the sample shows it."""
        return not self._layout.declared.keypoints and yolo_keypoints.tracked(self._sample)

    @cached_property
    def _sample(self) -> list[list[float]]:
        """The values of the lines of some evenly spaced label files."""
        files = [path for path in dict.fromkeys(self._label_files.values()) if path is not None]
        chosen = (files[place] for place in evenly_spaced(len(files), _SAMPLED))
        return [values for path in chosen for values in yolo_keypoints.values(path)]

    def _lines(self, path: Path, defects: Defects) -> LabelFile:
        """Returns the lines of a label file; its defects are counted."""
        lines = self._read.get(path) or self._file(path)
        if lines.error:
            defects.add("unreadable label file", f"{path}: {lines.error}")
        for number, text in lines.invalid:
            defects.add("invalid line", f"{path}, line {number}: {text[:60]!r}", lost="objects")
        return lines

    def _count_unused(self, split: str, defects: Defects) -> None:
        """Counts images that cannot be used, and the lines of label files that fit no image, in one split."""
        folders = {path.parent for part in self._layout.parts.values() for path in part.images}
        for name, problem in self._layout.tree.unusable.items():
            path = self._layout.root / name
            if path.parent in folders and split in (ALL, self._split_of(path)):
                defects.add(problem, shown(str(path)), lost="images")
        for path in self._unused[0]:
            if split in (ALL, self._split_of(path)):
                count = len(self._file(path).rows)
                if count:
                    defects.add("label without an image of its name", str(path), lost="objects", count=count)

    def _split_of(self, path: Path) -> str:
        """Returns the split that a file is called by which belongs to none; else the first one."""
        named = [canonical_name(part) for part in path.parts if canonical_name(part) in self.splits]
        return named[-1] if named and not self.drawn else self.splits[0]

    @cached_property
    def _unused(self) -> tuple[list[Path], list[Path]]:
        """Label files that belong to no image, and those of images that belong to no split."""
        used = set(self._label_files.values())
        rest = [path for path in self._labels.all() if path not in used]
        images = (self._layout.root / name for name in self._layout.tree.images()) if rest else ()
        apart = set(self._labels.of([path for path in images if path not in self._label_files]))
        return [path for path in rest if path not in apart], [path for path in rest if path in apart]

    @cached_property
    def _label_files(self) -> dict[Path, Path | None]:
        """Image -> its label file, of all splits."""
        images = [path for part in self._layout.parts.values() for path in part.images]
        return dict(zip(images, self._labels.of(images), strict=True))

    @cached_property
    def _class_names(self) -> tuple[str, tuple[str, ...]]:
        """Where the class names are, and they; without any, as many numbers as all splits together have classes."""
        declared = self._layout.declared
        if declared.names is not None:
            return str(declared.file), declared.names
        listed = names_in_lists(self._layout.root, self._layout.tree)
        if listed is not None:
            return str(listed[0]), listed[1]
        last = 0
        for path in dict.fromkeys(self._label_files.values()):
            if path is not None:
                self._read[path] = self._file(path)
                last = max(last, *(label for _, label, _ in self._read[path].rows), 0)
        return str(self._layout.root), tuple(map(str, range(1 + last)))


def _prefix(folder: Path) -> str:
    """Returns what the paths of files in a folder start with; "" for the current folder."""
    return str(folder / "_")[:-1]


def _collected(lines: LabelFile, where: str, header: Header, classes: int, defects: Defects) -> ObjectCollector:
    """Returns the objects of one file."""
    size = header.size
    collector = ObjectCollector(where, size, defects, orientation=header.orientation, relative=True)
    for number, label, (cx, cy, w, h) in lines.rows:
        box = scaled((cy - h / 2, cx - w / 2, cy + h / 2, cx + w / 2), size)
        if 0 <= label < classes:
            collector.add(number, box, label)
        else:
            defects.add("class without a name", f"{where}, line {number}: {label} of {classes}", lost="objects")
            collector.add_unnamed(box, label)
    return collector
