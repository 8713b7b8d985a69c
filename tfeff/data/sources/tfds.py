"""Labeled images prepared by TensorFlow Datasets, read once in the order of their files.

Detection datasets have relative boxes (ymin, xmin, ymax, xmax).
"""

import os
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tfeff.data.dataset import Dataset, NoImagesError
from tfeff.data.defects import Defects
from tfeff.data.images import header
from tfeff.data.images.header import Header
from tfeff.data.images.storage import EncodedImages, ImageStorage, Segments
from tfeff.data.sources.annotations import RELATIVE, SWAPPED_CORNERS, AnnotatedSplit, ObjectCollector, stated_area
from tfeff.data.sources.source import Options, Source
from tfeff.data.splits import ALL, distinct_names
from tfeff.errors import UserError, nearest

if TYPE_CHECKING:
    import tensorflow as tf

# Around each record of a TFRecord file: its length and a checksum of that, and a checksum of the record.
_RECORD_HEADER, _RECORD_FOOTER = struct.Struct("<Q4x"), 4
_PEEKED = 100  # first images of a split, of which one has a label unless the labels are secret
_Located = tuple[str | None, int, bytes, int]
"""File of an example (None: it stays in none), start of the image in it, image and label."""


class PreparedDataset(Source):
    """A dataset that TensorFlow Datasets has prepared.

    Args:
        name: as TensorFlow Datasets writes it: name, configuration, version and arguments, such as `cifar10`,
            `voc/2007:4.0.0` or `pets/small/count=6,crop=True`. Names with a namespace (`huggingface:mnist`), which
            would download code, are refused.
        options: `channels`, `on_defect`, `data_dir` and `download` apply.

    Raises:
        UserError: the dataset is unknown or not prepared.
    """

    def __init__(self, name: str, options: Options) -> None:
        super().__init__(f"tfds:{name}", options)
        self._builder, self._notes = _prepared(name, options)

    @property
    def notes(self) -> tuple[str, ...]:
        """See `Source`."""
        return self._notes

    @property
    def splits(self) -> tuple[str, ...]:
        """The dataset's splits by their usual names; by their own where several have the same (`test`, `test2015`)."""
        return tuple(self._natives)

    @property
    def lists_cheaply(self) -> bool:
        """No: annotations and images are read together."""
        return False

    def _examples(self, split: str, image_key: str) -> "tf.data.Dataset":
        """Returns the examples of one split, always in the same order; the image stays encoded."""
        import tensorflow_datasets

        return self._builder.as_dataset(
            split=self._natives[split],
            shuffle_files=False,
            decoders={image_key: tensorflow_datasets.decode.SkipDecoding()},
            # Reading one file after the other makes the order of examples a property of the data.
            read_config=tensorflow_datasets.ReadConfig(interleave_cycle_length=1, try_autocache=False),
        )

    @cached_property
    def _natives(self) -> dict[str, str]:
        """Name of each split -> what the dataset itself calls it."""
        return distinct_names(self._builder.info.splits)

    def _files(self, split: str) -> list[str]:
        return [str(path) for path in self._builder.info.splits[self._natives[split]].filepaths]

    def _version(self, split: str) -> str:
        """Returns a name of the contents of a split."""
        return f"tfds/{self._builder.info.full_name}/{split}"

    @property
    def _has_record_files(self) -> bool:
        """Whether examples are stored in TFRecord files of this machine."""
        return bool(self._builder.info.file_format.value == "tfrecord") and "://" not in str(self._builder.data_dir)


class _Images:
    """Collector of the images of a split, which stay in their files or are held in memory.

    Args:
        version: names the contents.
    """

    def __init__(self, version: str) -> None:
        self._version, self._contents = version, list[bytes]()
        self._files, self._segments = dict[str, int](), list[tuple[int, int, int]]()

    def add(self, image: bytes, path: str | None, start: int) -> None:
        """Adds an image that starts at a place of a file; without a path, it is held in memory."""
        if path is None:
            self._contents.append(image)
        else:
            self._segments.append((self._files.setdefault(path, len(self._files)), start, len(image)))

    def storage(self) -> ImageStorage:
        """Returns the images, in the order in which they were added."""
        if self._segments:
            return Segments(list(self._files), np.array(self._segments, np.int64), self._version)
        return EncodedImages(self._contents, self._version)


