"""Images that a caller passes from Python: arrays, a generator, a `tf.data.Dataset`, or data frames that list files.

A config refers to them by a name that contains a digest of their contents, `python:<name>`, so a run that resumes or is
opened again asks for the same images.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tfeff.data.dataset import Dataset
from tfeff.data.defects import Defects
from tfeff.data.images.pixels import allocate
from tfeff.data.images.storage import ImageStorage, PixelArray, PixelArrays
from tfeff.data.sources import data_frame
from tfeff.data.sources.annotations import PIXELS, SWAPPED_CORNERS, ObjectCollector
from tfeff.data.sources.data_frame import ListedImages
from tfeff.data.sources.source import Options, Source
from tfeff.data.splits import ALL
from tfeff.errors import UserError

LIMIT = 4 << 30
"""Bytes of pixels that one `Images` holds at most; more belongs into files, which are read when they are needed."""
Target = int | str | Mapping[str, Any]
"""A label, or `boxes_yxyx` [n, 4] in pixels and `labels` [n]."""
Split = tuple[Any, Any] | Iterable[tuple[np.ndarray, Target]]
"""(images, targets), or pairs (image, target)."""


class Images:
    """Images with labels or boxes, held in memory.

    Args:
        splits: name of a split, such as `train`, `validation` or `test` -> its images: `(images, labels)`,
            `(images, objects)`, or an iterable of pairs, such as a generator or a `tf.data.Dataset`, batched or not,
            which is read once. All of it is copied, so arrays may be filled again. Images are uint8 [height, width, 3]
            or [height, width], of one size or several. A label is a number from 0 or the name of a class. `objects` has
            a mapping for each image: `boxes_yxyx`, float [n, 4], (top, left, bottom, right) in pixels, and `labels`,
            [n].
        class_names: one per class. None: the names among the labels, sorted, or their numbers.
        name: first part of the name in configs and messages.

    Attributes:
        name: `<name>-<digest of the contents>`.
        splits: names of the splits.
        class_names: one per class.
        has_objects: whether images have boxes, and not a label each.

    Raises:
        UserError: images or targets in another form, more pixels than `LIMIT` bytes, or a class that is not named.
    """

    def __init__(
        self, splits: Mapping[str, Split], *, class_names: Sequence[str] | None = None, name: str = "images"
    ) -> None:
        if isinstance(splits, str | os.PathLike):
            raise UserError(
                f'images: {splits} is a path; name it as a source, such as tfeff.own_images("folder:{splits}"), or '
                "voc:, yolo: or coco: with boxes"
            )
        if not isinstance(splits, Mapping) or not splits:
            raise UserError('images: give them by split, such as {"train": (images, labels), "test": ...}')
        parts, size = dict[str, tuple[list[np.ndarray], list[_Target]]](), 0
        for split, given in splits.items():
            parts[split] = _read(f"{name}/{split}", given, LIMIT - size)
            size += sum(each.nbytes for each in parts[split][0])
        self.has_objects = next(iter(parts.values()))[1][0].boxes is not None
        values = list[int | str]()
        for split, (_, targets) in parts.items():
            for i, target in enumerate(targets):
                if (target.boxes is not None) != self.has_objects:
                    raise UserError(f"{name}/{split}[{i}]: give all images a label each, or all of them objects")
                values += target.labels
        self.class_names = tuple(map(str, _classes(values, name) if class_names is None else class_names))
        repeated = [each for each, count in Counter(self.class_names).items() if count > 1]
        if repeated:
            raise UserError(f'{name}: class_names has "{repeated[0]}" twice; rename one')
        number = {each: index for index, each in enumerate(self.class_names)}
        self._datasets = dict[str, tuple[ImageStorage, Sequence[Any], np.ndarray]]()
        digest = hashlib.blake2b(repr(self.class_names).encode(), digest_size=6)
        for split, (pixels, targets) in parts.items():
            numbered = [_numbered(target, number, f"{name}/{split}[{i}]") for i, target in enumerate(targets)]
            version = _digest(split, pixels, numbered)
            digest.update(version.encode())
            sizes = np.array([each.shape[:2] for each in pixels], np.int32)
            self._datasets[split] = _storage(pixels, version), numbered, sizes
        self.splits = tuple(parts)
        self.name = f"{name}-{digest.hexdigest()}"

    def dataset(self, split: str, options: Options) -> Dataset:
        """Returns the images of a split, as `open_given` reads them."""
        storage, targets, sizes = self._datasets[split]
        ids, defects = [f"{split}[{number}]" for number in range(len(targets))], Defects(options.on_defect)
        collected = list[ObjectCollector]()
        if self.has_objects:
            for name, size, (boxes, labels) in zip(ids, sizes.tolist(), targets, strict=True):
                collected.append(ObjectCollector(f"{self.name}/{name}", tuple(size), defects))
                for number, (box, label) in enumerate(zip(boxes.tolist(), labels, strict=True), start=1):
                    collected[-1].add(number, tuple(box), label)
        return Dataset(
            name=f"python:{self.name}/{split}",
            class_names=self.class_names,
            ids=ids,
            images=storage,
            channels=options.channels,
            labels=np.array(() if self.has_objects else targets, np.int32),
            objects=[each.objects() for each in collected],
            sizes=sizes,
            defects=defects,
            raw_annotations=[each.raw_annotations() for each in collected] if options.keep_raw_annotations else (),
        )


_OFFERED = dict[str, Images | ListedImages]()


def offer(images: Images | Mapping[str, Any] | Any) -> str:
    """Makes images known to this process; returns the name of their source, `python:<name>`.

    Args:
        images: images by split, see `Images`; or a data frame, or one for each split, see `ListedImages`.

    Raises:
        UserError: as for `Images` and `ListedImages`.
    """
    if not isinstance(images, Images):
        each = next(iter(images.values()), None) if isinstance(images, Mapping) else images
        images = ListedImages(images) if data_frame.is_frame(each) else Images(images)
    _OFFERED[images.name] = images
    return f"python:{images.name}"


def open_given(name: str, options: Options, *, objects: bool) -> Source:
    """Returns the source of images that were offered.

    Args:
        name: name of the images.
        options: how to read them.
        objects: whether they must have boxes, or else a label each.

    Raises:
        UserError: no images of this name were offered, or their targets are of the other kind.
    """
    if name not in _OFFERED:
        raise UserError(
            f"python:{name}: these images were given in Python and are not known to this process; give the same "
            "images again: tfeff.train(..., images=...) or tfeff.open(workdir, images=...)"
        )
    images = _OFFERED[name]
    if images.has_objects != objects:
        wanted, found = ("boxes", "labels") if objects else ("labels", "boxes")
        raise UserError(f"python:{name}: this task needs images with {wanted}; these have {found}")
    if isinstance(images, ListedImages):
        return images.source(f"python:{name}", options)
    return _GivenImages(f"python:{name}", images, options)


class _GivenImages(Source):
    def __init__(self, name: str, images: Images, options: Options) -> None:
        super().__init__(name, options)
        self._images = images

    @property
    def splits(self) -> tuple[str, ...]:
        """See `Source`."""
        return self._images.splits

    @property
    def box_format(self) -> tuple[str, str]:
        """See `Source`."""
        return SWAPPED_CORNERS, PIXELS

    def _load(self, split: str) -> Dataset:
        if split == ALL:
            raise UserError(f'{self.name}: no split "all"; known: {", ".join(self.splits)}')
        return self._images.dataset(split, self.options)


class _Target(NamedTuple):
    """The label of an image, and no boxes; or the boxes of its objects, float32 [n, 4], and their labels."""

    labels: list[int | str]
    boxes: np.ndarray | None


def _read(name: str, given: Any, limit: int) -> tuple[list[np.ndarray], list[_Target]]:
    """Returns the images of a split, uint8 [height, width, channels], of up to `limit` bytes, and their targets.

    They are copies, because a generator may fill the same arrays again.

    Raises:
        UserError: they have another form, or are too large.
    """
    if isinstance(given, tuple) and len(given) == 2:
        images, targets = given
        if not hasattr(images, "__len__") or not hasattr(targets, "__len__"):
            raise UserError(
                f"{name}: (images, labels) must be arrays or lists; of a generator, give pairs of an image and a target"
            )
        if len(images) != len(targets):
            raise UserError(f"{name}: {len(images)} images, but {len(targets)} labels or objects")
        pairs: Iterable[tuple[Any, Any]] = zip(images, targets, strict=True)
    elif isinstance(given, Iterable) and not isinstance(given, np.ndarray):
        pairs = _unbatched(name, given.as_numpy_iterator() if hasattr(given, "as_numpy_iterator") else given)
    else:
        raise UserError(f"{name}: give (images, labels), (images, objects), or pairs of an image and a target")
    pixels, read, size = list[np.ndarray](), list[_Target](), 0
    for image, target in pairs:
        where = f"{name}[{len(pixels)}]"
        pixels.append(_image(image, where))
        read.append(_target(target, where))
        size += pixels[-1].nbytes
        if size > limit:
            raise UserError(
                f"{name}: more than {LIMIT >> 30} GB of pixels in all splits; write them to files and give "
                "their folder, such as folder:DIRECTORY"
            )
    if not pixels:
        raise UserError(f"{name}: no images")
    return pixels, read


def _unbatched(name: str, elements: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
    """Yields the pairs of an iterable whose elements are pairs or batches of them."""
    for element in elements:
        if not isinstance(element, tuple | list) or len(element) != 2:
            raise UserError(f"{name}: each element must be a pair: an image, and its label or objects")
        image, target = element
        if np.ndim(image) < 4:
            yield image, target
        elif isinstance(target, Mapping):
            raise UserError(f"{name}: images with boxes must not be batched; call .unbatch()")
        elif len(image) != (np.shape(target) or (1,))[0]:
            labels = (np.shape(target) or (1,))[0]
            raise UserError(f"{name}: a batch has {len(image)} images and {labels} labels")
        else:
            yield from zip(image, target, strict=True)


def _image(image: Any, where: str) -> np.ndarray:
    """Returns a copy of an image, uint8 [height, width, 1 or 3]."""
    pixels = np.array(image)
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] not in (1, 3) or not pixels.size:
        raise UserError(
            f"{where}: an array of shape {np.shape(image)} and type {pixels.dtype}; give uint8 values from 0 to 255, "
            "[height, width, 3] or [height, width]"
        )
    return pixels


def _target(target: Any, where: str) -> _Target:
    """Returns what is in an image.

    Raises:
        UserError: it has another form.
    """
    if not isinstance(target, Mapping):
        labels = _labels(target, where)
        if len(labels) != 1:
            raise UserError(f"{where}: {len(labels)} labels; give one number or name per image")
        return _Target(labels, None)
    missing = [key for key in ("boxes_yxyx", "labels") if key not in target]
    if missing:
        raise UserError(f"{where}: objects have no {missing[0]}; give boxes_yxyx and labels")
    labels = _labels(target["labels"], where)
    try:
        boxes = np.array(target["boxes_yxyx"], np.float32)
    except (TypeError, ValueError):
        raise UserError(f"{where}: boxes_yxyx are not numbers, [n, 4]") from None
    if boxes.size and (boxes.ndim != 2 or boxes.shape[1] != 4):
        raise UserError(f"{where}: boxes_yxyx have the shape {boxes.shape}; give [n, 4]")
    boxes = boxes.reshape(-1, 4)
    if len(boxes) != len(labels):
        raise UserError(f"{where}: {len(labels)} labels and {len(boxes)} boxes")
    return _Target(labels, boxes)


def _labels(given: Any, where: str) -> list[int | str]:
    """Returns the label of an image, or those of its objects.

    Raises:
        UserError: some are neither whole numbers nor text.
    """
    # As objects, numbers among names stay numbers.
    values = np.asarray(given, object if isinstance(given, list | tuple) else None).reshape(-1)
    labels = list[int | str]()
    for value in values:
        label = np.asarray(value).item() if np.size(value) == 1 else value
        if isinstance(label, bytes):
            try:
                label = label.decode()
            except UnicodeDecodeError:
                raise UserError(f"{where}: label {label!r} is not UTF-8") from None
        if not isinstance(label, str | int):
            raise UserError(f"{where}: label {label!r}; give the name of a class, or a number from 0")
        labels.append(label)
    return labels


def _classes(labels: Sequence[int | str], name: str) -> list[str]:
    """Returns names of the classes: those among the labels, or the numbers up to the highest.

    Raises:
        UserError: some labels are names and some are numbers, whose classes only `class_names` would tell.
    """
    names = [label for label in labels if isinstance(label, str)]
    numbers = [label for label in labels if not isinstance(label, str)]
    if names and numbers:
        raise UserError(f'{name}: labels are names ("{names[0]}") and numbers ({numbers[0]}); give one kind')
    if names:
        return sorted(set(names))
    return [str(number) for number in range(max(numbers, default=0) + 1)]


def _numbered(target: _Target, number: Mapping[str, int], where: str) -> Any:
    """Returns the class of an image, int; or the boxes of its objects, float32 [n, 4], and their classes, [n]."""
    labels = list[int]()
    for label in target.labels:
        if isinstance(label, str) and label not in number:
            raise UserError(f'{where}: "{label}" is not among the classes {", ".join(number)}')
        if isinstance(label, int) and not 0 <= label < len(number):
            raise UserError(
                f"{where}: label {label!r}; give the name of a class, or a number from 0 to {len(number) - 1}"
            )
        labels.append(number[label] if isinstance(label, str) else int(label))
    return labels[0] if target.boxes is None else (target.boxes, labels)


def _storage(pixels: list[np.ndarray], version: str) -> ImageStorage:
    """Returns the storage of images; empties the list if they have one size, so that each is in memory once."""
    if len({each.shape for each in pixels}) > 1:
        return PixelArrays(pixels, version)
    stacked = allocate(len(pixels) * pixels[0].nbytes).reshape(len(pixels), *pixels[0].shape)
    for index in reversed(range(len(pixels))):
        stacked[index] = pixels.pop()
    return PixelArray(stacked, version)


def _digest(split: str, pixels: Sequence[np.ndarray], targets: Sequence[Any]) -> str:
    digest = hashlib.sha256(split.encode())
    for image, target in zip(pixels, targets, strict=True):
        digest.update(repr(image.shape).encode() + np.ascontiguousarray(image).tobytes())
        for value in target if isinstance(target, tuple) else (target,):
            digest.update(np.array(value).tobytes())
    return digest.hexdigest()
