"""What was found in the splits of a run, and what of it is lost to defects: said in one form by every verb."""

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfeff.data.augment.policy import MIN_SIDE
from tfeff.data.dataset import Dataset, Objects, fitted_scales
from tfeff.data.defects import Defects, Lost
from tfeff.data.names import as_number, counted, listed, shown, stands_for_missing
from tfeff.errors import UserError

EXAMPLE_LENGTH = 160
NAMED = 12
"""Classes that are named in one line."""


@dataclass(frozen=True)
class Contents:
    """What a split holds.

    Attributes:
        name: name of its dataset.
        images: images that can be used.
        objects: objects that can be used; None if images have a label each.
        ignored: number of difficult objects and crowds: neither trained on nor counted by metrics.
        classes: name -> number of its images, or of its objects that are not ignored.
        defects: what was wrong, including corrupt images that were skipped, objects beyond the task's limit, and those
            that are too small for the network.
        uncut: of tiles, the number of the images that they were cut from, and of the objects in these.
    """

    name: str
    images: int
    objects: int | None
    ignored: int
    classes: Mapping[str, int]
    defects: Defects
    uncut: tuple[int, int] | None = None

    @classmethod
    def of(
        cls,
        dataset: Dataset,
        max_objects: int | None = None,
        corrupt: Mapping[str, str] | None = None,
        *,
        size: tuple[int, int] | None = None,
        stretch: bool = False,
    ) -> "Contents":
        """Counts what a dataset holds.

        Args:
            dataset: a split, with or without its corrupt images.
            max_objects: maximum number of objects per image in training; None: all.
            corrupt: id -> reason, its images that could not be decoded and were skipped.
            size: (height, width) to which images are brought in training; None: objects of any size are used.
            stretch: whether images fill `size` instead of keeping their aspect ratio.
        """
        further, absent = Defects(), corrupt or {}
        lost = absent if dataset.grid is None else {name.rpartition(" [")[0]: why for name, why in absent.items()}
        for name, reason in lost.items():
            further.add("corrupt image", f"{name}: {reason}", lost="images")
        kept = [index for index, id_ in enumerate(dataset.ids) if id_ not in absent] if absent else range(len(dataset))
        labels = dataset.labels[list(kept)] if dataset.has_labels else np.zeros(0, np.int64)
        objects = [dataset.objects[index] for index in kept] if dataset.has_objects else []
        counts = np.array([len(each) for each in objects], np.int64)
        if size is not None and objects:
            thin = _invisible(objects, dataset.sizes[list(kept)], size, stretch)
            for index in np.flatnonzero(thin):
                further.add(
                    f"object below {MIN_SIDE:g} pixel at the network's {size[0]}x{size[1]} pixels",
                    f"{dataset.ids[kept[index]]}: {thin[index]} of {counts[index]} objects",
                    lost="objects",
                    count=int(thin[index]),
                )
            counts -= thin
        surplus = np.maximum(counts - max_objects, 0) if max_objects is not None else np.zeros_like(counts)
        for index in np.flatnonzero(surplus):
            further.add(
                f"object beyond task.max_objects={max_objects}, learned as background; set it to {counts.max()}",
                f"{dataset.ids[kept[index]]}: {counts[index]} objects",
                lost="objects",
                count=int(surplus[index]),
            )
        if dataset.has_objects:
            labels = np.concatenate([np.zeros(0, np.int64), *(each.labels[~each.ignored] for each in objects)])
        number = np.bincount(labels, minlength=dataset.num_classes).tolist()
        whole, uncut = dataset.uncut, None
        if dataset.grid is not None:
            found = [len(own) for own, name in zip(whole.objects, whole.ids, strict=True) if name not in lost]
            uncut = len(found), sum(found)
        return cls(
            name=dataset.name,
            images=len(kept),
            objects=int((counts - surplus).sum()) if dataset.has_objects else None,
            ignored=int(sum(each.ignored.sum() for each in objects)),
            classes=dict(zip(dataset.class_names, number, strict=True)),
            defects=dataset.defects.joined([further]),
            uncut=uncut,
        )

    def lost(self, what: Lost) -> float:
        """Returns the fraction of the objects or images that is lost."""
        lost = self.defects.lost(what)
        return lost / (lost + self.kept(what)) if lost else 0.0

    def kept(self, what: Lost) -> int:
        """Returns the number of objects or images that can be used; of tiles, those of the whole images."""
        counts = self.uncut or (self.images, self.objects)
        return counts[what != "images"] or 0

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields for JSON."""
        defects = self.defects
        return {
            "name": self.name,
            "images": self.images,
            "objects": self.objects,
            "ignored_objects": self.ignored,
            "classes": dict(self.classes),
            "lost_images": defects.lost("images"),
            "lost_objects": defects.lost("objects"),
            "defects": {
                kind: {"count": count, "lost": defects.costs.get(kind), "examples": defects.examples[kind]}
                for kind, count in sorted(defects.counts.items())
            },
        }


def _invisible(objects: Sequence[Objects], sizes: np.ndarray, size: tuple[int, int], stretch: bool) -> np.ndarray:
    """Returns how many objects of each image, int64 [n], are dropped as `box_geometry.fit` does without jitter."""
    scales = fitted_scales(sizes, size, stretch=stretch).astype(np.float32)
    found = np.zeros(len(objects), np.int64)
    for index, (each, scale) in enumerate(zip(objects, scales, strict=True)):
        sides = (each.boxes_yxyx[:, 2:] - each.boxes_yxyx[:, :2]) * scale
        found[index] = ((sides < MIN_SIDE).any(axis=1) & ~each.ignored).sum()
    return found


def text(found: Mapping[str, Contents]) -> str:
    """Returns what the splits of each role hold, one line each, and below it what is wrong in each."""
    width = max(map(len, found), default=0)
    summary = [f"{role:{width}}  {_summary(each)}" for role, each in found.items()]
    classes = _classes(next(iter(found.values()))) if found else []
    lines = [line for role, each in found.items() for line in (*_lacking(role, each, found), *_lines(role, each))]
    return "\n".join([*summary, *classes, *lines])


def _lacking(role: str, contents: Contents, found: Mapping[str, Contents]) -> list[str]:
    """Returns which of the classes in the first split another one lacks, unless it has classes of its own."""
    first = {name for name, count in next(iter(found.values())).classes.items() if count}
    here = {name for name, count in contents.classes.items() if count}
    lacking = [name for name in contents.classes if name in first - here]
    if not lacking or not here <= first:
        return []
    what = "images" if contents.objects is None else "objects"
    return [f"{role}: no {what} of {len(lacking):,} of the {len(first):,} classes: {listed(lacking)}"]


def _classes(contents: Contents) -> list[str]:
    """Returns the classes of the first split, the most frequent first, and what is odd about their names."""
    order = sorted(contents.classes, key=lambda name: -contents.classes[name])
    used = [name for name in order if contents.classes[name]]
    frequent = ", ".join(f"{shown(name)} {contents.classes[name]:,}" for name in used[:NAMED])
    rest = f" and {len(used) - NAMED:,} more" if len(used) > NAMED else ""
    lines = [f"{counted(len(order), 'classes')}: {frequent or 'none of them occurs'}{rest}"]
    unused = [name for name in order if not contents.classes[name]]
    if unused and used:
        lines.append(f"    without any example: {listed(unused, NAMED)}")
    alike = dict[str, list[str]]()
    for name in order:
        plain = unicodedata.normalize("NFKC", name).casefold().strip()
        alike.setdefault(as_number(plain) or plain, []).append(name)
    lines += [
        f"    {len(names)} classes have nearly the same name: {', '.join(map(ascii, names))}; rename them if they are "
        "one class"
        for names in alike.values()
        if len(names) > 1
    ]
    lines += [
        f"    the class {shown(name)} stands for a missing label: leave out its images, or rename it if it is a class"
        for name in used
        if stands_for_missing(name)
    ]
    return lines


_LOST: tuple[Lost, ...] = ("images", "objects")


def _summary(contents: Contents) -> str:
    objects = "" if contents.objects is None else f", {counted(contents.objects, 'objects')}"
    defects = contents.defects
    lost = " and ".join(counted(defects.lost(what), what) for what in _LOST if defects.lost(what))
    return f"{counted(contents.images, 'images')}{objects} from {contents.name}" + (f"; {lost} lost" if lost else "")


def _lines(role: str, contents: Contents) -> list[str]:
    defects, lines = contents.defects, list[str]()
    if contents.ignored:
        lines.append(f"{role}: {contents.ignored:,} objects are marked difficult or crowds; they are not used")
    for kind, count in sorted(defects.counts.items()):
        cost = defects.costs.get(kind)
        lines.append(f"{role}: {count:,} x {kind}" + (f" ({cost.removesuffix('s')} lost)" if cost else ""))
        lines += [f"    {example[:EXAMPLE_LENGTH]}" for example in defects.examples[kind]]
    return lines


def require_enough(found: Mapping[str, Contents], max_lost: float) -> None:
    """Refuses splits that have lost too much, and a training split without objects.

    Args:
        found: what the splits hold, by role.
        max_lost: the largest fraction of images or of objects that may be lost.

    Raises:
        UserError: there is one; the message lists the defects.
    """
    for role, each in found.items():
        for what in _LOST:
            share, lost = each.lost(what), each.defects.lost(what)
            if share > max_lost:
                total = lost + each.kept(what)
                raise UserError(
                    f"{each.name}: {lost:,} of {total:,} {what} are lost ({100 * share:.0f} %); data.max_lost "
                    f"allows {100 * max_lost:.0f} %. Correct what is listed below, or train without "
                    f"them: data.max_lost={np.ceil(share * 100) / 100:.2f}\n" + "\n".join(_lines(role, each))
                )
        if role == "train" and each.objects is not None and each.objects == each.ignored:
            listed = _lines(role, each)
            raise UserError(
                f"{each.name}: the {each.images} images to train on have no objects"
                + ("; this was found:\n" + "\n".join(listed) if listed else "")
            )
