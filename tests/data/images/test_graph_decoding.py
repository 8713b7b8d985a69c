import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tfeff.data.images import decoding, graph_decoding

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 24, 3), np.uint8)
SMOOTH = np.asarray(Image.fromarray(PIXELS[:4, :5]).resize((48, 36), Image.Resampling.BICUBIC))


def encoded(image: Image.Image, file_format: str, **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, file_format, **options)
    return stream.getvalue()


def opened(data: bytes, mode: str) -> np.ndarray:
    image = Image.open(io.BytesIO(data))
    if image.mode in ("RGBA", "LA"):
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    return np.asarray(image.convert("RGB").convert(mode))


LOSSLESS = [
    ("RGB", "PNG"), ("L", "PNG"), ("LA", "PNG"), ("RGBA", "PNG"), ("P", "PNG"), ("1", "PNG"),
    ("RGB", "BMP"), ("L", "BMP"), ("P", "BMP"), ("RGBA", "BMP"), ("P", "GIF"), ("L", "GIF"),
]  # fmt: skip


@pytest.mark.parametrize(("mode", "file_format"), LOSSLESS)
def test_lossless_formats_decode_as_in_pil(mode, file_format):
    data = encoded(Image.fromarray(PIXELS).convert(mode), file_format)
    np.testing.assert_array_equal(graph_decoding.decode(data, 3), opened(data, "RGB"))
    np.testing.assert_array_equal(graph_decoding.decode(data, 1)[..., 0], opened(data, "L"))


def test_palettes_shorter_than_256_colors():
    data = encoded(Image.fromarray(PIXELS).quantize(17), "BMP")
    np.testing.assert_array_equal(graph_decoding.decode(data, 3), opened(data, "RGB"))


@pytest.mark.parametrize("colors", [2, 4, 16, 256])
@pytest.mark.parametrize("options", [{}, {"transparency": 1}, {"transparency": b"\0\x80"}])
def test_palettes_of_any_bit_depth_decode_as_in_training(colors, options):
    data = encoded(Image.fromarray(PIXELS).quantize(colors), "PNG", **options)
    assert 2 ** data[24] == colors
    np.testing.assert_array_equal(graph_decoding.decode(data, 3), decoding.decode(data, "x"))


COARSE = PIXELS // 128 * 128
DEEP = COARSE[..., 0].astype(np.uint16) * 256 + 77


@pytest.mark.parametrize(
    ("image", "clear", "transparency"),
    [
        (Image.fromarray(COARSE), (COARSE == (0, 128, 0)).all(axis=-1), (0, 128, 0)),
        (Image.fromarray(COARSE[..., 0]), COARSE[..., 0] == 128, 128),
        (Image.fromarray(DEEP), DEEP == 77, 77),
    ],
)
def test_a_transparent_color_without_a_palette_is_white(image, clear, transparency):
    plain, keyed = encoded(image, "PNG"), encoded(image, "PNG", transparency=transparency)
    expected = np.where(clear[..., None], 255, graph_decoding.decode(plain, 3))
    np.testing.assert_array_equal(graph_decoding.decode(keyed, 3), expected)
    np.testing.assert_array_equal(decoding.decode(keyed, "x"), expected)


def test_a_truncated_palette_is_refused():
    data = encoded(Image.fromarray(PIXELS).quantize(16), "PNG")
    for length in range(26, len(data) - 12):
        with pytest.raises(tf.errors.InvalidArgumentError):
            graph_decoding.decode(data[:length], 3)


@pytest.mark.parametrize("length", [1 << 31, (1 << 32) - 12, (1 << 31) - 1])
def test_chunks_of_an_impossible_length_are_refused(length):
    data = encoded(Image.fromarray(PIXELS).quantize(16), "PNG")
    with pytest.raises(tf.errors.InvalidArgumentError):
        graph_decoding.decode(data[:33] + length.to_bytes(4, "big") + data[37:], 3)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg_decodes_as_in_pil_up_to_rounding(mode, progressive):
    data = encoded(Image.fromarray(SMOOTH).convert(mode), "JPEG", quality=95, progressive=progressive)
    np.testing.assert_allclose(graph_decoding.decode(data, 3).numpy().astype(int), opened(data, "RGB"), atol=1)
    np.testing.assert_allclose(graph_decoding.decode(data, 1).numpy()[..., 0].astype(int), opened(data, "L"), atol=1)


def test_webp_decodes_as_in_pil():
    data = encoded(Image.fromarray(PIXELS), "WEBP", lossless=True)
    np.testing.assert_array_equal(graph_decoding.decode(data, 3), PIXELS)


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("options", [{}, {"save_all": True}, {"exif": b"Exif\0\0II*\0" + bytes(8)}])
@pytest.mark.parametrize("lossless", [False, True])
def test_webp_with_transparency_and_animations_decode_as_in_training(channels, options, lossless):
    pixels = np.concatenate([PIXELS, PIXELS[::-1, :, :1]], axis=-1)[..., :channels]
    if "save_all" in options:
        options = options | {"append_images": [Image.fromarray(255 - pixels)]}
    data = encoded(Image.fromarray(pixels), "WEBP", lossless=lossless, **options)
    np.testing.assert_array_equal(graph_decoding.decode(data, 3), decoding.decode(data, "x"))


def test_16_bit_samples_lose_their_lower_byte():
    levels = PIXELS[..., 0].astype(np.uint16) * 256 + 77
    data = encoded(Image.fromarray(levels), "PNG")
    np.testing.assert_array_equal(graph_decoding.decode(data, 1)[..., 0], PIXELS[..., 0])


def test_the_first_frame_of_an_animation_is_decoded():
    frames = [Image.fromarray(PIXELS).quantize(64), Image.fromarray(255 - PIXELS).quantize(64)]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(graph_decoding.decode(data, 3), opened(data, "RGB"))


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "BMP", "WEBP"])
def test_truncated_files_are_refused(file_format):
    data = encoded(Image.fromarray(SMOOTH), file_format)
    for length in {*range(0, len(data), max(1, len(data) // 60)), *range(len(data) - 12, len(data))}:
        with pytest.raises(tf.errors.InvalidArgumentError):
            graph_decoding.decode(data[:length], 3)


@pytest.mark.parametrize("data", [b"", b"BM", b"hello", b"<html><body>404</body></html>", b"\xff\xd8\xff", b"\x89PNG"])
def test_files_that_are_not_images_are_refused(data):
    with pytest.raises(tf.errors.InvalidArgumentError):
        graph_decoding.decode(data, 3)
