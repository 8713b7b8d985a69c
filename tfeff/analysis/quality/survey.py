"""One pass over the images of a split: all that the checks measure on pixels, from one decoding of each image."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from tfeff.analysis.pixel_statistics import in_chunks
from tfeff.data.dataset import Dataset, evenly_spaced
from tfeff.data.images import decoding, header
from tfeff.data.images.storage import content_digest
from tfeff.errors import UserError

Place = tuple[str, int]
"""An image: (split, position in the survey of the split)."""
VIEW = 512
"""Side of the images on which sharpness is measured, at most: what networks see, not what the sensor resolved."""
THUMBNAIL = 16
"""Side of the thumbnails by which images are compared."""
MIN_CONTRAST = 8
"""Gray levels; below it, edges are noise."""


class Measurements(NamedTuple):
    """What is measured on one image.

    Attributes:
        digest: digest of the file's bytes.
        size: (height, width).
        lowest: its lowest value, in [0, 255].
        highest: its highest value.
        dark: the gray level that 5 % of its pixels stay below.
        bright: the gray level that 95 % of its pixels stay below.
        sharpness: strength of its strongest edges (99.5th percentile of the absolute Laplacian) relative to its
            contrast, at no more than VIEW pixels a side. Sharp photographs have 0.2 to 2; blur with a standard
            deviation of one pixel leaves 0.07 to 0.3, of two pixels 0.03 to 0.13.
        hashes: perceptual hashes of the image and of its mirror image, uint64 [2] (OpenCV's pHash: signs of low
            frequencies of the cosine transform).
        thumbnail: uint8 [THUMBNAIL, THUMBNAIL, 3].
        time: when it was taken, in seconds, according to EXIF (`DateTimeOriginal`); NaN if EXIF does not say.
        camera: model and serial number of the camera according to EXIF; empty if EXIF does not say.
    """

    digest: bytes
    size: tuple[int, int]
    lowest: int
    highest: int
    dark: float
    bright: float
    sharpness: float
    hashes: npt.NDArray[np.uint64]
    thumbnail: npt.NDArray[np.uint8]
    time: float
    camera: str


@dataclass
class Survey:
    """The images of one split that were examined.

    Attributes:
        images: the split.
        examined: number of images that were opened.
        indices: int [n], places in the split of those that could be decoded.
        unreadable: id -> reason.
    """

    images: Dataset
    examined: int = 0
    indices: list[int] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)
    measured: list[Measurements] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.indices)

    @cached_property
    def ids(self) -> list[str]:
        """Their ids."""
        return [self.images.ids[index] for index in self.indices]

    @cached_property
    def digests(self) -> dict[bytes, list[str]]:
        """Digest of the bytes -> ids."""
        found = dict[bytes, list[str]]()
        for name, each in zip(self.ids, self.measured, strict=True):
            found.setdefault(each.digest, []).append(name)
        return found


def places_in(surveys: Mapping[str, Survey]) -> list[Place]:
    """Returns all images that could be decoded."""
    return [(role, index) for role, each in surveys.items() for index in range(len(each))]


def survey(images: Dataset, most: int, report: Callable[[int, int], None] = lambda done, total: None) -> Survey:
    """Decodes and measures images of a split.

    Args:
        most: number of images; of larger splits, so many are examined, evenly spaced.
        report: called with the number of images so far, and of all.
    """
    chosen = evenly_spaced(len(images), most).tolist()
    found = Survey(images, examined=len(chosen))
    for index, result in zip(chosen, _measured(images, chosen, report), strict=True):
        if isinstance(result, str):
            found.unreadable[images.ids[index]] = result
        else:
            found.indices.append(index)
            found.measured.append(result)
    return found


def _measured(images: Dataset, chosen: list[int], report: Callable[[int, int], None]) -> Iterator[Measurements | str]:
    """Yields the measurements of each image, or why it cannot be read."""

    def of(index: int) -> Measurements | str:
        try:
            encoded = images.encoded(index)
            return measure(encoded, decoding.decode(encoded, images.ids[index]))
        except (UserError, OSError) as error:
            return str(error)

    yield from in_chunks(of, chosen, report)


def measure(encoded: bytes, pixels: npt.NDArray[np.uint8]) -> Measurements:
    """Measures one image, uint8 [height, width, 3]; its bytes are read for their digest and EXIF."""
    gray = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    longest = max(gray.shape)
    view: npt.NDArray = gray
    if longest > VIEW:
        height, width = (max(1, round(side * VIEW / longest)) for side in gray.shape)
        view = cv2.resize(gray, (width, height), interpolation=cv2.INTER_AREA)
    levels = np.bincount(view.ravel(), minlength=256)
    low, dark, bright, high = (_level(levels, share) for share in (0.01, 0.05, 0.95, 0.99))
    edges = cv2.convertScaleAbs(cv2.Laplacian(view, cv2.CV_16S, ksize=1))
    strongest = _level(np.bincount(edges.ravel(), minlength=256), 0.995)
    time, camera = _exif(encoded)
    return Measurements(
        digest=content_digest(encoded),
        size=gray.shape,
        lowest=int(pixels.min()),
        highest=int(pixels.max()),
        dark=dark,
        bright=bright,
        sharpness=strongest / max(high - low, MIN_CONTRAST),
        hashes=np.array([_hash(each) for each in (view, np.ascontiguousarray(view[:, ::-1]))], np.uint64),
        thumbnail=np.asarray(cv2.resize(pixels, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA), np.uint8),
        time=time,
        camera=camera,
    )


def _level(counts: npt.NDArray[np.int64], share: float) -> float:
    """Returns the level that `share` of the pixels do not exceed."""
    return float(np.searchsorted(np.cumsum(counts), share * counts.sum()))


def _hash(gray: npt.NDArray) -> np.uint64:
    return cv2.img_hash.pHash(gray).ravel().view(np.uint64)[0]


_EXIF_BLOCK, _ORIGINAL_TIME, _MODEL, _SERIAL_NUMBER = 0x8769, 0x9003, 0x0110, 0xA431


def _exif(encoded: bytes) -> tuple[float, str]:
    """Reads when and by which camera an image was taken, as far as its EXIF block says it."""
    if not any(mark in encoded[: 1 << 16] for mark in (b"Exif", b"eXIf", b"EXIF")):
        return float("nan"), ""
    try:
        with header.opened(encoded) as image:
            tags = image.getexif()
            block = tags.get_ifd(_EXIF_BLOCK)
            text = block.get(_ORIGINAL_TIME) or ""
            names = (str(each or "").strip("\0 ") for each in (tags.get(_MODEL), block.get(_SERIAL_NUMBER)))
            camera = " ".join(name for name in names if name)
            return datetime.strptime(str(text).strip("\0 "), "%Y:%m:%d %H:%M:%S").timestamp(), camera
    except Exception:  # Pillow's readers raise errors of any kind for damaged blocks; an image without time is fine
        return float("nan"), ""
