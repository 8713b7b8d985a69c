"""Images of a folder without labels or objects, to imitate a teacher on."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from tfeff.data.dataset import Dataset, Objects
from tfeff.data.defects import Defects
from tfeff.data.images.storage import ImageFiles
from tfeff.data.sources import files
from tfeff.errors import UserError


def load(
    directory: str,
    class_names: Sequence[str],
    channels: int,
    *,
    objects: bool,
    on_defect: Literal["report", "stop"] = "report",
    where: str = "config: data.unlabeled",
) -> Dataset:
    """Returns all images below a folder. Their labels, all 0, or their objects, none, mean nothing.

    Images without a readable header are among them, with the size 0x0: where images are decoded, all corrupt ones are
    refused or skipped together.

    Args:
        directory: the folder.
        class_names: class names of the labeled images.
        channels: see `Dataset`.
        objects: whether images have objects instead of labels.
        on_defect: see `config.Data`.
        where: the setting that names the folder, for messages.

    Raises:
        UserError: no such folder, or no images.
    """
    root = os.path.expanduser(directory)
    if not os.path.isdir(root):
        raise UserError(f"{where}: no folder {root}")
    found, defects = files.find(root), Defects(on_defect)
    found.report(defects, root)
    if not found.paths:
        raise UserError(f"{where}: no images in {root}: {files.contents(root)}")
    images = ImageFiles([Path(root, path) for path in found.paths])
    none = Objects(np.zeros((0, 4), np.float32), np.zeros(0, np.int32), np.zeros(0, bool), np.zeros(0, bool))
    count = len(found.paths)
    return Dataset(
        name=f"unlabeled:{root}",
        class_names=tuple(class_names),
        ids=[f"{root}/{path}" for path in found.paths],
        images=images,
        channels=channels,
        labels=np.zeros(0 if objects else count, np.int32),
        objects=[none] * count if objects else (),
        sizes=np.array([_size(images, i) for i in range(count)], np.int32) if objects else np.zeros((0, 2), np.int32),
        defects=defects,
        notes=found.note(root),
    )


def _size(images: ImageFiles, index: int) -> tuple[int, int]:
    try:
        return images.size(index)
    except (UserError, OSError):
        return 0, 0