class TfdsLabeledImages(PreparedDataset):
    """Images with one label each.

    The images stay in their files if these are TFRecord files, as is usual. Otherwise they are held in memory, encoded.

    A split whose labels are secret (-1), such as the test split of `imagenet2012`, is left out.

    Args:
        name: as for `PreparedDataset`.
        options: as for `PreparedDataset`.

    Raises:
        UserError: as for `PreparedDataset`, or the examples have no image or no class label.
    """

    def __init__(self, name: str, options: Options) -> None:
        super().__init__(name, options)
        self._keys = self._find_keys()

    @property
    def splits(self) -> tuple[str, ...]:
        """Those splits of the dataset that have labels, by their usual names."""
        return tuple(split for split in super().splits if split not in self._secret)

    @property
    def notes(self) -> tuple[str, ...]:
        """See `Source`."""
        return (
            *super().notes,
            *(f"{self.name}: ignored the split {split}, which has no labels" for split in self._secret),
        )

    @cached_property
    def _secret(self) -> tuple[str, ...]:
        """The splits without labels; none if that is all of them."""
        every = super().splits
        found = tuple(split for split in every if self._is_secret(split))
        return found if len(found) < len(every) else ()

    def _is_secret(self, split: str) -> bool:
        labels = (label for *_, label in islice(self._labeled(split), _PEEKED))
        try:
            first = next(labels, 0)
            return first < 0 and all(label < 0 for label in labels)
        except UserError:  # which is said when the split is loaded
            return False

    def _labeled(self, split: str) -> Iterator[_Located]:
        image_key, label_key = self._keys
        if self._has_record_files:
            return _located(self._files(split), image_key, label_key)
        pairs = self._examples(split, image_key).map(lambda example: (example[image_key], example[label_key]))
        return ((None, 0, image, int(label)) for image, label in pairs.as_numpy_iterator())

    def _load(self, split: str) -> Dataset:
        """Reads one split.

        Raises:
            UserError: a file is damaged, or there are no examples.
        """
        image_key, label_key = self._keys
        ids, labels, images = list[str](), list[int](), _Images(self._version(split))
        for part in self.splits if split == ALL else (split,):
            for number, (path, start, image, label) in enumerate(self._labeled(part)):
                images.add(image, path, start)
                ids.append(f"{part}[{number}]")
                labels.append(label)
        if not ids:
            raise NoImagesError(f"{self.name}/{split}")
        storage = images.storage()
        features = self._builder.info.features
        size = features[image_key].shape[:2]
        known, defects = None not in size, Defects(self.options.on_defect)
        numbers = np.array(labels)
        kept = np.flatnonzero(numbers >= 0)
        for index in np.flatnonzero(numbers < 0):
            defects.add("image without a label", f"{self.name}, {ids[index]}", lost="images")
        if not len(kept):
            raise NoImagesError(f"{self.name}/{split}", defects)
        return Dataset(
            name=f"{self.name}/{split}",
            class_names=tuple(features[label_key].names),
            ids=[ids[index] for index in kept] if defects.counts else ids,
            images=storage.take(kept) if defects.counts else storage,
            channels=self.options.channels,
            labels=numbers[kept],
            sizes=np.tile(np.array(size, np.int32), (len(kept), 1)) if known else np.zeros((0, 2), np.int32),
            defects=defects,
        )

    def _find_keys(self) -> tuple[str, str]:
        """Returns the names of the image and of the class label among an example's features."""
        from tensorflow_datasets.core.features import ClassLabel, Image

        features = self._builder.info.features
        images = [key for key, feature in features.items() if isinstance(feature, Image)]
        labels = [key for key, feature in features.items() if isinstance(feature, ClassLabel)]
        supervised = self._builder.info.supervised_keys or ()
        # If a dataset has several of a kind, its supervised pair decides.
        image = [key for key in images if key in supervised] or images
        label = [key for key in labels if key in supervised] or labels
        if not image or not label:
            raise UserError(f"{self.name} is not a classification dataset: its features are {', '.join(features)}")
        return image[0], label[0]


