"""From a data set's name to a `Source`, or with boxes to an `AnnotatedSource`; the one place that knows the schemes."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from tfeff.data.annotations import AnnotatedSource, OnDefect
from tfeff.data.splits import FRACTIONS, canonical_name
from tfeff.errors import UserError, nearest

if TYPE_CHECKING:  # TensorFlow, which data with boxes does without
    from tfeff.data.dataset import Source

SCHEMES = ("embedded", "folder", "tfds", "crops")
ANNOTATED_SCHEMES = ("voc", "yolo", "coco", "embedded", "tfds")


def load(
    name: str,
    split: str,
    *,
    channels: int = 3,
    fractions: Mapping[str, float] | None = None,
    seed: int = 0,
    data_dir: str | Path | None = None,
    download: bool = False,
    crop_context: float = 0.0,
) -> "Source":
    """The images of one split.

    Args:
        name: `embedded:digits`, `embedded:cluttered_digits`, `folder:<dir>`, `tfds:<name>`, or `crops:<name>` of a
            data set with boxes.
        split: One of `splits(name)`; `val` is accepted for `validation`.
        channels: 3 for RGB, 1 for gray.
        fractions: Splits of a folder that has none of its own, and their shares; default train 0.8, validation 0.1,
            test 0.1.
        seed: Seed of that division.
        data_dir: Where TensorFlow Datasets keeps its prepared data; default as there.
        download: Whether TensorFlow Datasets may download and prepare data that is not there.
        crop_context: What `crops:` shows around a box on each side, a share of that side.

    Raises:
        UserError: an unknown name or split, a missing folder, an empty class, data that is not prepared.
    """
    scheme, rest = _parse(name)
    known = splits(name, fractions=fractions, data_dir=data_dir, download=download)
    canonical = canonical_name(split)
    if canonical not in known:
        raise UserError(f'{name}: no split "{split}"; {nearest(canonical, known)}')
    if scheme == "embedded":
        from tfeff.data.sources import embedded

        return embedded.load(rest, canonical, channels)
    if scheme == "folder":
        from tfeff.data.sources import folder

        return folder.load(Path(rest), canonical, channels=channels, fractions=fractions, seed=seed)
    if scheme == "crops":
        from tfeff.data.sources import crops

        of = load_annotated(
            rest, canonical, fractions=fractions or FRACTIONS, seed=seed, data_dir=data_dir, download=download
        )
        return crops.load(of, channels=channels, context=crop_context, seed=seed)
    from tfeff.data.sources import tfds

    return tfds.load(rest, canonical, channels=channels, data_dir=data_dir, download=download)


def splits(
    name: str,
    *,
    fractions: Mapping[str, float] | None = None,
    data_dir: str | Path | None = None,
    download: bool = False,
) -> tuple[str, ...]:
    """The names of a data set's splits.

    Raises:
        UserError: an unknown name, a missing folder, data that is not prepared.
    """
    scheme, rest = _parse(name)
    if scheme == "embedded":
        from tfeff.data.sources import embedded

        return embedded.SPLITS
    if scheme == "folder":
        from tfeff.data.sources import folder

        return folder.splits(Path(rest), fractions=fractions)
    if scheme == "crops":
        return annotated_splits(rest, fractions=fractions or FRACTIONS, data_dir=data_dir, download=download)
    from tfeff.data.sources import tfds

    return tfds.splits(rest, data_dir=data_dir, download=download)


def load_annotated(
    name: str,
    split: str,
    *,
    fractions: Mapping[str, float] = FRACTIONS,
    seed: int = 0,
    on_defect: OnDefect = "fix",
    data_dir: str | Path | None = None,
    download: bool = False,
) -> AnnotatedSource:
    """The images of one split, with the boxes of their objects.

    Args:
        name: `voc:<dir>`, `yolo:<dir>`, `coco:<dir>`, `tfds:<name>`, `embedded:placed_digits` or
            `embedded:single_digits`; the latter two also with the side of their canvas, `embedded:placed_digits:96`.
        split: one of the data set's own, or of `fractions` where it has none; `all` (not of `coco`) is everything.
        fractions: splits of a data set that has none of its own, and their shares.
        seed: of that division.
        on_defect: what to do with annotations that cannot be.
        data_dir: Where TensorFlow Datasets keeps its prepared data; default as there.
        download: Whether TensorFlow Datasets may download and prepare data that is not there.

    Raises:
        UserError: an unknown name or split, a missing folder, no image, or (as `on_defect` says) a defect.
    """
    scheme, rest = _parse_annotated(name)
    root, canonical = Path(rest), canonical_name(split)
    if scheme == "embedded":
        from tfeff.data.sources import placed_digits

        drawing, canvas = _drawing(rest)
        return placed_digits.load(drawing, canonical, canvas=canvas)
    if scheme == "tfds":
        from tfeff.data.sources import annotated_tfds

        return annotated_tfds.load(rest, canonical, on_defect=on_defect, data_dir=data_dir, download=download)
    if scheme == "coco":
        from tfeff.data.sources import coco

        return coco.load(root, split, on_defect=on_defect)
    if scheme == "voc":
        from tfeff.data.sources import voc

        return voc.load(root, canonical, fractions=fractions, seed=seed, on_defect=on_defect)
    from tfeff.data.sources import yolo

    return yolo.load(root, canonical, fractions=fractions, seed=seed, on_defect=on_defect)


def load_single_objects(
    name: str,
    split: str,
    *,
    channels: int = 3,
    seed: int = 0,
    data_dir: str | Path | None = None,
    download: bool = False,
) -> "Source":
    """The images of one split of a data set with boxes, each with one object; see `single_objects.load`.

    Args:
        name: as `load_annotated` takes it.
        split: one of `annotated_splits(name)`.
        channels: 3 for RGB, 1 for gray.
        seed: of the division of a data set that has no splits of its own.
        data_dir: Where TensorFlow Datasets keeps its prepared data; default as there.
        download: Whether TensorFlow Datasets may download and prepare data that is not there.

    Raises:
        UserError: as `load_annotated`, or no image has an object.
    """
    from tfeff.data.sources import single_objects

    known = annotated_splits(name, data_dir=data_dir, download=download)
    if canonical_name(split) not in known:
        raise UserError(f'{name}: no split "{split}"; {nearest(split, known)}')
    images = load_annotated(name, split, seed=seed, data_dir=data_dir, download=download)
    return single_objects.load(images, channels=channels)


def annotated_splits(
    name: str,
    *,
    fractions: Mapping[str, float] = FRACTIONS,
    data_dir: str | Path | None = None,
    download: bool = False,
) -> tuple[str, ...]:
    """The names of the splits of a data set with boxes.

    Raises:
        UserError: an unknown name, a missing folder, data that is not prepared.
    """
    scheme, rest = _parse_annotated(name)
    if scheme == "embedded":
        from tfeff.data.sources import placed_digits

        _drawing(rest)
        return placed_digits.SPLITS
    if scheme == "tfds":
        from tfeff.data.sources import tfds

        return tfds.splits(rest, data_dir=data_dir, download=download)
    if scheme == "coco":
        from tfeff.data.sources import coco

        return coco.splits(Path(rest))
    if scheme == "voc":
        from tfeff.data.sources import voc

        return voc.splits(Path(rest), fractions)
    from tfeff.data.sources import yolo

    return yolo.splits(Path(rest), fractions)


def _parse_annotated(name: str) -> tuple[str, str]:
    scheme, colon, rest = name.partition(":")
    if not colon or not rest or scheme not in ANNOTATED_SCHEMES:
        known = "voc:<dir>, yolo:<dir>, coco:<dir>, tfds:<name>, embedded:placed_digits, embedded:single_digits"
        raise UserError(f'data set "{name}" is none with boxes; write one of {known}')
    return scheme, rest


def _drawing(rest: str) -> tuple[str, tuple[int, int]]:
    """Name and canvas of an embedded data set with boxes: `placed_digits`, or `placed_digits:96`."""
    from tfeff.data.sources import placed_digits

    drawing, _, side = rest.partition(":")
    if side and not side.isdecimal():
        raise UserError(f'data set "embedded:{rest}": "{side}" is no size in pixels; write embedded:{drawing}:128')
    return drawing, (int(side), int(side)) if side else placed_digits.CANVAS


def _parse(name: str) -> tuple[str, str]:
    scheme, colon, rest = name.partition(":")
    if not colon or not rest:
        hint = "write embedded:digits, folder:<dir>, tfds:<name> or crops:<data set with boxes>"
        raise UserError(f'data set "{name}" does not say where it comes from; {hint}')
    if scheme not in SCHEMES:
        raise UserError(f'data set "{name}": unknown scheme "{scheme}"; {nearest(scheme, SCHEMES)}')
    if scheme == "embedded":
        from tfeff.data.sources import embedded

        if rest not in embedded.NAMES:
            raise UserError(f'data set "{name}": unknown name "{rest}"; {nearest(rest, embedded.NAMES)}')
    return scheme, rest
