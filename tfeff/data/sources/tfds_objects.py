"""Detection datasets prepared by TensorFlow Datasets, with relative boxes (ymin, xmin, ymax, xmax)."""

from dataclasses import dataclass

import numpy as np

from tfeff.data.dataset import Dataset, Defects, Objects, Written
from tfeff.data.images import decoding
from tfeff.data.images.storage import EncodedImages
from tfeff.data.sources.annotations import ObjectCollector
from tfeff.data.sources.source import Options
from tfeff.data.sources.tfds import Prepared
from tfeff.data.splits import ALL
from tfeff.errors import UserError

_DIFFICULT, _CROWD = ("is_difficult",), ("is_crowd", "is_group_of")


@dataclass(frozen=True)
class _Keys:
    """Names of an example's features. Those of single objects are under `objects`; the flags may be missing."""

    image: str
    objects: str
    box: str
    label: str
    difficult: str | None
    crowd: str | None


class AnnotatedImages(Prepared):
    """Images with objects. The encoded images are held in memory.

    Examples must look like those of `voc`, `coco` and `open_images_v4`: an image, and a sequence of objects with a
    `BBoxFeature` and a `ClassLabel`. The flags `is_difficult`, `is_crowd` and `is_group_of` are read if present.

    Args:
        name: as for `Prepared`.
        options: as for `Prepared`.

    Raises:
        UserError: as for `Prepared`, or the examples have no boxes.
    """

    def __init__(self, name: str, options: Options) -> None:
        super().__init__(name, options)
        self._keys = self._find_keys()

    def _load(self, split: str) -> Dataset:
        """Reads one split.

        Raises:
            UserError: (with `on_defect="error"`) an annotation is invalid.
        """
        keys = self._keys
        class_names = tuple(self._builder.info.features[keys.objects].feature[keys.label].names)
        defects = Defects(self.options.on_defect)
        ids, objects, images, sizes = list[str](), list[Objects](), list[bytes](), list[tuple[int, int]]()
        written = list[Written]()
        for part in self.splits if split == ALL else (split,):
            examples = self._examples(part, keys.image).map(
                lambda example: {"image": example[keys.image], **example[keys.objects]}
            )
            for number, example in enumerate(examples.as_numpy_iterator()):
                where = f"{self.name}/{part}, example {number}"
                try:
                    size = decoding.encoded_size(example["image"], where)
                except UserError as error:
                    defects.add("unreadable image", str(error))
                    continue
                ids.append(f"{part}[{number}]")
                images.append(example["image"])
                sizes.append(size)
                found = _collected(example, keys, where, size, len(class_names), defects)
                objects.append(found.objects())
                if self.options.keep_written:
                    written.append(found.written())
        return Dataset(
            name=f"{self.name}/{split}",
            class_names=class_names,
            ids=ids,
            images=EncodedImages(images, f"tfds/{self._builder.info.full_name}/{split}"),
            channels=self.options.channels,
            objects=objects,
            sizes=np.array(sizes, np.int32).reshape(-1, 2),
            defects=defects,
            written=written,
        )

    def _find_keys(self) -> _Keys:
        """The first image, and the first sequence that has a box and a class."""
        from tensorflow_datasets.core.features import BBoxFeature, ClassLabel, Image, Sequence

        features = self._builder.info.features
        image = next((key for key, feature in features.items() if isinstance(feature, Image)), None)
        for key, feature in features.items():
            inner = feature.feature if isinstance(feature, Sequence) and hasattr(feature.feature, "items") else {}
            box = next((part for part, value in inner.items() if isinstance(value, BBoxFeature)), None)
            label = next((part for part, value in inner.items() if isinstance(value, ClassLabel)), None)
            if image is not None and box is not None and label is not None:
                difficult = next((flag for flag in _DIFFICULT if flag in inner), None)
                crowd = next((flag for flag in _CROWD if flag in inner), None)
                return _Keys(image, key, box, label, difficult, crowd)
        raise UserError(f"{self.name} is not a detection dataset: its features are {', '.join(features)}")


def _collected(
    example: dict[str, np.ndarray], keys: _Keys, where: str, size: tuple[int, int], classes: int, defects: Defects
) -> ObjectCollector:
    collector = ObjectCollector(where, size, defects)
    labels = example[keys.label].tolist()
    unset = [False] * len(labels)
    difficult = unset if keys.difficult is None else example[keys.difficult].tolist()
    crowd = unset if keys.crowd is None else example[keys.crowd].tolist()
    # Relative coordinates were rounded to single precision; rounding keeps a box that touches the border there.
    boxes = np.round(example[keys.box].astype(np.float64) * np.tile(size, 2), 3).tolist()
    for number, (box, label) in enumerate(zip(boxes, labels, strict=True), 1):
        if not 0 <= label < classes:
            defects.add("class without a name", f"{where}, object {number}: {label} of {classes}")
            collector.add_unnamed(tuple(box), label)
            continue
        collector.add(number, tuple(box), label, difficult=bool(difficult[number - 1]), crowd=bool(crowd[number - 1]))
    return collector
