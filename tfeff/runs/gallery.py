"""A gallery: a few images of each class, known by their vectors, to recognize classes without training.

A folder has a folder of images for each class; one image of a class is enough. The similarity of an image to a class is
the mean of its cosine similarities to the nearest images of the class.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tfeff.data.sources import catalog
from tfeff.data.sources.source import Options
from tfeff.data.splits import ALL
from tfeff.errors import UserError
from tfeff.evaluation.unknown import ACCEPTED, unknown_threshold

UNKNOWN = "unknown"
"""The class of images that are not similar enough to any other."""


@dataclass(frozen=True)
class ImageFile:
    """What identifies the contents of an image file.

    Attributes:
        size: length in bytes.
        digest: BLAKE2b hash of the contents (16 bytes), in hexadecimal.
    """

    size: int
    digest: str

    @classmethod
    def of(cls, contents: bytes) -> "ImageFile":
        """Identifies the contents of a file."""
        return cls(len(contents), hashlib.blake2b(contents, digest_size=16).hexdigest())


@dataclass(frozen=True, eq=False)
class Gallery:
    """m images with their classes.

    Attributes:
        directory: where they are.
        class_names: one per class.
        labels: int [m], rising; each class has an image.
        vectors: float32 [m, d], of length 1.
        neighbors: how many of the nearest images of a class count, or all if it has fewer.
        threshold: minimum similarity to the nearest class; below it, the class is unknown. None: it is never.
        chosen: whether the threshold was given, instead of that of the run.
        files: the m image files.
        found: what users should know about the folder, one line each.
    """

    directory: Path
    class_names: tuple[str, ...]
    labels: npt.NDArray[np.int32]
    vectors: npt.NDArray[np.float32]
    neighbors: int = 1
    threshold: float | None = None
    chosen: bool = False
    files: tuple[ImageFile, ...] = ()
    found: tuple[str, ...] = ()

    def similarities(self, vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Returns the similarity of each image to each class.

        Args:
            vectors: float32 [n, d], of length 1.

        Returns:
            float32 [n, classes], in [-1, 1].
        """
        found = vectors @ self.vectors.T
        ends = np.searchsorted(self.labels, np.arange(len(self.class_names) + 1))
        if self.neighbors == 1:
            return np.clip(np.maximum.reduceat(found, ends[:-1], axis=1), -1, 1)
        nearest = [_largest(found[:, start:end], min(self.neighbors, end - start)) for start, end in pairwise(ends)]
        return np.clip(np.stack([each.mean(axis=1) for each in nearest], axis=1), -1, 1)

    @property
    def state(self) -> str:
        """A digest of its images, their classes, and how they are compared."""
        known = self.class_names, self.labels.tolist(), self.files, self.neighbors, self.threshold
        return hashlib.blake2b(repr(known).encode(), digest_size=16).hexdigest()

    @property
    def notes(self) -> tuple[str, ...]:
        """What users should know about it, one line each."""
        images = _counted(len(self.labels), "image", "images")
        line = f"gallery: {images} of {_counted(len(self.class_names), 'class', 'classes')} from {self.directory}"
        if self.threshold is None:
            threshold = (
                "no image is reported as unknown: the run had too few validation images, or too few of other classes, "
                "to find a threshold with; give one with --threshold"
            )
        else:
            threshold = f"unknown below a similarity of {self.threshold:.3f}"
            if not self.chosen:
                most = "about" if self.neighbors == 1 else f"with --neighbors={self.neighbors} fewer than"
                threshold += (
                    f"; by the validation images, {most} {100 * ACCEPTED:.0f} % of images of other classes reach it "
                    f"with a gallery of {images} (--threshold changes it)"
                )
        return *self.found, line, threshold

    def copies(self, images: Iterable[Path]) -> str | None:
        """Returns a warning about images that the gallery holds, too, and gallery images in several classes, if any.

        Args:
            images: files; those that cannot be read are skipped.
        """
        classes = dict[ImageFile, set[int]]()
        for file, label in zip(self.files, self.labels.tolist(), strict=True):
            classes.setdefault(file, set()).add(label)
        ambiguous = sum(len(classes[file]) > 1 for file in self.files)
        sizes, known = {file.size for file in self.files}, 0
        for path in images:
            try:
                known += path.stat().st_size in sizes and ImageFile.of(path.read_bytes()) in classes
            except OSError:
                continue
        if not known and not ambiguous:
            return None
        return (
            f"warning: identical files: images that are also in the gallery: {known:,}; gallery images that are in "
            f"several classes: {ambiguous:,}"
        )


def read_gallery(
    directory: Path,
    embed: Callable[[Sequence[tuple[str, bytes]]], npt.NDArray[np.float32]],
    *,
    neighbors: int,
    threshold: float | None,
    unknown: Mapping[int, float],
    together: int,
    progress: Callable[[int], None] = lambda done: None,
) -> Gallery:
    """Computes the vectors of all images of a gallery.

    Args:
        directory: a folder with a folder for each class.
        embed: (name, contents) of image files -> float32 [n, d], of length 1.
        neighbors: see `Gallery`.
        threshold: see `Gallery`; None: `unknown_threshold` for as many images.
        unknown: `evaluation.unknown_thresholds`.
        together: images that are passed to `embed` at once.
        progress: called with the number of images done.

    Raises:
        UserError: there are no folders of images, an image cannot be read, or a class is called `unknown`.
    """
    where = f"--gallery={directory}"
    if not directory.is_dir():
        raise UserError(f"{where}: no such folder; give one that has a folder of images for each class")
    if neighbors < 1:
        raise UserError(f"--neighbors={neighbors}: give 1 or more")
    if threshold is not None and not -1 <= threshold <= 1:
        raise UserError(f"--threshold={threshold:g}: similarities are between -1 and 1")
    try:
        images = catalog.open_labels(f"folder:{directory}", Options(on_defect="stop")).load(ALL)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    if UNKNOWN in images.class_names:
        raise UserError(f'{where}: a class cannot be called "{UNKNOWN}"; rename its folder')
    vectors, files = list[npt.NDArray[np.float32]](), list[ImageFile]()
    order = np.argsort(images.labels, kind="stable")
    for start in range(0, len(order), together):
        try:
            paths = [images.ids[index] for index in order[start : start + together]]
            part = [(path, Path(path).read_bytes()) for path in paths]
            vectors.append(embed(part))
        except (OSError, UserError) as error:
            raise UserError(f"{where}: {error}; replace or remove the image") from None
        files += [ImageFile.of(contents) for _, contents in part]
        progress(len(files))
    return Gallery(
        directory,
        images.class_names,
        images.labels[order],
        np.concatenate(vectors),
        neighbors,
        unknown_threshold(unknown, len(order)) if threshold is None else threshold,
        chosen=threshold is not None,
        files=tuple(files),
        found=images.notes,
    )


def _largest(values: npt.NDArray[np.float32], count: int) -> npt.NDArray[np.float32]:
    """Returns the largest values of each row, in rising order: float32 [n, count]."""
    return np.sort(np.partition(values, -count, axis=1)[:, -count:], axis=1)


def _counted(number: int, one: str, several: str) -> str:
    return f"{number:,} {one if number == 1 else several}"
