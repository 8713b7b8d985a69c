"""Where the images of a cache come from: one process decodes them, and others on the machine share what it found."""

import dataclasses
import hashlib
from functools import partial
from pathlib import Path

import numpy as np

from tfeff.data.dataset import Dataset
from tfeff.data.images.resizing import REFUSING
from tfeff.data.images.unreadable import REPLACE, unreadable_images
from tfeff.data.input.decoding import Decoding, form_of
from tfeff.data.input.disk_cache import DiskCache, StoredImages, UnreadableList
from tfeff.errors import UserError
from tfeff.execution.resources import free_memory

_DECODER = "upright, also AVIF"  # Changes with what files are decoded to, so that older caches on disk are not used.


def stored_images(decoding: Decoding, directory: Path) -> StoredImages:
    """Returns the images of the disk cache in a directory; decodes them if no other process has.

    Those that could not be read are tried again; if any can be read now, all images are decoded again. Their reasons
    are the note of the result.

    Raises:
        UserError: the images do not fit on the disk.
    """
    dataset = decoding.dataset
    form = form_of(decoding.size, decoding.fit, decoding.interpolation, decoding.reduced)
    key = _key(dataset, *form)
    cache = DiskCache(directory / f"images-{key}")
    stored = _retried(decoding, cache.opened())
    if stored is None:
        with cache.locked(partial(decoding.progress, 0, len(dataset))):
            stored = _retried(decoding, cache.opened())
            if stored is None:
                layout, size = decoding.plan()
                with cache.filling(layout, size) as (memory, kept):
                    kept["note"] = list(decoding.run(memory, layout).items())
                stored = cache.opened()
                if stored is None:
                    raise UserError(f"{cache.folder}: is damaged although it was just written; check the disk")
                return stored
    decoding.progress(len(dataset), len(dataset))
    return stored


def _retried(decoding: Decoding, stored: StoredImages | None) -> StoredImages | None:
    """Returns stored images with the reasons why some cannot be read now; None if one of these can be."""
    if stored is None or not stored.note:
        return stored
    indices = np.array([index for index, _ in stored.note])
    again = dataclasses.replace(decoding, dataset=decoding.dataset.take(indices), progress=lambda done, total: None)
    layout, size = again.plan()
    reasons = again.run(np.empty(size, np.uint8), layout)
    if len(reasons) < len(indices):
        return None
    return dataclasses.replace(stored, note=[(int(indices[place]), why) for place, why in reasons.items()])


def failures(decoding: Decoding, directory: str | Path | None, *, readable: bool = False) -> dict[int, str]:
    """Returns index -> reason of images that cannot be read, or if all are `readable`, of those too thin for the size.

    With a directory, only the first process decodes all images; later ones decode those that it could not read. So do
    all processes if the images have been decoded before, as those of records when they were written; they also decode
    those that are too thin for the size, or that exceed the limit of pixels here.
    """
    dataset = decoding.dataset
    known = np.zeros(0, np.int64) if readable else dataset.images.undecodable()
    if known is not None:
        found = decoding.failures(sorted({*known.tolist(), *decoding.doubtful()}))
        decoding.progress(len(dataset), len(dataset))
        return found
    if directory is None:
        return decoding.run(None, None)
    form: tuple[object, ...] = (decoding.size, decoding.fit) if decoding.fit in REFUSING else ()
    listed = UnreadableList(Path(directory) / f"unreadable-{_key(dataset, *form)}")
    indices = listed.indices()
    if indices is None:
        with listed.locked(partial(decoding.progress, 0, len(dataset))):
            indices = listed.indices()
            if indices is None:
                found = decoding.run(None, None)
                listed.write(found)
                return found
    found = decoding.failures(indices)
    decoding.progress(len(dataset), len(dataset))
    return found


def require_memory(dataset: Dataset, needed: int) -> None:
    """Refuses to keep more bytes in memory than are free; the system would kill the process instead."""
    free = free_memory()
    if needed > free:
        raise UserError(
            f"{dataset.name}: to keep {len(dataset):,} decoded images in memory takes {needed / 1e6:,.0f} MB, and "
            f"{free / 1e6:,.0f} MB are free. Set data.cache=disk with data.cache_directory, or data.cache=none"
        )


def _key(dataset: Dataset, *form: object) -> str:
    """Returns what identifies the images of a dataset in a form, whatever their labels or objects."""
    text = f"{_DECODER} {dataset.pixels_fingerprint} {dataset.channels} {form}"
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def require_intact(dataset: Dataset, corrupt: dict[int, str], corrupt_images: str, advice: str) -> None:
    """Refuses corrupt images (index -> reason), unless `corrupt_images` is `skip` and enough others are left.

    `advice` says what to do about an error, see `unreadable_images`.
    """
    if not corrupt:
        return
    reasons = {dataset.ids[index]: why for index, why in corrupt.items()}
    if corrupt_images == "error":
        raise UserError(unreadable_images(dataset.name, len(dataset), reasons, advice))
    found = unreadable_images(dataset.name, len(dataset), reasons, "")
    if len(corrupt) == len(dataset):
        raise UserError(f"{found}\nno images are left; {REPLACE}")
    if not dataset.has_labels:
        return
    emptied = np.setdiff1d(dataset.labels, np.delete(dataset.labels, list(corrupt)))
    if len(emptied):
        raise UserError(f'{found}\nwithout them, class "{dataset.class_names[emptied[0]]}" has no images')
