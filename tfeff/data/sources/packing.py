"""Packing: writes any source as `records`."""

import errno
import os
import struct
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from tfeff.data.dataset import Dataset
from tfeff.data.images import decoding
from tfeff.data.images.recorded import WRITER_OPTIONS, Shard, places, read_record
from tfeff.data.images.storage import content_digest
from tfeff.data.sources import catalog
from tfeff.data.sources.manifest import INDEX, MANIFEST, Manifest, Split
from tfeff.data.sources.source import Options, Source
from tfeff.data.splits import ALL, find_split
from tfeff.durable import staged
from tfeff.errors import UserError, brief, is_disk_full
from tfeff.execution.resources import cores

SHARD = "images-{}.array_record"
SHARD_BYTES = 256 << 20
"""Least size of a shard, by default; the last one may be smaller."""
_AHEAD = 64
"""Images that are in memory at a time."""
_REPORTED = 64
"""Images between two calls of `progress`."""
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Packed:
    """What was written.

    Attributes:
        images: number of images.
        size: bytes of all shards.
        shards: number of shards.
        undecodable: id -> reason, of the images that cannot be decoded; they are written, too. Of different images with
            the same id in several splits, further ones are named with their split.
    """

    images: int
    size: int
    shards: int
    undecodable: Mapping[str, str]


def open_source(name: str, *, further_classes: bool = False, data_dir: str | None = None) -> Source:
    """Opens a source to pack it.

    Args:
        name: name of the source.
        further_classes: whether other splits may have classes that the training split lacks.
        data_dir: where TensorFlow Datasets keeps its prepared data; None for its default.

    Raises:
        UserError: as for `catalog.open_labels` and `catalog.open_objects`; or its images are cut from those of another.
    """
    if name.startswith("crops:"):
        raise UserError(f"{name}: pack {name.removeprefix('crops:')}, and name the crops crops:records:DIRECTORY")
    options = Options(further_classes=further_classes, data_dir=data_dir)
    opened = catalog.open_objects if catalog.has_objects(name, options) else catalog.open_labels
    return opened(name, replace(options, used_splits=opened(name, options).splits))


def pack(
    source: Source,
    directory: str | Path,
    *,
    shard_bytes: int = SHARD_BYTES,
    overwrite: bool = False,
    progress: Progress = lambda task, done, total: None,
) -> Packed:
    """Writes all splits of a source as records: each image once, in the order of its first split.

    Images are decoded, so that runs need not look for corrupt ones, and read back. The directory is complete or absent.
    The same source gives the same files.

    Args:
        source: what `open_source` returns.
        directory: the directory to write.
        shard_bytes: least size of a shard; the last one may be smaller.
        overwrite: replace earlier records.
        progress: called with what is being done (`finding equal images`, then `packing`), images done and in total.

    Raises:
        UserError: the directory exists, an image file cannot be read, or a split has no images; the extra `records` is
            not installed.
        OSError: the disk is full.
    """
    if find_spec("array_record") is None:
        raise UserError(f"{source.name}: to pack it needs the extra records: pip install tfeff[records]")
    with staged(directory, overwrite=overwrite, marker=MANIFEST, others=(INDEX, SHARD.format("*"))) as made:
        names = (ALL,) if source.drawn else (*source.splits, ALL)
        datasets = {name: source.load(name) for name in names}
        images, rows = _distinct(list(datasets.values()), progress)
        written, located, found = _write(images, made, shard_bytes, progress)
        folder = _common_folder(id_ for dataset in datasets.values() for id_ in dataset.ids)
        splits = {
            name: Split.of(dataset, [id_[len(folder) :] for id_ in dataset.ids], row)
            for (name, dataset), row in zip(datasets.items(), rows, strict=True)
        }
        whole = datasets[ALL]
        Manifest(
            source=source.name,
            class_names=whole.class_names,
            class_ids=whole.class_ids,
            has_objects=whole.has_objects,
            drawn=source.drawn,
            further_classes=_further_classes(source, datasets),
            shards=written,
            splits=splits,
            places=located,
            digests=np.frombuffer(b"".join(each.digest for each in found), np.uint8).reshape(-1, 16),
            origins=np.frombuffer(b"".join(each.origin for each in found), np.uint8).reshape(-1, 8),
            sizes=np.array([each.size for each in found], np.int32),
            undecodable=np.flatnonzero([each.problem for each in found]),
        ).write(made)
    undecodable = dict[str, str]()
    for (dataset, index), each in zip(images, found, strict=True):
        if each.problem:
            id_ = dataset.ids[index]
            undecodable[f"{id_} ({dataset.name})" if id_ in undecodable else id_] = each.problem
    return Packed(len(found), sum(each.size for each in written), len(written), undecodable)


def _distinct(datasets: Sequence[Dataset], progress: Progress) -> tuple[list[tuple[Dataset, int]], list[np.ndarray]]:
    """Returns all images, each once, and where those of each dataset are among them, int64 [n].

    Images are the same if they have the same id and the same content.
    """
    images, rows, known = list[tuple[Dataset, int]](), list[np.ndarray](), defaultdict[str, list[int]](list)
    done, total = 0, sum(map(len, datasets))
    for dataset in datasets:
        places = np.empty(len(dataset), np.int64)
        for index, id_ in enumerate(dataset.ids):
            if done % _REPORTED == 0:
                progress("finding equal images", done, total)
            for place in known[id_]:
                other, number = images[place]
                if dataset.images.same_content(index, other.images, number):
                    places[index] = place
                    break
            else:
                places[index] = len(images)
                known[id_].append(len(images))
                images.append((dataset, index))
            done += 1
        rows.append(places)
    progress("finding equal images", total, total)
    return images, rows


