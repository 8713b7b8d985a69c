"""Photographs of all kinds, written by Pillow and read back; damaged ones are named."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tfeff.data.images import decoding, graph_decoding
from tfeff.data.images.decoding import Headers
from tfeff.data.sources.source import Options
from tfeff.data.sources.voc import VOC
from tfeff.errors import UserError

HEIGHT, WIDTH = 34, 50
ROTATED = 6
"""EXIF: the camera was turned by a quarter."""


@pytest.fixture
def scene():
    """Smooth colors uint8 [34, 50, 3], so that JPEG hardly changes them."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([rows * 7, columns * 5, 255 - rows * 3 - columns], axis=-1).astype(np.uint8)


def encoded(image, form, **options):
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def pixels_or_message(content, name):
    try:
        return decoding.decode(content, name)
    except UserError as error:
        return str(error)


def rotated():
    exif = Image.Exif()
    exif[0x0112] = ROTATED
    return exif


def test_rgb_is_decoded_exactly_in_rgb_order(scene):
    for form in ("PNG", "BMP"):
        assert np.array_equal(decoding.decode(encoded(Image.fromarray(scene), form), "x"), scene)
    assert np.array_equal(decoding.decode(encoded(Image.fromarray(scene), "WEBP", lossless=True), "x"), scene)


def test_gray_is_the_same_in_all_channels(scene):
    gray = scene[..., 0]
    for form in ("PNG", "BMP", "GIF"):
        pixels = decoding.decode(encoded(Image.fromarray(gray), form), "x")
        assert np.array_equal(pixels, np.repeat(gray[..., None], 3, axis=-1))
    pixels = decoding.decode(encoded(Image.fromarray(gray), "JPEG", quality=95), "x").astype(int)
    assert (pixels == pixels[..., :1]).all()
    assert np.abs(pixels - gray[..., None]).max() < 8


def test_sixteen_bits_lose_their_lower_byte(scene):
    deep = scene[..., 0].astype(np.uint16) * 256 + 77
    pixels = decoding.decode(encoded(Image.fromarray(deep), "PNG"), "x")
    assert pixels.dtype == np.uint8
    assert np.array_equal(pixels, np.repeat(scene[..., :1], 3, axis=-1))


def test_one_bit_is_black_and_white(scene):
    bits = scene[..., 0] > 100
    pixels = decoding.decode(encoded(Image.fromarray(bits), "PNG"), "x")
    assert np.array_equal(pixels, np.repeat(bits[..., None], 3, axis=-1) * np.uint8(255))


def test_palettes_become_their_colors():
    indices = np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH).astype(np.uint8) % 7
    colors = np.random.default_rng(0).integers(0, 256, (7, 3), np.uint8)
    image = Image.fromarray(indices, "P")
    image.putpalette(colors.tobytes())
    for form in ("PNG", "GIF"):
        assert np.array_equal(decoding.decode(encoded(image, form), "x"), colors[indices])


def test_transparency_is_dropped_and_hidden_pixels_stay(scene):
    alpha = np.linspace(0, 255, HEIGHT * WIDTH).astype(np.uint8).reshape(HEIGHT, WIDTH, 1)
    pixels = decoding.decode(encoded(Image.fromarray(np.concatenate([scene, alpha], axis=-1)), "PNG"), "x")
    assert np.array_equal(pixels, scene)
    gray = Image.fromarray(np.concatenate([scene[..., :1], alpha], axis=-1), "LA")
    assert np.array_equal(decoding.decode(encoded(gray, "PNG"), "x"), np.repeat(scene[..., :1], 3, axis=-1))


def test_cmyk_has_the_colors_of_its_inks():
    inks = {(255, 0, 0, 0): (0, 255, 255), (0, 255, 0, 0): (255, 0, 255), (0, 0, 255, 0): (255, 255, 0)}
    inks |= {(0, 0, 0, 255): (0, 0, 0), (0, 0, 0, 0): (255, 255, 255), (0, 0, 0, 128): (127, 127, 127)}
    for ink, color in inks.items():
        pixels = decoding.decode(encoded(Image.new("CMYK", (WIDTH, HEIGHT), ink), "JPEG", quality=95), "x")
        assert pixels.shape == (HEIGHT, WIDTH, 3)
        assert np.abs(pixels.astype(int) - color).max() < 12


def test_exif_orientation_is_ignored(scene, tmp_path):
    turned = encoded(Image.fromarray(scene), "JPEG", quality=95, exif=rotated())
    plain = encoded(Image.fromarray(scene), "JPEG", quality=95)
    assert Image.open(io.BytesIO(turned)).getexif()[0x0112] == ROTATED
    assert np.array_equal(decoding.decode(turned, "x"), decoding.decode(plain, "x"))
    (tmp_path / "turned.jpg").write_bytes(turned)
    assert decoding.size(tmp_path / "turned.jpg") == (HEIGHT, WIDTH)


@pytest.mark.parametrize(
    ("mode", "form", "options"),
    [
        ("RGB", "JPEG", {}),
        ("RGB", "JPEG", {"progressive": True}),
        ("RGB", "JPEG", {"exif": rotated()}),
        ("CMYK", "JPEG", {}),
        ("CMYK", "JPEG", {"exif": rotated()}),
        ("L", "JPEG", {}),
        ("RGB", "PNG", {}),
        ("RGB", "PNG", {"exif": rotated()}),
        ("RGBA", "PNG", {}),
        ("P", "PNG", {}),
        ("I;16", "PNG", {}),
        ("1", "PNG", {}),
        ("RGB", "BMP", {}),
        ("P", "GIF", {}),
        ("RGB", "WEBP", {}),
        ("RGB", "WEBP", {"exif": rotated()}),
    ],
)
def test_the_size_in_the_header_is_that_of_the_pixels(tmp_path, mode, form, options):
    path = tmp_path / f"x.{form.lower()}"
    path.write_bytes(encoded(Image.new(mode, (WIDTH, HEIGHT)), form, **options))
    assert decoding.size(path) == (HEIGHT, WIDTH)
    pixels = decoding.decode(path.read_bytes(), "x")
    assert (pixels.shape, pixels.dtype) == ((HEIGHT, WIDTH, 3), np.uint8)
    assert pixels.flags.c_contiguous