def _located(paths: list[str], image_key: str, label_key: str = "") -> Iterator[_Located]:
    """Yields the examples of TFRecord files, in order. Without a key, labels are 0.

    Raises:
        UserError: a file does not consist of examples with these keys.
    """
    import tensorflow as tf

    for path in paths:
        if not Path(path).is_file():
            raise UserError(f"{path}: missing; prepare the dataset again")
        with Path(path).open("rb") as file:
            while header := file.read(_RECORD_HEADER.size):
                try:
                    (length,) = _RECORD_HEADER.unpack(header)
                    start, record = file.tell(), file.read(length)
                    features = tf.train.Example.FromString(record).features.feature
                    (image,) = features[image_key].bytes_list.value
                    (label,) = features[label_key].int64_list.value if label_key else (0,)
                except Exception:  # struct.error, ValueError, or DecodeError, which only protobuf defines
                    raise UserError(f"{path}: damaged after {file.tell()} bytes; prepare the dataset again") from None
                file.seek(_RECORD_FOOTER, os.SEEK_CUR)
                yield path, start + record.index(image), image, label


def _prepared(name: str, options: Options) -> tuple[Any, tuple[str, ...]]:
    """Returns the builder of a prepared dataset, and what the user should know about it.

    Raises:
        UserError: the dataset is unknown, or neither prepared nor allowed to be downloaded.
    """
    import tensorflow_datasets

    if re.match(r"[\w-]+:[^\d*]", name):
        raise UserError(f"tfds:{name}: names with a namespace would load code from the network; see hf:DIRECTORY")
    try:
        builder = tensorflow_datasets.builder(name, data_dir=options.data_dir)
    except tensorflow_datasets.core.registered.DatasetNotFoundError as error:
        base = name.partition(":")[0].partition("/")[0]
        close = nearest(base, tensorflow_datasets.list_builders(with_community_datasets=False))
        hint = close if close.startswith("did you mean") else "https://www.tensorflow.org/datasets lists them"
        raise UserError(f"tfds:{name}: TensorFlow Datasets has no such dataset; {hint}") from error
    except (AssertionError, ImportError, OSError, TypeError, ValueError) as error:
        raise UserError(f"tfds:{name}: {error}") from error
    notes = list[str]()
    if builder.builder_config is not None and "/" not in name:
        notes.append(f"tfds:{name}: read as {builder.info.full_name}; other configurations: tfds:{name}/CONFIGURATION")
    if builder.info.splits:
        if "=" in name:
            notes.append(
                f"tfds:{name}: prepared before in {builder.data_dir}, perhaps with other arguments; delete that folder "
                "to prepare it with these"
            )
        return builder, tuple(notes)
    if not options.download:
        raise UserError(
            f"tfds:{name} is not prepared in {builder.data_dir}; name the directory of prepared data "
            "(--config.data.directory=DIR; of tfeff.pack, --data_dir=DIR), or allow the download when you train "
            "(--config.data.download=true)"
        )
    try:
        builder.download_and_prepare()
    except Exception as error:  # of the network, of the disk, or of the builder's code
        reason = str(error).strip() or type(error).__name__
        raise UserError(f"tfds:{name}: TensorFlow Datasets could not prepare it: {reason}") from error
    return builder, tuple(notes)


_DIFFICULT, _CROWD, _AREA = ("is_difficult",), ("is_crowd", "is_group_of"), ("area",)


@dataclass(frozen=True)
class _Keys:
    """Names of an example's features. Those of single objects are under `objects`; flags and areas may be missing."""

    image: str
    objects: str
    box: str
    label: str
    difficult: str | None
    crowd: str | None
    area: str | None


