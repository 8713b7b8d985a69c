"""A source: a dataset with named splits, opened once per run."""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tfeff.boxes.tiling import Grid
from tfeff.data.dataset import Dataset, Id, NoImagesError
from tfeff.data.defects import Defects, OnDefect
from tfeff.data.names import groups
from tfeff.data.splits import ALL, FRACTIONS, drawn_note, find_split, require_split, stratified_split
from tfeff.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a source is read. A source ignores the options that do not apply to it.

    Attributes:
        channels: 3 for RGB, 1 for gray.
        fractions: sizes of the splits that are drawn from a source without splits of its own.
        seed: seed of that draw, and of the boxes that `crops:` draws.
        groups: regular expression; images whose ids it matches with equal groups stay in one split. None: each image is
            on its own.
        used_splits: names of splits that are used besides `FRACTIONS`; images in others are lost.
        further_classes: whether the other splits may have classes that the training split lacks.
        on_defect: what to do with defects of its files.
        data_dir: where TensorFlow Datasets keeps its prepared data; None for its default.
        download: whether TensorFlow Datasets may download and prepare missing data.
        keep_raw_annotations: keep the objects as they are written, see `Dataset.raw_annotations`.
        crop_context: what `crops:` shows around a box on each side, relative to the length of that side.
        grid: how images with objects are cut into tiles; None: they are not.
        crop_proposals: for `crops:`, proposals of each image, boxes_yxyx float32 [n, 4], or None if it cannot be read.
            None: random boxes.
    """

    channels: int = 3
    fractions: Mapping[str, float] = field(default_factory=lambda: FRACTIONS)
    seed: int = 0
    groups: str | None = None
    used_splits: tuple[str, ...] = ()
    further_classes: bool = False
    on_defect: OnDefect = "report"
    data_dir: str | Path | None = None
    download: bool = False
    keep_raw_annotations: bool = False
    crop_context: float = 0.0
    grid: Grid | None = None
    crop_proposals: Callable[[Dataset], Sequence[np.ndarray | None]] | None = None


FURTHER_CLASSES = (
    "only task.name=embedding, and tfeff.pack with --further_classes, allow classes without training images"
)


class UngroupedError(UserError):
    """No image matches `data.groups` where images are drawn by their groups."""

    def __init__(self, name: str, pattern: str, ids: Sequence[str]) -> None:
        super().__init__(
            f"config: data.groups: {pattern!r} matches none of the {len(ids):,} images of {name}, such as {ids[0]}; "
            "write a regular expression that matches a part of them"
        )


class Source(ABC):
    """A dataset with named splits. Files that several splits share are read once.

    Args:
        name: how messages refer to it, such as `voc:/data/pets`.
        options: how it is read.
    """

    def __init__(self, name: str, options: Options) -> None:
        self.name, self.options = name, options
        self._loaded: dict[str, Dataset] = {}

    @property
    @abstractmethod
    def splits(self) -> tuple[str, ...]:
        """Names of the splits, without `all`."""

    @property
    def drawn(self) -> bool:
        """Whether the splits are drawn by seed, because the source has none of its own."""
        return False

    @property
    def seeded(self) -> bool:
        """Whether the images of a split depend on the seed."""
        return self.drawn

    @property
    def disjoint(self) -> bool:
        """Whether no image can belong to two splits."""
        return True

    @property
    def lists_cheaply(self) -> bool:
        """Whether loading a split opens no more than annotations and the headers of images.

        If so, all splits can be checked before any image is decoded.
        """
        return True

    @property
    def notes(self) -> tuple[str, ...]:
        """What users should know about how its files were read, one line each; part of the notes of every split."""
        return ()

    @property
    def box_format(self) -> tuple[str, str] | None:
        """Order and unit of the four numbers of a box in its files, which are constants of `annotations`.

        None if that is unknown, or if there are no boxes.
        """
        return None

    @property
    def image_ids(self) -> Mapping[Path, Id]:
        """Image file, resolved -> its id in the dataset's own files; empty if these have none."""
        return {}

    def find(self, split: str) -> str | None:
        """Returns the name under which the source knows a split (`val` finds `validation`), or None.

        `all` is not a split.
        """
        return find_split(split, self.splits)

    def load(self, split: str) -> Dataset:
        """Returns the images of one split; the same object each time.

        Args:
            split: one of `splits` or an alias such as `val`, or `all` for every image.

        Raises:
            UserError: no such split, no images, or (with `on_defect="stop"`) an invalid annotation.
        """
        known = require_split(self.name, split, (*self.splits, ALL))
        if known not in self._loaded:
            dataset = self._load(known)
            self._loaded[known] = self._described(dataset, known)
        return self._loaded[known]

    def _described(self, dataset: Dataset, split: str) -> Dataset:
        """Returns the images of a split with their groups, and with what the source says of them."""
        drawn = (drawn_note(self.name, self.options.fractions, self.options.seed),) if self.drawn else ()
        dataset, grouped = self._grouped(dataset)
        notes = (*(() if split == ALL else drawn), *grouped, *self.notes)
        return dataclasses.replace(dataset, notes=(*notes, *dataset.notes)) if notes else dataset

    def _draw(self, ids: Sequence[str], split: str, labels: np.ndarray | None = None) -> np.ndarray:
        """Returns the images of a drawn split: int64 [m], places in `ids`, those of all images.

        Classes keep their shares.
        """
        together = None
        if self.options.groups is not None:
            together, matched = groups(ids, self.options.groups)
            if not matched:
                raise UngroupedError(self.name, self.options.groups, ids)
        classes = np.zeros(len(ids), np.int64) if labels is None else labels
        drawn = stratified_split(classes, split, self.options.fractions, self.options.seed, together)
        if not len(drawn) and len(ids):
            counts = np.unique(classes, return_counts=True)[1]
            each = "one image" if counts.max() == 1 else f"at most {counts.max()} images"
            reason = f"its {len(ids):,} images are too few to be drawn into splits"
            if together is not None:
                found = len(np.unique(together))
                reason = (
                    f"its {len(ids):,} images belong to {found:,} group{'s' * (found > 1)} (data.groups), too few for "
                    f"the {len(self.options.fractions)} splits that are drawn"
                )
            elif len(counts) > 1:
                reason = (
                    f"each of its {len(counts):,} classes has {each}, too few to be drawn into splits; "
                    "are the labels classes, and not numbers to predict?"
                )
            raise NoImagesError(f"{self.name}/{split}", reason=reason)
        return drawn

    def _drawn_names(self, ids: Sequence[str], split: str) -> list[str]:
        """Returns the ids of a split that is drawn from all images."""
        return [ids[place] for place in self._draw(ids, split)]

    def _grouped(self, dataset: Dataset) -> tuple[Dataset, tuple[str, ...]]:
        """Returns the images with their groups, and what to say about these; without groups if no image matches.

        Whoever draws from the images refuses that: other splits may have other names.
        """
        if self.options.groups is None:
            return dataset, ()
        found, matched = groups(dataset.ids, self.options.groups)
        if not matched:
            note = f"{dataset.name}: data.groups: {self.options.groups!r} matches none of its {len(found):,} images"
            return dataset, (f"{note}, which have no groups",)
        alone = f"; {len(found) - matched:,} images do not match and are on their own" if matched < len(found) else ""
        note = f"{dataset.name}: data.groups: {len(found):,} images in {int(found.max()) + 1:,} groups{alone}"
        return dataclasses.replace(dataset, groups=found), (note,)

    def annotated(self, split: str) -> Dataset:
        """Returns the images of one split as they are annotated, before anything is cut from them; see `load`."""
        return self.load(split)

    def overlap(self, one: str, other: str) -> bool:
        """Returns whether two splits share images."""
        return self.find(one) == self.find(other) or bool(self.shared(one, other))

    def shared(self, one: str, other: str) -> list[str]:
        """Returns the ids of the images that two splits share: files with the same name and content."""
        if self.find(one) == self.find(other):
            return list(self.annotated(one).ids)
        if self.disjoint:
            return []
        first, second = self.load(one), self.load(other)
        places = {name: index for index, name in enumerate(first.ids)}
        return [
            name
            for index, name in enumerate(second.ids)
            if name in places and first.images.same_content(places[name], second.images, index)
        ]

    def leave_out(self, split: str, ids: Sequence[str], kind: str) -> None:
        """Makes `load` return a split without some of its images, which are lost to a defect.

        Args:
            split: a split.
            ids: ids of the images to leave out, not all of the split.
            kind: the kind of defect.

        Raises:
            UserError: with `on_defect="stop"`.
        """
        dataset, further = self.load(split), Defects(self.options.on_defect)
        for name in ids:
            further.add(kind, f"{dataset.name}: {name}", lost="images")
        kept = np.flatnonzero(~np.isin(dataset.ids, list(ids)))
        known = require_split(self.name, split, (*self.splits, ALL))
        self._loaded[known] = dataclasses.replace(dataset.take(kept), defects=dataset.defects.joined([further]))

    @abstractmethod
    def _load(self, split: str) -> Dataset:
        """Returns the images of a split, one of `splits` or `all`."""