@pytest.mark.parametrize(
    ("form", "options"),
    [
        ("PNG", {}),
        ("JPEG", {"quality": 95}),
        ("JPEG", {"progressive": True}),
        ("BMP", {}),
        ("GIF", {}),
        ("WEBP", {"lossless": True}),
    ],
)
def test_truncated_files_are_named_wherever_they_are_cut(form, options):
    noise = np.random.default_rng(0).integers(0, 256, (11, 15, 3), np.uint8)
    whole = encoded(Image.fromarray(noise), form, **options)
    pixels = decoding.decode(whole, "whole")
    for length in range(len(whole)):
        found = pixels_or_message(whole[:length], "folder/cut.jpg")
        if isinstance(found, str):
            assert found.startswith("folder/cut.jpg: ")
        else:  # what is missing are marks of the end
            assert np.array_equal(found, pixels)
            assert len(whole) - length <= 24


def test_a_truncated_jpeg_with_a_thumbnail_is_named(scene):
    """The thumbnail's end within the metadata is not the photograph's."""
    noise = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    thumbnail = encoded(Image.fromarray(scene), "JPEG")
    whole = encoded(Image.fromarray(noise), "JPEG", comment=thumbnail)
    for length in range(len(thumbnail) + 20, len(whole) - 2, 50):
        with pytest.raises(UserError, match=r"^cut: "):
            decoding.decode(whole[:length], "cut")


def test_a_jpeg_with_trailing_bytes_is_intact(scene):
    whole = encoded(Image.fromarray(scene), "JPEG")
    assert np.array_equal(decoding.decode(whole + bytes(5000), "x"), decoding.decode(whole, "x"))


@pytest.mark.parametrize(
    "content", [b"", b"\0", b"not an image", b"\xff\xd8", b"\x89PNG\r\n\x1a\n", b"GIF89a", bytes(99)]
)
def test_files_that_are_not_images_are_named(tmp_path, content):
    path = tmp_path / "thing.png"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"thing\.png: not an image"):
        decoding.size(path)
    with pytest.raises(UserError, match=r"^thing\.png: not an image"):
        decoding.decode(content, "thing.png")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"gone\.png"):
        decoding.size(tmp_path / "gone.png")
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match="folder"):
        decoding.size(tmp_path / "folder")


ORIENTATION = 0x0112


def smooth(mode):
    """A picture 40 high and 60 wide, dark at the left and light at the right, of a mode."""
    ramp = np.tile(np.linspace(20, 230, 60).astype(np.uint8), (40, 1))
    return Image.fromarray(np.stack([ramp, ramp // 2, 255 - ramp], axis=-1)).convert(mode)


def jpeg(mode="RGB", orientation=1):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    file = io.BytesIO()
    smooth(mode).save(file, "jpeg", quality=95, exif=exif)
    return file.getvalue()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_ignored_everywhere(tmp_path, orientation):
    """Boxes refer to pixels as they are stored; so do sizes, and what proposers and networks see."""
    encoded = jpeg(orientation=orientation)
    (tmp_path / "turned.jpg").write_bytes(encoded)
    assert decoding.size(tmp_path / "turned.jpg") == decoding.encoded_size(encoded, "") == (40, 60)
    plain = decoding.decode(jpeg(), "")
    np.testing.assert_array_equal(decoding.decode(encoded, ""), plain)
    np.testing.assert_allclose(graph_decoding.decode(tf.constant(encoded), 3), plain, atol=4)


def test_boxes_of_turned_gray_and_cmyk_photographs(tmp_path):
    (tmp_path / "Annotations").mkdir()
    (tmp_path / "JPEGImages").mkdir()
    box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>60</xmax><ymax>40</ymax></bndbox>"
    for name, encoded in {"turned": jpeg(orientation=6), "gray": jpeg("L"), "cmyk": jpeg("CMYK")}.items():
        (tmp_path / "JPEGImages" / f"{name}.jpg").write_bytes(encoded)
        text = f"<annotation><filename>another.png</filename><object><name>x</name>{box}</object></annotation>"
        (tmp_path / "Annotations" / f"{name}.xml").write_text(text)
    source = VOC(tmp_path, Options()).load("all")
    # The file's own name decides if no image has that in <filename>.
    assert source.ids == ["cmyk", "gray", "turned"]
    assert source.defects.counts == {"annotation that names another image than its own": 3}
    for index in range(3):
        assert source.objects[index].boxes_yxyx.tolist() == [[0, 0, 40, 60]]
        assert decoding.decode(source.encoded(index), "").shape == (40, 60, 3)


def test_each_header_is_read_once(tmp_path, monkeypatch):
    image, text = tmp_path / "image.png", tmp_path / "text.png"
    Image.new("RGB", (60, 40)).save(image)
    text.write_text("not an image")
    headers, read, size = Headers(), [], decoding.size
    monkeypatch.setattr(decoding, "size", lambda path: read.append(path) or size(path))
    for _ in range(2):
        assert headers.size(image) == (40, 60)
        assert isinstance(headers.size(text), UserError)
    assert read == [image, text]