@dataclass(frozen=True)
class _Examined:
    """What is known about an image.

    Attributes:
        length: its length in bytes.
        digest: its `content_digest`.
        origin: its `origin` in its source.
        size: (height, width), upright; (0, 0) if its header cannot be read.
        problem: why it cannot be decoded; "" if it can.
    """

    length: int
    digest: bytes
    origin: bytes
    size: tuple[int, int]
    problem: str


def _write(
    images: Sequence[tuple[Dataset, int]], directory: Path, shard_bytes: int, progress: Progress
) -> tuple[list[Shard], np.ndarray, list[_Examined]]:
    """Writes images into shards, and decodes them; returns shards, places of the images, and what is known of them."""
    shards, located, found = list[Shard](), list[np.ndarray](), list[_Examined]()
    writer: Any = None
    path, size, count = directory, 0, 0
    progress("packing", 0, len(images))
    for content, examined in _read_ahead(images):
        if writer is None:
            path, size, count = directory / SHARD.format(f"{len(shards):05}"), 0, 0
            writer = _reported(path, _open, path)
        _reported(path, writer.write, content)
        found.append(examined)
        size, count = size + len(content), count + 1
        if size >= shard_bytes or len(found) == len(images):
            _reported(path, writer.close)
            shards.append(Shard(path, path.stat().st_size, count))
            located.append(_located(path, found[-count:]))
            writer = None
        if len(found) % _REPORTED == 0 or len(found) == len(images):
            progress("packing", len(found), len(images))
    return shards, np.concatenate(located), found


def _read_ahead(images: Iterable[tuple[Dataset, int]]) -> Iterator[tuple[bytes, _Examined]]:
    """Yields `_read` of images, in order, while threads read the next ones."""
    with ThreadPoolExecutor(cores()) as threads:
        waiting = deque[Future[tuple[bytes, _Examined]]]()
        for image in images:
            waiting.append(threads.submit(_read, image))
            if len(waiting) == _AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _located(path: Path, images: Sequence[_Examined]) -> np.ndarray:
    """Returns where the images of a shard are in it, int64 [n, 2], after reading all of them.

    Raises:
        UserError: they are not what was written.
    """
    found, same = np.zeros((0, 2), np.int64), list[bytes]()
    try:
        found = places(path, [each.length for each in images])
        with path.open("rb", buffering=0) as file:
            same = [content_digest(read_record(file, *place)) for place in found.tolist()]
    except (ValueError, struct.error):
        pass  # as if it had no images
    if same != [each.digest for each in images]:
        raise UserError(f"{path}: cannot be read as it was written; check the disk, or install array-record 0.8")
    return found


def _open(path: Path) -> Any:
    from array_record.python.array_record_module import ArrayRecordWriter

    return ArrayRecordWriter(str(path), WRITER_OPTIONS)


def _reported(path: Path, call: Callable[..., Any], *arguments: Any) -> Any:
    """Calls a function of a writer; its errors name the file.

    Raises:
        OSError: the disk is full.
        UserError: the file cannot be written.
    """
    try:
        return call(*arguments)
    except RuntimeError as error:
        if is_disk_full(error):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from None
        raise UserError(f"{path}: cannot be written ({brief(error)}); choose another directory") from None


def _read(image: tuple[Dataset, int]) -> tuple[bytes, _Examined]:
    """Returns an image file, and what is known about it.

    Raises:
        UserError: it cannot be read.
    """
    dataset, index = image
    id_, size, problem = dataset.ids[index], (0, 0), ""
    try:
        content, origin = dataset.encoded(index), dataset.images.origin(index)
    except OSError as error:
        raise UserError(f"{id_}: cannot be read ({error.strerror or error}); restore it, or remove it") from None
    try:
        size = decoding.encoded_size(content, "image")
        decoding.decode(content, "image")
    except UserError as error:
        problem = str(error).removeprefix("image: ")
    return content, _Examined(len(content), content_digest(content), origin, size, problem)


def _common_folder(ids: Iterable[str]) -> str:
    """Returns the folder that all ids begin with, so that records do not depend on where it is; "" if there is none.

    >>> _common_folder(["/data/train/a/1.jpg", "/data/train/b/1.jpg", "/data/test/a/1.jpg"])
    '/data/'
    """
    common = os.path.commonprefix(list(ids))  # noqa: RUF071  what is left of a name is cut off
    return common[: common.rfind("/") + 1]


def _further_classes(source: Source, datasets: Mapping[str, Dataset]) -> list[str]:
    """Returns the classes of which the training split has no images, if the source was opened with such.

    None of a source with objects, whose classes are those of all splits.
    """
    train = find_split("train", source.splits)
    if not source.options.further_classes or source.drawn or train is None or datasets[train].has_objects:
        return []
    counts = datasets[train].class_counts()
    return [name for name, count in zip(datasets[train].class_names, counts.tolist(), strict=True) if not count]