class TfdsAnnotatedImages(PreparedDataset):
    """Images with objects.

    The images stay in their files if these are TFRecord files, as is usual. Otherwise they are held in memory, encoded.

    Examples must look like those of `voc`, `coco` and `open_images_v4`: an image, and a sequence of objects with a
    `BBoxFeature` and a `ClassLabel`. The flags `is_difficult`, `is_crowd` and `is_group_of` and the `area`, in square
    pixels, are read if present.

    Args:
        name: as for `PreparedDataset`.
        options: as for `PreparedDataset`.

    Raises:
        UserError: as for `PreparedDataset`, or the examples have no boxes.
    """

    def __init__(self, name: str, options: Options) -> None:
        super().__init__(name, options)
        self._keys = self._find_keys()

    @property
    def box_format(self) -> tuple[str, str]:
        """See `Source`."""
        return SWAPPED_CORNERS, RELATIVE

    def _load(self, split: str) -> Dataset:
        """Reads one split.

        Raises:
            UserError: (with `on_defect="stop"`) an annotation is invalid.
        """
        keys = self._keys
        class_names = tuple(self._builder.info.features[keys.objects].feature[keys.label].names)
        found, images = AnnotatedSplit(f"{self.name}/{split}", self.options), _Images(self._version(split))
        elsewhere: _Located = None, 0, b"", 0
        for part in self.splits if split == ALL else (split,):
            examples = self._examples(part, keys.image).map(
                lambda example: {"image": example[keys.image], **example[keys.objects]}
            )
            places = _located(self._files(part), keys.image) if self._has_record_files else repeat(elsewhere)
            for number, (example, place) in enumerate(zip(examples.as_numpy_iterator(), places, strict=False)):
                where = f"{self.name}/{part}, example {number}"
                try:
                    head = header.read(example["image"], where)
                except UserError as error:
                    found.defects.add("unreadable image", str(error), lost="images")
                    continue
                path, start, image, _ = place
                if path is not None and image != example["image"]:
                    raise UserError(f"{where}: not in the order of the files; prepare the dataset again")
                images.add(example["image"], path, start)
                collector = _collected(example, keys, where, head, len(class_names), found.defects)
                found.add(f"{part}[{number}]", head.size, collector)
        return found.dataset(class_names, images.storage())

    def _find_keys(self) -> _Keys:
        """Returns the first image, and the first sequence that has a box and a class."""
        from tensorflow_datasets.core.features import BBoxFeature, ClassLabel, Image, Sequence

        features = self._builder.info.features
        image = next((key for key, feature in features.items() if isinstance(feature, Image)), None)
        for key, feature in features.items():
            inner = feature.feature if isinstance(feature, Sequence) and hasattr(feature.feature, "items") else {}
            box = next((part for part, value in inner.items() if isinstance(value, BBoxFeature)), None)
            label = next((part for part, value in inner.items() if isinstance(value, ClassLabel)), None)
            if image is not None and box is not None and label is not None:
                further = (
                    next((each for each in names if each in inner), None) for names in (_DIFFICULT, _CROWD, _AREA)
                )
                return _Keys(image, key, box, label, *further)
        raise UserError(f"{self.name} is not a detection dataset: its features are {', '.join(features)}")


def _collected(
    example: dict[str, np.ndarray], keys: _Keys, where: str, head: Header, classes: int, defects: Defects
) -> ObjectCollector:
    collector = ObjectCollector(where, head.size, defects, orientation=head.orientation, relative=True)
    labels = example[keys.label].tolist()
    further = keys.difficult, keys.crowd, keys.area
    difficult, crowd, areas = ([None] * len(labels) if key is None else example[key].tolist() for key in further)
    # Relative coordinates were rounded to single precision; rounding keeps a box that touches the border there.
    boxes = np.round(example[keys.box].astype(np.float64) * np.tile(head.size, 2), 3).tolist()
    for number, (box, label) in enumerate(zip(boxes, labels, strict=True), 1):
        if not 0 <= label < classes:
            defects.add("class without a name", f"{where}, object {number}: {label} of {classes}", lost="objects")
            collector.add_unnamed(tuple(box), label)
            continue
        collector.add(
            number,
            tuple(box),
            label,
            difficult=bool(difficult[number - 1]),
            crowd=bool(crowd[number - 1]),
            area=stated_area(areas[number - 1]),
        )
    return collector
