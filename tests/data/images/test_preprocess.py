import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tfeff.data.images import preprocess

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 24, 3), np.uint8)
SMOOTH = np.asarray(Image.fromarray(PIXELS[:4, :5]).resize((48, 36), Image.Resampling.BICUBIC))


def encoded(image: Image.Image, file_format: str, **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, file_format, **options)
    return stream.getvalue()


def opened(data: bytes, mode: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB").convert(mode))


LOSSLESS = [
    ("RGB", "PNG"), ("L", "PNG"), ("LA", "PNG"), ("RGBA", "PNG"), ("P", "PNG"), ("1", "PNG"),
    ("RGB", "BMP"), ("L", "BMP"), ("P", "BMP"), ("RGBA", "BMP"), ("P", "GIF"), ("L", "GIF"),
]  # fmt: skip


@pytest.mark.parametrize(("mode", "file_format"), LOSSLESS)
def test_every_kind_of_image_decodes_as_pil_does(mode, file_format):
    data = encoded(Image.fromarray(PIXELS).convert(mode), file_format)
    np.testing.assert_array_equal(preprocess.decode(data, 3), opened(data, "RGB"))
    np.testing.assert_array_equal(preprocess.decode(data, 1)[..., 0], opened(data, "L"))


def test_palettes_shorter_than_256_colors():
    data = encoded(Image.fromarray(PIXELS).quantize(17), "BMP")
    np.testing.assert_array_equal(preprocess.decode(data, 3), opened(data, "RGB"))


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg_decodes_as_pil_does_up_to_the_rounding_of_colors(mode, progressive):
    data = encoded(Image.fromarray(SMOOTH).convert(mode), "JPEG", quality=95, progressive=progressive)
    np.testing.assert_allclose(preprocess.decode(data, 3).numpy().astype(int), opened(data, "RGB"), atol=1)
    np.testing.assert_allclose(preprocess.decode(data, 1).numpy()[..., 0].astype(int), opened(data, "L"), atol=1)


def test_pixels_are_taken_as_stored_whatever_orientation_exif_notes():
    picture, exif = Image.fromarray(SMOOTH), Image.Exif()
    exif[274] = 6  # Orientation: to be turned by 90 degrees.
    turned = preprocess.decode(encoded(picture, "JPEG", exif=exif), 3)
    np.testing.assert_array_equal(turned, preprocess.decode(encoded(picture, "JPEG"), 3))


def test_webp_decodes_as_pil_does():
    data = encoded(Image.fromarray(PIXELS), "WEBP", lossless=True)
    np.testing.assert_array_equal(preprocess.decode(data, 3), PIXELS)


def test_16_bit_samples_lose_their_lower_byte():
    levels = PIXELS[..., 0].astype(np.uint16) * 256 + 77
    data = encoded(Image.fromarray(levels), "PNG")
    np.testing.assert_array_equal(preprocess.decode(data, 1)[..., 0], PIXELS[..., 0])


def test_the_first_frame_of_an_animation_counts():
    frames = [Image.fromarray(PIXELS).quantize(64), Image.fromarray(255 - PIXELS).quantize(64)]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(preprocess.decode(data, 3), opened(data, "RGB"))


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "BMP", "WEBP"])
def test_no_truncated_file_passes_for_an_image(file_format):
    data = encoded(Image.fromarray(SMOOTH), file_format)
    for length in {*range(0, len(data), max(1, len(data) // 60)), *range(len(data) - 12, len(data))}:
        with pytest.raises(tf.errors.InvalidArgumentError):
            preprocess.decode(data[:length], 3)


@pytest.mark.parametrize("data", [b"", b"BM", b"hello", b"<html><body>404</body></html>", b"\xff\xd8\xff", b"\x89PNG"])
def test_what_is_no_image_is_refused(data):
    with pytest.raises(tf.errors.InvalidArgumentError):
        preprocess.decode(data, 3)


def bilinear(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Half-pixel centres, edges repeated; one output pixel at a time."""
    height, width = image.shape[:2]
    result = np.empty((*size, image.shape[2]))
    for y in range(size[0]):
        for x in range(size[1]):
            v = np.clip((y + 0.5) * height / size[0] - 0.5, 0, height - 1)
            u = np.clip((x + 0.5) * width / size[1] - 0.5, 0, width - 1)
            top, left = int(v), int(u)
            bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
            a, b = v - top, u - left
            upper = image[top, left] * (1 - b) + image[top, right] * b
            lower = image[bottom, left] * (1 - b) + image[bottom, right] * b
            result[y, x] = upper * (1 - a) + lower * a
    return result


@pytest.mark.parametrize("size", [(20, 24), (33, 24), (41, 50), (95, 95)])
def test_growing_is_plain_bilinear_interpolation(size):
    ours = preprocess.resize(PIXELS[None], size)
    assert ours.dtype == tf.float32
    np.testing.assert_allclose(ours[0], bilinear(PIXELS.astype(float), size), atol=1e-3)


@pytest.mark.parametrize("size", [(7, 9), (10, 12), (19, 23), (10, 50)])
def test_shrinking_is_antialiased_as_in_pil(size):
    theirs = Image.fromarray(PIXELS).resize(size[::-1], Image.Resampling.BILINEAR)
    np.testing.assert_allclose(preprocess.resize(PIXELS[None], size)[0], np.asarray(theirs, float), atol=1.1)


def test_the_loader_and_the_batch_are_resized_by_the_same_formula():
    for size in ((7, 9), (41, 50)):
        once = preprocess.fit(tf.constant(PIXELS), size).numpy()
        again = np.rint(preprocess.resize(PIXELS[None], size)[0]).clip(0, 255)
        # Computed in different orders and precisions: a value near a half may round either way.
        assert np.abs(once - again).max() <= 1
        assert (once == again).mean() > 0.97


def test_an_image_that_fits_is_left_alone():
    np.testing.assert_array_equal(preprocess.fit(tf.constant(PIXELS), (20, 24)), PIXELS)
