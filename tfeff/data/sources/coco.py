"""COCO JSON, as published with COCO and as exported by Roboflow, Label Studio and CVAT; see `coco_layout`."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from tfeff.data.dataset import Dataset, Id
from tfeff.data.images.decoding import Headers
from tfeff.data.images.storage import ImageFiles
from tfeff.data.names import listed
from tfeff.data.sources import foreign
from tfeff.data.sources.annotations import PIXELS, SIDES, AnnotatedSplit, ObjectCollector, distinct
from tfeff.data.sources.coco_file import COCOFile, Key, Listed, Named, collect
from tfeff.data.sources.coco_layout import COCOLayout
from tfeff.data.sources.listing import Finder, joined
from tfeff.data.sources.source import Options, Source
from tfeff.data.splits import ALL, FRACTIONS, canonical_name, checked_fractions, find_split
from tfeff.errors import UserError


class COCO(Source):
    """A COCO dataset, in the order of its lists of images; classes are in the order of their ids.

    Ids of images are paths relative to the folder of the dataset: splits often number their images alike.
    Splits are named as in the files (`train2017`); `train` and `val` find them too. If there is only one annotation
    file, and it is not named like a split, splits are drawn by seed. Other splits may lack categories of the training
    split. An annotation with `ignore` set counts as difficult. Without `bbox`, the box is that of `segmentation`.

    Args:
        root: the folder, or an annotation file.
        options: `channels`, `fractions`, `seed` and `on_defect` apply.

    Raises:
        UserError: the folder is missing, has no annotation file, or one of a split that cannot be used.
    """

    def __init__(self, root: str | Path, options: Options) -> None:
        super().__init__(f"coco:{root}", options)
        self._layout, self._headers = COCOLayout(Path(root)), Headers()
        self._categories = dict[str, dict[Key, Named]]()
        self._read, self._found = dict[Path, COCOFile](), dict[str, tuple[str, Listed]]()
        problems = {} if self._layout.usual else {path: self._problem(path) for path in self._layout.files}
        files = [path for path in self._layout.files if not problems.get(path)]
        if not files:
            path, problem = next(iter(problems.items()))
            first = "" if foreign.hint(path) else f" ({problem})"  # the error has the hint
            raise self._layout.error(f"has no COCO annotation file among its JSON files{first}")
        self._files = self._layout.splits(files)
        self._unused = self._checked_unused(files, problems)
        self._whole = next(iter(self._files)) if len(self._files) == 1 else None
        if self.drawn:
            checked_fractions(options.fractions)

    @property
    def splits(self) -> tuple[str, ...]:
        """One per annotation file, or the splits of `fractions`."""
        return tuple(self.options.fractions if self.drawn else self._files)

    @property
    def drawn(self) -> bool:
        """Whether there is one annotation file, which is not named like a split."""
        return self._whole is not None and canonical_name(self._whole) not in FRACTIONS

    @property
    def notes(self) -> tuple[str, ...]:
        """Where annotations and images of each split were found."""
        root = self._layout.root
        parts = [
            f"{split}: {path.relative_to(root)}, images in {self._images[split][0] or '.'}"
            for split, path in self._files.items()
        ]
        unused = (f"{self.name}: JSON files that are not used: {listed(self._unused)}",) if self._unused else ()
        return (f"{self.name}: {'; '.join(parts)}", *unused)

    @property
    def disjoint(self) -> bool:
        """Whether splits share no image: only if they are drawn, because several files may list the same image."""
        return self.drawn

    def find(self, split: str) -> str | None:
        """See `Source`; the name of the only annotation file means all images."""
        return super().find(split) or (ALL if split == self._whole else None)

    def load(self, split: str) -> Dataset:
        """See `Source` and `find`."""
        return super().load(ALL if self.drawn and split == self._whole else split)

    @property
    def box_format(self) -> tuple[str, str]:
        """See `Source`."""
        return SIDES, PIXELS

    @cached_property
    def image_ids(self) -> Mapping[Path, Id]:
        """See `Source`; of images that several annotation files list, the id in the first one."""
        found = dict[Path, Id]()
        for split in self._files:
            file = self._file(split)
            folder, listed = self._listed(split, file)
            for name, keys in listed.files.items():
                found.setdefault((self._layout.root / folder / name).resolve(), file.images[keys[0]].id)
        return found

    def _load(self, split: str) -> Dataset:
        """Reads the annotation file of one split.

        Raises:
            UserError: an invalid annotation file, no images, `all` of splits with different classes, or (with
                `on_defect="stop"`) an invalid annotation.
        """
        if split == ALL and self._whole is None:
            return self._joined()
        part = self._whole if self._whole is not None else split
        path, file = self._files[part], self._file(part)
        folder, listed = self._listed(part, file)
        found = AnnotatedSplit(f"{self.name}/{split}", self.options)
        files = {joined(folder, name): keys for name, keys in listed.files.items()}
        names = list(files)
        if self.drawn and split != ALL:
            names = self._drawn_names(names, split)
        if split in (ALL, self.splits[0]) or not self.drawn:  # counted once
            for problem in (*file.problems, *listed.problems):
                found.defects.add(problem.kind, f"{path}{problem.where}", lost=problem.lost)
        own, train = self._own_categories(part), find_split("train", self.splits)
        categories = own if train is None or self.drawn else self._own_categories(train)
        if not own.items() <= categories.items():
            categories = own
        absent = [each.name for key, each in categories.items() if key not in own]
        if absent:
            count = f"{len(absent)} of the {len(categories)} categories of {train}"
            found.notes.append(f"{found.name}: {count} are not listed, first: {absent[0]}")
        labels, masks = {key: label for label, key in enumerate(categories)}, 0
        for name in names:
            header = found.header(self._headers, self._layout.root / name)
            if header is None:
                continue
            keys = files[name]
            written = next((file.sizes[key] for key in keys if key in file.sizes), None)
            scale = header.annotated_size(written) if file.relative else None
            collector = ObjectCollector(
                f"{path}, {name}",
                header.size,
                found.defects,
                orientation=header.orientation,
                written=written,
                relative=file.relative,
            )
            rows = [file.annotations[key] for key in keys]
            masks += collect(collector, rows, labels, str(path), found.defects, scale)
            found.add(name, header.size, collector)
        class_names = distinct([each.name for each in categories.values()], str(path), found.defects)
        found.notes += [f"{self.name if self.drawn else found.name}: {note}" for note in listed.notes]
        if len(own) < len(file.categories):
            groups = ", ".join(each.name for key, each in file.categories.items() if key not in own)
            found.notes.append(f"{found.name}: without the category {groups}, which only groups others")
        found.notes += [f"{path}: {note}" for note in file.notes]
        if file.relative:
            found.notes.append(f"{path}: boxes are relative to width and height")
        if masks:
            found.notes.append(f"{found.name}: {masks} boxes without bbox are those of their polygons or masks")
        if not self.drawn:
            del self._read[path]  # annotations take much more memory than boxes
        return found.dataset(
            class_names, self._image_files(found.ids), class_ids=[each.id for each in categories.values()]
        )

    def _joined(self) -> Dataset:
        """Returns all images of several splits, each once.

        Raises:
            UserError: as for `_load`.
        """
        parts = [self.load(split) for split in self._files]
        if other := next((part for part in parts if part.class_names != parts[0].class_names), None):
            raise UserError(
                f"{parts[0].name} and {other.name} have different classes, so all splits cannot be joined; choose one "
                f"of {', '.join(self._files)}"
            )
        places = dict[str, tuple[Dataset, int]]()
        for part in parts:
            for index, name in enumerate(part.ids):
                places.setdefault(name, (part, index))
        notes = dict.fromkeys(note for part in parts for note in part.notes if note not in self.notes)
        if repeated := sum(map(len, parts)) - len(places):
            text = "images are in several annotation files; the objects in the first of these are used"
            notes[f"{self.name}/{ALL}: {repeated:,} {text}"] = None
        return Dataset(
            name=f"{self.name}/{ALL}",
            class_names=parts[0].class_names,
            ids=list(places),
            images=self._image_files(places),
            channels=self.options.channels,
            objects=[part.objects[index] for part, index in places.values()],
            sizes=np.array([part.sizes[index] for part, index in places.values()], np.int32),
            defects=parts[0].defects.joined(part.defects for part in parts[1:]),
            raw_annotations=[part.raw_annotations[index] for part, index in places.values() if part.raw_annotations],
            notes=tuple(notes),
            class_ids=parts[0].class_ids,
        )

    def _image_files(self, ids: Iterable[str]) -> ImageFiles:
        return ImageFiles([self._layout.root / name for name in ids])

    @cached_property
    def _parents(self) -> frozenset[Key]:
        """Categories that only group others, in all files."""
        return frozenset.intersection(*(self._file(split).parents for split in self._files))

    def _checked_unused(self, files: Sequence[Path], problems: Mapping[Path, str]) -> list[str]:
        """Returns the JSON files that are not used, with the reasons that are known.

        Raises:
            UserError: a split would be lost with one of them.
        """
        unused = self._layout.unused(files)
        for path, split in unused.items():
            if split:
                problem = problems.get(path) or self._problem(path)
                problem = problem or f"{path}: it is not named like the others, such as {files[0].name}"
                raise UserError(f"{problem}; it would be the {split} split: correct it, or move it to another folder")
        reasons = {path: problems.get(path, "").removeprefix(f"{path}: ") for path in unused}
        names = {path: path.relative_to(self._layout.root).as_posix() for path in unused}
        return [f"{names[path]} ({reason})" if reason else names[path] for path, reason in reasons.items()]

    def _problem(self, path: Path) -> str:
        """Returns why a JSON file of unknown content has no annotations; "" if it has some."""
        try:
            self._read[path] = COCOFile.read(path)
        except UserError as error:
            return str(error)
        return ""

    def _file(self, split: str) -> COCOFile:
        """Returns an annotation file; read once, until its split is loaded."""
        path = self._files[split]
        if path not in self._read:
            self._read[path] = COCOFile.read(path)
        return self._read[path]

    def _listed(self, split: str, file: COCOFile) -> tuple[str, Listed]:
        """Returns the folder of the images of an annotation file, in the dataset, and which files there are meant."""
        if split not in self._found:
            below, files = self._images[split]
            exclusive = [folder for folder, _ in self._images.values()].count(below) == 1
            listed = Listed.of(file, Finder(files), self._unusable(below), exclusive=exclusive)
            self._found[split] = below, listed
        return self._found[split]

    def _unusable(self, below: str) -> dict[str, str]:
        """Returns what is wrong with images in a folder that cannot be used."""
        inside = f"{below}/" if below else ""
        unusable = self._layout.tree.unusable.items()
        return {path.removeprefix(inside): problem for path, problem in unusable if path.startswith(inside)}

    def _own_categories(self, split: str) -> dict[Key, Named]:
        """Returns the categories in the file of a split, without those that only group others."""
        if split not in self._categories:
            file = self._file(split)
            self._categories[split] = {
                key: each for key, each in file.categories.items() if not file.parents or key not in self._parents
            }
        return self._categories[split]

    @cached_property
    def _images(self) -> dict[str, tuple[str, list[str]]]:
        """Split -> the folder where its images are, and all images there."""
        return {split: self._layout.images(split, path) for split, path in self._files.items()}
