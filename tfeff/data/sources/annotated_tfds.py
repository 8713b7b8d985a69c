"""Detection sets prepared by TensorFlow Datasets: boxes as shares of the image (ymin, xmin, ymax, xmax)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfeff.data.annotations import AnnotatedSource, Collector, Objects, OnDefect, Report
from tfeff.data.images import decoding
from tfeff.data.sources import tfds
from tfeff.data.splits import ALL
from tfeff.errors import UserError

_DIFFICULT, _CROWD = ("is_difficult",), ("is_crowd", "is_group_of")


@dataclass(frozen=True)
class _Keys:
    """What the features of an example are called; those of single objects lie below `objects`, and may be missing."""

    image: str
    objects: str
    box: str
    label: str
    difficult: str | None
    crowd: str | None


def load(
    name: str,
    split: str,
    *,
    on_defect: OnDefect = "fix",
    data_dir: str | Path | None = None,
    download: bool = False,
) -> AnnotatedSource:
    """One split, its encoded images held in memory.

    Examples must look like those of `voc`, `coco` and `open_images_v4`: an image, and a sequence of objects with a
    `BBoxFeature` and a `ClassLabel`; the flags `is_difficult`, `is_crowd` and `is_group_of` are read where they are.

    Args:
        name: As TensorFlow Datasets writes it: `voc/2007`, `coco/2017`.
        split: One of `tfds.splits(name)`, or `all` of them one after the other.
        on_defect: What to do with annotations that cannot be.
        data_dir: Where prepared data sets lie; default TensorFlow Datasets' own.
        download: Whether to download and prepare a data set that is not there.

    Raises:
        UserError: the data set is unknown, not prepared, without boxes, has no such split, or (as `on_defect` says) has
            a defect.
    """
    builder = tfds.prepared(name, data_dir, download)
    keys = _keys(name, builder)
    class_names = tuple(builder.info.features[keys.objects].feature[keys.label].names)
    report = Report(on_defect)
    ids, objects, images = list[str](), list[Objects](), list[bytes]()
    for part in tfds.splits(name, data_dir=data_dir) if split == ALL else (split,):
        examples = tfds.in_order(name, builder, part, keys.image).map(
            lambda example: {"image": example[keys.image], **example[keys.objects]}
        )
        for place, example in enumerate(examples.as_numpy_iterator()):
            where = f"tfds:{name}/{part}, example {place}"
            try:
                size = decoding.encoded_size(example["image"], where)
            except UserError as error:
                report.defect("image that cannot be read", str(error))
                continue
            ids.append(f"{part}[{place}]")
            images.append(example["image"])
            objects.append(_objects(example, keys, where, size, len(class_names), report))
    return AnnotatedSource(
        name=f"tfds:{name}/{split}",
        class_names=class_names,
        ids=ids,
        objects=objects,
        encoded=lambda index: images[index],
        report=report,
    )


def _objects(
    example: dict[str, np.ndarray], keys: _Keys, where: str, size: tuple[int, int], classes: int, report: Report
) -> Objects:
    collector = Collector(where, size, report)
    labels = example[keys.label].tolist()
    none = [False] * len(labels)
    difficult = none if keys.difficult is None else example[keys.difficult].tolist()
    crowd = none if keys.crowd is None else example[keys.crowd].tolist()
    # The shares were rounded to single precision; a box that touched the border still does.
    boxes = np.round(example[keys.box].astype(np.float64) * np.tile(size, 2), 3).tolist()
    for number, (box, label) in enumerate(zip(boxes, labels, strict=True), 1):
        if not 0 <= label < classes:
            report.defect("class without a name", f"{where}, object {number}: {label} of {classes}")
            continue
        collector.add(number, tuple(box), label, difficult=bool(difficult[number - 1]), crowd=bool(crowd[number - 1]))
    return collector.objects()


def _keys(name: str, builder: Any) -> _Keys:
    """The first image, and the first sequence that has a box and a class."""
    from tensorflow_datasets.core.features import BBoxFeature, ClassLabel, Image, Sequence

    features = builder.info.features
    image = next((key for key, feature in features.items() if isinstance(feature, Image)), None)
    for key, feature in features.items():
        inner = feature.feature if isinstance(feature, Sequence) and hasattr(feature.feature, "items") else {}
        box = next((part for part, of in inner.items() if isinstance(of, BBoxFeature)), None)
        label = next((part for part, of in inner.items() if isinstance(of, ClassLabel)), None)
        if image is not None and box is not None and label is not None:
            difficult = next((flag for flag in _DIFFICULT if flag in inner), None)
            crowd = next((flag for flag in _CROWD if flag in inner), None)
            return _Keys(image, key, box, label, difficult, crowd)
    raise UserError(f"tfds:{name} is no detection set: its features are {', '.join(features)}")
