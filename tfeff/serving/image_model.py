"""Exported models of networks that are no detectors: one interface for all formats, and their SavedModels."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import tensorflow as tf

from tfeff.data.images import decoding
from tfeff.serving.detector import load
from tfeff.serving.interface import METADATA, read

STACKED_BYTES = 2**26
"""Images of one size are passed to a model in one array if it is no larger: models that fit images need several times
as much memory."""


class ImageModel(Protocol):
    """An exported model of any format, but that of a detector.

    Attributes:
        class_names: C.
        outputs: their names.
        metadata: the file with its metadata.
    """

    class_names: tuple[str, ...]
    outputs: frozenset[str]
    metadata: Path

    def predict(self, images: Sequence[np.ndarray]) -> Mapping[str, np.ndarray]:
        """Returns the outputs for images, uint8 [height, width, 3], of any sizes; boxes are in pixels of the images."""
        ...


class SavedImageModel:
    """The SavedModel of a network that is no detector; see `ImageModel`.

    Args:
        directory: its folder.

    Raises:
        UserError: it, or its metadata, is missing or damaged.
    """

    def __init__(self, directory: Path) -> None:
        self.metadata, self._model = directory / METADATA, load(directory)
        self._of_bytes = self._model.signatures["serving_bytes"]
        self._of_pixels = self._model.signatures["serving_default"]
        self._channels = self._of_pixels.structured_input_signature[1]["images"].shape[-1]
        self.class_names = tuple(read(self.metadata)["class_names"])
        self.outputs = frozenset(self._of_bytes.structured_outputs)

    def predict(self, images: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """See `ImageModel`. Images of different sizes are passed on as bitmaps, which cost little to read."""
        if len({image.shape for image in images}) == 1 and sum(image.nbytes for image in images) <= STACKED_BYTES:
            pixels = np.stack([decoding.in_channels(image, self._channels) for image in images])
            outputs = self._of_pixels(images=tf.constant(pixels))
        else:
            with ThreadPoolExecutor() as threads:
                outputs = self._of_bytes(encoded=tf.constant(list(threads.map(_bitmap, images))))
        return {name: values.numpy() for name, values in outputs.items()}


def _bitmap(pixels: np.ndarray) -> bytes:
    """Returns an image as a BMP file."""
    return cv2.imencode(".bmp", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))[1].tobytes()
