"""Pascal VOC: one XML file per image.

The official layout is `<dir>/Annotations/*.xml` and `<dir>/JPEGImages/*`, with splits as lists in
`<dir>/ImageSets/Main/<split>.txt`. Published datasets vary it; `voc_layout` says what is found as well, `split_lists`
where lists may be. Without lists, splits are folders: each with both (`train/`, `valid/`, `test/`), or those in which
annotations or images are sorted (`JPEGImages/train/`); otherwise splits are drawn by seed. A single folder that is
called like a split, beside others, may be that of a class or a place, and is not taken for a split.

An image belongs to the annotation of its name. If several images have the name, or none, `<filename>` decides.

Corners are counted from 1 and belong to the box (VOC2012 development kit, section 3.2): xmin = 1 and xmax = width span
the whole width. A box whose two corners coincide is an annotation mistake and has no area.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

from tfeff.data.dataset import Dataset
from tfeff.data.defects import Defects
from tfeff.data.images.decoding import Headers
from tfeff.data.images.header import Header
from tfeff.data.images.storage import ImageFiles
from tfeff.data.names import listed, shown
from tfeff.data.sources import voc_xml
from tfeff.data.sources.annotations import (
    CORNERS,
    PIXELS,
    RELATIVE,
    AnnotatedSplit,
    ObjectCollector,
    are_relative,
    scaled,
)
from tfeff.data.sources.source import Options, Source
from tfeff.data.sources.split_lists import Names, SplitLists
from tfeff.data.sources.voc_layout import Layout
from tfeff.data.sources.voc_matching import Match, matches
from tfeff.data.sources.voc_xml import Annotation
from tfeff.data.splits import ALL, FRACTIONS, canonical_name, checked_fractions


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
        self._headers = Headers()
        self._layout = Layout.of(Path(root))
        self._lists = None if self._layout.split_folders else SplitLists(self._layout.root)
        if self.drawn:
            checked_fractions(options.fractions)

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits of its lists or folders, or those of `fractions`."""
        if self._listed:
            return tuple(self._listed.files)
        return tuple(self._by_folder or self.options.fractions)

    @property
    def drawn(self) -> bool:
        """Whether it has neither lists nor folders of splits."""
        return not self._listed and not self._by_folder

    @property
    def disjoint(self) -> bool:
        """No, if splits are lists: `trainval` contains `train`."""
        return not self._listed

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """See `Source`."""
        notes = [*self._layout.notes, *(self._lists.notes if self._lists else ())]
        if self._relative:
            notes.append(f"{self.name}: corners are relative to width and height")
        used = {found.image for found in self._matches.values()}
        spare = sorted(set(self._layout.images.values()) - used)
        if spare:
            names = [path.relative_to(self._layout.root).as_posix() for path in spare]
            notes.append(f"{self.name}: {len(spare):,} images without an annotation are not used: {listed(names)}")
        if self._listed or self._by_folder:
            if self._listed:
                where = "are in no list"
                members = {name for split in self._listed.files for name, _ in self._entries(split)}
            else:
                where = "are in no folder of a split and not used"
                members = {name for names in self._by_folder.values() for name in names}
            left = [name for name in self._layout.annotations if name not in members]
            if left:
                notes.append(f"{self.name}: {len(left):,} annotated images {where}: {listed(left)}")
        elif self._folders[0]:
            text = f"the folder of {next(iter(self._folders[0]))} is not taken for a split, because images are also in"
            notes.append(f"{self.name}: {text} {listed(self._folders[1])}")
        return tuple(notes)

    @property
    def box_format(self) -> tuple[str, str]:
        """See `Source`."""
        return CORNERS, RELATIVE if self._relative else PIXELS

    def _load(self, split: str) -> Dataset:
        found = AnnotatedSplit(f"{self.name}/{split}", self.options)
        defects, annotations = found.defects, self._layout.annotations
        members = Counter(self._members(split, defects))
        for name, count in members.items():
            if count > 1:
                defects.add("image listed twice", f"{self.name}, {split}: {shown(name)}", count=count - 1)
            path, annotation, matched = annotations[name], self._parsed[name], self._matches[name]
            if isinstance(annotation, str):
                defects.add("unreadable annotation", f"{shown(str(path))}: {annotation}", lost="images")
                continue
            if matched.problem:
                defects.add(matched.problem, matched.where, lost="images")
                continue
            assert matched.image is not None
            if matched.remark:
                defects.add(matched.remark, matched.where)
            header = found.header(self._headers, matched.image)
            if header is None:
                continue
            found.add(name, header.size, _collected(annotation, path, header, self._labels, defects, self._relative))
        images = [image for name in found.ids if (image := self._matches[name].image)]
        return found.dataset(tuple(self._labels), ImageFiles(images))

    @property
    def _listed(self) -> SplitLists | None:
        """The lists of its splits, if it has any."""
        return self._lists if self._lists and self._lists.files else None

    def _members(self, split: str, defects: Defects) -> Sequence[str]:
        """Returns ids of the images of a split."""
        names = list(self._layout.annotations)
        if split == ALL:
            return names
        if self._listed:
            found = list[str]()
            for name, problem in self._entries(split):
                if problem:
                    where = ", ".join(map(str, self._listed.files[split][:1]))
                    defects.add(problem, f"{where}: {shown(name)}", lost="images")
                else:
                    found.append(name)
            return found
        if self.drawn:
            return self._drawn_names(names, split)
        return self._by_folder[split]

    def _entries(self, split: str) -> list[tuple[str, str]]:
        """Returns the lines of a list: id and "", or the line and what is wrong with it."""
        assert self._listed is not None
        rows = list[tuple[str, str]]()
        for line in self._listed.entries(split):
            fitting = self._names.find(line)
            if len(fitting) == 1:
                rows.append((fitting[0], ""))
            elif line.startswith("#") and not fitting:
                continue  # a comment
            elif fitting:
                rows.append((line, "listed name that fits several images"))
            else:
                known = self._image_names.find(line)
                rows.append((line, "listed image without an annotation" if known else "listed name without an image"))
        return rows

    @cached_property
    def _names(self) -> Names:
        return Names(self._layout.annotations)

    @cached_property
    def _image_names(self) -> Names:
        return Names(id_.rpartition(".")[0] for id_ in self._layout.images)

    @cached_property
    def _parsed(self) -> dict[str, Annotation | str]:
        """Id -> what its XML file says, or why it cannot be read; each file is read once."""
        problems = self._layout.problems
        return {
            name: problems[path] if path in problems else voc_xml.parse(path)
            for name, path in self._layout.annotations.items()
        }

    @cached_property
    def _matches(self) -> dict[str, Match]:
        """Id -> its image."""
        return matches(self._layout, self._parsed, self._headers)

    @property
    def _by_folder(self) -> dict[str, list[str]]:
        """Split -> ids of the images that are in its folder, or annotated in it."""
        splits, others = self._folders
        return {} if len(splits) == 1 and others else splits

    @cached_property
    def _folders(self) -> tuple[dict[str, list[str]], list[str]]:
        """Folders that are called like splits, each with its ids, and the other folders with annotated images."""
        annotations, images = self._layout.annotations, self._layout.images
        if not any("/" in name for name in annotations) and not any("/" in name for name in images):
            return {}, []
        places = {path: name for name, path in images.items()}
        found, others = dict[str, list[str]](), set[str]()
        for name in annotations:
            image = self._matches[name].image
            folders = [each.partition("/")[0] for each in (name, places[image] if image else "") if "/" in each]
            split = next((split for folder in folders if (split := canonical_name(folder)) in FRACTIONS), None)
            if split is not None:
                found.setdefault(split, []).append(name)
            elif image is not None:
                others.update(folders)
        return {split: found[split] for split in FRACTIONS if split in found}, sorted(others)

    @cached_property
    def _relative(self) -> bool:
        """Whether all corners are relative to width and height."""
        readable = (each for each in self._parsed.values() if not isinstance(each, str))
        return are_relative(item.box_yxyx for each in readable for item in each.objects)

    @cached_property
    def _labels(self) -> dict[str, int]:
        """The classes of all splits, so that labels mean the same in each: name -> number, in the order of names."""
        readable = (each for each in self._parsed.values() if not isinstance(each, str))
        found = {item.name for each in readable for item in each.objects} - {""}
        return {name: number for number, name in enumerate(sorted(found))}


def _collected(
    annotation: Annotation,
    path: Path,
    header: Header,
    labels: Mapping[str, int],
    defects: Defects,
    relative: bool,
) -> ObjectCollector:
    """Returns the objects of one file."""
    collector = ObjectCollector(
        str(path),
        header.size,
        defects,
        origin=1,
        orientation=header.orientation,
        written=annotation.image_size,
        relative=relative,
    )
    for number, each in enumerate(annotation.objects, 1):
        where = f"{path}, object {number}"
        if not each.name:
            defects.add("object without a name", where, lost="objects")
        elif each.box_yxyx is None:
            defects.add("object without a complete box", where, lost="objects")
        else:
            for remark in each.remarks:
                defects.add(remark, where)
            box, origin = each.box_yxyx, each.origin
            if relative:
                box, origin = scaled(box, header.annotated_size(annotation.image_size)), 0
            collector.add(number, box, labels[each.name], difficult=each.difficult, origin=origin)
    return collector
