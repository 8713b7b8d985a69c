"""Images that Python callers give, as files or arrays, and predictions for them."""

import glob
import os
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from tfeff.data.images import decoding
from tfeff.errors import UserError, printable
from tfeff.reporting.terminal import say
from tfeff.runs.prediction import find_images, unreadable
from tfeff.runs.predictors import Predictor, batched
from tfeff.runs.results import Prediction

Given = str | os.PathLike[str] | np.ndarray | Image.Image
Images = Given | Iterable[Given]
"""A file, a folder or a pattern such as `new/*.jpg`; images, uint8 [height, width, 3] or [n, height, width, 3], or of
Pillow; or several of them."""
Named = tuple[str, Path | np.ndarray]
"""An image: a name, and its file or its pixels."""
Corrupt = Literal["error", "skip"]
"""What happens to images that cannot be read."""


def check_corrupt(corrupt_images: str) -> None:
    """Checks an argument that should be `Corrupt`.

    Raises:
        UserError: it is not.
    """
    if corrupt_images not in ("error", "skip"):
        raise UserError(f'corrupt_images="{corrupt_images}": give "error" or "skip"')


def predict(predictor: Predictor, images: Iterable[Named], corrupt_images: Corrupt) -> list[Prediction]:
    """Predicts for images, and says what the user should know about the model.

    Args:
        predictor: the model.
        images: what `listed` returns.
        corrupt_images: `error`, or `skip` with a warning.

    Raises:
        UserError: there are none, or one cannot be read, unless `skip`.
    """
    for note in predictor.notes:
        say(note, error=True)
    found, damaged = list[Prediction](), list[str]()
    for part in batched(images, predictor.batch_size):
        for predicted in _predicted(predictor, part):
            if isinstance(predicted, Prediction):
                found.append(predicted)
            elif corrupt_images == "error":
                raise UserError(f'{predicted}; replace or remove it, or give corrupt_images="skip"') from predicted
            else:
                damaged.append(str(predicted))
    if not found and not damaged:
        raise UserError("there are no images to predict for")
    if damaged:
        warnings.warn(printable(f"skipped {len(damaged)} images; the first: {damaged[0]}"), stacklevel=3)
    return found


def listed(images: Images) -> Iterable[Named]:
    """Yields (name, file or pixels) of each image.

    Raises:
        UserError: there are none, or one is not an image.
    """
    images = _array(images)
    if isinstance(images, Image.Image):
        images = decoding.of_pillow(images, "the Pillow image")
    if isinstance(images, str | os.PathLike):
        for path in _files(os.path.expanduser(images)):
            yield str(path), path
    elif isinstance(images, np.ndarray):
        for number, pixels in enumerate(images if images.ndim == 4 else images[None]):
            yield f"[{number}]", _pixels(pixels)
    elif not isinstance(images, Iterable):
        raise UserError(f"{images!r} is not an image; give files, uint8 [height, width, 3] or Pillow images")
    else:
        number = 0
        for each in map(_array, images):
            if isinstance(each, np.ndarray | Image.Image):
                for _, pixels in listed(each):
                    yield f"[{number}]", pixels
                    number += 1
            else:
                yield from listed(each)


def _array(given: Any) -> Any:
    """Returns a tensor of any package as an array; anything else as it is."""
    other = hasattr(given, "__array__") and not isinstance(given, np.ndarray | Image.Image)
    return np.asarray(given) if other else given


def _pixels(image: np.ndarray) -> np.ndarray:
    """Returns uint8 [height, width, 3].

    Raises:
        UserError: it is not an image.
    """
    if image.ndim == 2:
        image = image[..., None]
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] not in (1, 3) or not image.size:
        raise UserError(
            f"an array of shape {image.shape} and type {image.dtype} is not an image; give uint8 values from 0 to 255, "
            "[height, width, 3]"
        )
    return np.ascontiguousarray(np.broadcast_to(image, (*image.shape[:2], 3)))


def _files(path: str) -> list[Path]:
    """Returns the image files that a path or a pattern stands for.

    Raises:
        UserError: there are none.
    """
    if Path(path).exists() or not glob.has_magic(path):
        notes = list[str]()
        paths = find_images(Path(path), notes=notes)
        for note in notes:
            say(note, error=True)
        return list(paths.values())
    found = [Path(each) for each in sorted(glob.glob(path, recursive=True)) if os.path.isfile(each)]
    if not found:
        raise UserError(f"--images={path}: no file matches")
    return found


def _predicted(predictor: Predictor, images: Sequence[Named]) -> list[Prediction | UserError]:
    """Predicts for images, files or arrays, in their order."""
    found = dict[int, Prediction | UserError]()
    encoded, pixels = dict[int, tuple[str, bytes]](), dict[int, tuple[str, np.ndarray]]()
    for number, (name, image) in enumerate(images):
        if isinstance(image, np.ndarray):
            pixels[number] = name, image
            continue
        try:
            encoded[number] = name, image.read_bytes()
        except OSError as error:
            found[number] = UserError(f"{name}: {unreadable(image, error)}")
    if pixels:
        found |= zip(pixels, predictor.predict_pixels(list(pixels.values())), strict=True)
    if encoded:
        found |= zip(encoded, predictor.predict(list(encoded.values())), strict=True)
    # Files in place of their bytes, so that many predictions need little memory.
    sources = {number: image for number, (_, image) in enumerate(images)}
    return [
        each if isinstance(each, UserError) else replace(each, source=sources[number])
        for number, each in sorted(found.items())
    ]
