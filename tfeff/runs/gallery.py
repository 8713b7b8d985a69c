"""A gallery: a few images of each class, known by their vectors, to recognize classes without training.

A folder has a folder of images for each class; one image of a class is enough. The similarity of an image to a class is
the mean of its cosine similarities to the nearest images of the class.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tfeff.data.sources import catalog
from tfeff.data.sources.source import Options
from tfeff.data.splits import ALL
from tfeff.errors import UserError

UNKNOWN = "unknown"
"""The class of images that are not similar enough to any other."""
_TOGETHER = 32  # images read together


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
    """

    directory: Path
    class_names: tuple[str, ...]
    labels: npt.NDArray[np.int32]
    vectors: npt.NDArray[np.float32]
    neighbors: int = 1
    threshold: float | None = None
    chosen: bool = False

    def similarities(self, vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """The similarity of each image to each class.

        Args:
            vectors: float32 [n, d], of length 1.

        Returns:
            float32 [n, classes], in [-1, 1].
        """
        found = vectors @ self.vectors.T
        ends = np.searchsorted(self.labels, np.arange(len(self.class_names) + 1))
        columns = [
            np.sort(found[:, start:end], axis=1)[:, -self.neighbors :].mean(axis=1) for start, end in pairwise(ends)
        ]
        return np.clip(np.stack(columns, axis=1), -1, 1)

    @property
    def notes(self) -> tuple[str, str]:
        """What users should know about it, one line each."""
        counts = f"{len(self.labels):,} images of {len(self.class_names):,} classes from {self.directory}"
        if self.threshold is None:
            return f"gallery: {counts}", (
                "no image is reported as unknown: the run had no validation images to find a threshold with; give one "
                "with --threshold"
            )
        origin = "" if self.chosen else ", the equal error rate on the validation images (--threshold changes it)"
        return f"gallery: {counts}", f"unknown below a similarity of {self.threshold:.3f}{origin}"


def read_gallery(
    directory: Path,
    embed: Callable[[Sequence[tuple[str, bytes]]], npt.NDArray[np.float32]],
    *,
    neighbors: int,
    threshold: float | None,
    chosen: bool,
) -> Gallery:
    """Computes the vectors of all images of a gallery.

    Args:
        directory: with a folder for each class.
        embed: (name, contents) of image files -> float32 [n, d], of length 1.
        neighbors, threshold, chosen: see `Gallery`.

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
    vectors, order = list[npt.NDArray[np.float32]](), np.argsort(images.labels, kind="stable")
    for start in range(0, len(order), _TOGETHER):
        part = [images.ids[index] for index in order[start : start + _TOGETHER]]
        try:
            vectors.append(embed([(path, Path(path).read_bytes()) for path in part]))
        except (OSError, UserError) as error:
            raise UserError(f"{where}: {error}; replace or remove the image") from None
    return Gallery(
        directory, images.class_names, images.labels[order], np.concatenate(vectors), neighbors, threshold, chosen
    )
