"""Data sets prepared by TensorFlow Datasets, read once in the order of their files."""

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfeff.data.dataset import Source
from tfeff.data.images import graph_decoding
from tfeff.data.splits import canonical_name
from tfeff.errors import UserError, nearest


def splits(name: str, *, data_dir: str | Path | None = None, download: bool = False) -> tuple[str, ...]:
    """The names of a data set's splits.

    Raises:
        UserError: the data set is unknown or not prepared.
    """
    return tuple(canonical_name(split) for split in prepared(name, data_dir, download).info.splits)


def load(name: str, split: str, *, channels: int, data_dir: str | Path | None = None, download: bool = False) -> Source:
    """One split, its encoded images held in memory.

    Args:
        name: As TensorFlow Datasets writes it: `cifar10`, `cifar10:3.0.2`.
        split: One of `splits(name)`.
        channels: 3 for RGB, 1 for gray.
        data_dir: Where prepared data sets lie; default TensorFlow Datasets' own.
        download: Whether to download and prepare a data set that is not there.

    Raises:
        UserError: the data set is unknown or not prepared, has no such split, or no image with a class label.
    """
    builder = prepared(name, data_dir, download)
    image_key, label_key = _keys(name, builder)
    dataset = in_order(name, builder, split, image_key)
    pairs = dataset.map(lambda example: (example[image_key], example[label_key]))
    images, labels = [], []
    for encoded, label in pairs.as_numpy_iterator():
        images.append(encoded)
        labels.append(label)
    if not images:
        raise UserError(f"tfds:{name}/{split}: no images")
    with tf.device("CPU:0"):
        encoded_images = tf.constant(images)
    size = builder.info.features[image_key].shape[:2]
    return Source(
        name=f"tfds:{name}/{split}",
        class_names=tuple(builder.info.features[label_key].names),
        labels=np.array(labels),
        ids=[f"{split}[{i}]" for i in range(len(images))],
        channels=channels,
        read=lambda i: graph_decoding.decode(encoded_images[i], channels),
        fingerprint=f"tfds/{builder.info.full_name}/{split}/{len(images)}/{sum(map(len, images))}",
        size=None if None in size else (int(size[0]), int(size[1])),
    )


def prepared(name: str, data_dir: str | Path | None, download: bool) -> Any:
    """The builder of a data set that lies ready on the disk.

    Raises:
        UserError: the data set is unknown, or is not there and may not be downloaded.
    """
    import tensorflow_datasets

    try:
        builder = tensorflow_datasets.builder(name, data_dir=data_dir)
    except tensorflow_datasets.core.registered.DatasetNotFoundError as error:
        base = name.partition(":")[0].partition("/")[0]
        close = nearest(base, tensorflow_datasets.list_builders(with_community_datasets=False))
        hint = close if close.startswith("did you mean") else "https://www.tensorflow.org/datasets lists them"
        raise UserError(f"tfds:{name}: TensorFlow Datasets knows no such data set; {hint}") from error
    except (AssertionError, ImportError, ValueError) as error:
        raise UserError(f"tfds:{name}: {error}") from error
    if builder.info.splits:
        return builder
    if not download:
        raise UserError(
            f"tfds:{name} is not prepared in {builder.data_dir}; say where prepared data lies "
            "(--config.data.directory=DIR), or allow the download (--config.data.download=true)"
        )
    builder.download_and_prepare()
    return builder


def in_order(name: str, builder: Any, split: str, image_key: str) -> tf.data.Dataset:
    """The examples of one split, always in the same order; what lies under `image_key` stays encoded.

    Raises:
        UserError: no such split.
    """
    import tensorflow_datasets

    native = {canonical_name(known): known for known in builder.info.splits}
    if split not in native:
        raise UserError(f'tfds:{name}: no split "{split}"; {nearest(split, native)}')
    return builder.as_dataset(
        split=native[split],
        shuffle_files=False,
        decoders={image_key: tensorflow_datasets.decode.SkipDecoding()},
        # One file after the other: the order of examples is then a property of the data.
        read_config=tensorflow_datasets.ReadConfig(interleave_cycle_length=1, try_autocache=False),
    )


def _keys(name: str, builder: Any) -> tuple[str, str]:
    """The names of the image and of the class among the features of an example."""
    from tensorflow_datasets.core.features import ClassLabel, Image

    features = builder.info.features
    images = [key for key, feature in features.items() if isinstance(feature, Image)]
    labels = [key for key, feature in features.items() if isinstance(feature, ClassLabel)]
    supervised = builder.info.supervised_keys or ()
    # Where a data set has several of a kind, its supervised pair says which are meant.
    image = [key for key in images if key in supervised] or images
    label = [key for key in labels if key in supervised] or labels
    if not image or not label:
        raise UserError(f"tfds:{name} is no classification set: its features are {', '.join(features)}")
    return image[0], label[0]
