"""Images that are given to a model."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from tests.runs.bright_squares import SquaresPredictor
from tfeff.data.images import decoding
from tfeff.errors import UserError
from tfeff.runs import given


@pytest.mark.parametrize("images", [[], np.zeros((0, 8, 8, 3), np.uint8)])
def test_an_error_if_there_are_no_images(images: Any) -> None:
    with pytest.raises(UserError, match="there are no images"):
        given.predict(SquaresPredictor(), given.listed(images), "error")


def image(mode: str) -> Image.Image:
    """Returns an image of 8 x 6 pixels; the left half of one with transparency is transparent."""
    gradient = Image.fromarray(np.arange(0, 192, 4, dtype=np.uint8).reshape(6, 8))
    if mode == "RGB":
        return Image.merge("RGB", [gradient, ImageOps.flip(gradient), ImageOps.mirror(gradient)])
    found = gradient.convert(mode)
    if mode == "LA":
        found.putalpha(Image.fromarray(np.repeat(np.uint8([[0, 255]]), 4, axis=1).repeat(6, axis=0)))
    return found


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "1", "LA", "I;16"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_images_of_pillow_are_used_as_their_files(mode: str, orientation: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    image(mode).save(tmp_path / "a.png", exif=exif)
    stored = decoding.decode((tmp_path / "a.png").read_bytes(), "a.png")
    assert stored.shape == ((6, 8, 3) if orientation == 1 else (8, 6, 3))
    opened = Image.open(tmp_path / "a.png")
    (alone,) = given.listed(opened)
    (listed, copied) = given.listed([opened, opened.copy()])
    assert (alone[0], listed[0], copied[0]) == ("[0]", "[0]", "[1]")
    for _, pixels in (alone, listed, copied):
        assert np.array_equal(pixels, stored)


def test_tensors_are_images() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 6, 8, 3), np.uint8)
    batch = tf.data.Dataset.from_tensor_slices(pixels)
    for images in (tf.constant(pixels), list(tf.constant(pixels)), batch):
        found = dict(given.listed(images))
        assert list(found) == ["[0]", "[1]"]
        np.testing.assert_array_equal(np.stack(list(found.values())), pixels)
    with pytest.raises(UserError, match="uint8"):
        list(given.listed(tf.zeros((6, 8, 3))))


@pytest.mark.parametrize("images", [3, None, [3], [None], b"x", {4}])
def test_other_things_are_no_images(images: Any) -> None:
    with pytest.raises(UserError, match="is not an image; give files, uint8"):
        list(given.listed(images))


def test_a_corrupt_image_of_pillow_is_an_error() -> None:
    file = io.BytesIO()
    image("RGB").resize((64, 64)).save(file, "JPEG")
    opened = Image.open(io.BytesIO(file.getvalue()[:-20]))
    with pytest.raises(UserError, match="corrupt image"):
        list(given.listed(opened))
