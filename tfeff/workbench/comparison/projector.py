"""Files for TensorBoard's projector: feature vectors, their classes and thumbnails."""

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from tensorboard.plugins import projector

from tfeff.durable import write

THUMBNAIL = 32  # pixels
NOT_IN_FILE_NAMES = r"[^\w.-]+"


def write_projector(
    directory: Path, embeddings: Mapping[str, np.ndarray], metadata: Mapping[str, Sequence[str]], images: np.ndarray
) -> None:
    """Writes the embeddings of the same examples by several models.

    Args:
        directory: a directory of event files.
        embeddings: name of a model -> float [n, d].
        metadata: title of a column -> n texts.
        images: uint8 [n, 32, 32, 1 or 3].
    """
    folder = directory / "projector"
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(sprite(images)).save(folder / "sprite.png")
    rows = ["\t".join(map(_plain, row)) for row in zip(*metadata.values(), strict=True)]
    header = ["\t".join(map(_plain, metadata))] if len(metadata) > 1 else []  # a single column must have none
    write(folder / "metadata.tsv", "\n".join([*header, *rows]) + "\n")
    config = projector.ProjectorConfig()
    for number, (name, vectors) in enumerate(embeddings.items()):
        file = f"{number}_{re.sub(NOT_IN_FILE_NAMES, '_', name)}.tsv"
        lines = ["\t".join(f"{value:.6g}" for value in vector) for vector in vectors.tolist()]
        write(folder / file, "\n".join(lines) + "\n")
        embedding = config.embeddings.add()
        embedding.tensor_name = name
        embedding.tensor_path = f"projector/{file}"
        embedding.metadata_path = "projector/metadata.tsv"
        embedding.sprite.image_path = "projector/sprite.png"
        embedding.sprite.single_image_dim.extend([THUMBNAIL, THUMBNAIL])
    projector.visualize_embeddings(str(directory), config)


def sprite(images: np.ndarray) -> np.ndarray:
    """Arranges n images, uint8 [n, h, w, 1 or 3], row by row in a square grid: uint8 [r · h, r · w, 3]."""
    n, height, width, channels = images.shape
    side = math.ceil(math.sqrt(n))
    grid = np.zeros((side * side, height, width, 3), np.uint8)
    grid[:n] = images if channels == 3 else np.repeat(images, 3, axis=3)
    return grid.reshape(side, side, height, width, 3).swapaxes(1, 2).reshape(side * height, side * width, 3)


def _plain(text: str) -> str:
    return " ".join(text.split())
