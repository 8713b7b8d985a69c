"""Photographs of all kinds, written by Pillow and read back; damaged ones are named."""

import io
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from tfeff.data.images import decoding, graph_decoding, header
from tfeff.data.images.decoding import Headers
from tfeff.data.images.storage import ImageFiles
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


def test_gray_pixels_are_the_luma_of_rgb_pixels_as_in_exported_models(scene):
    transparent = np.concatenate([scene, scene[::-1, :, :1]], axis=-1)
    pictures = [Image.fromarray(scene).convert(mode) for mode in ("RGB", "L", "P", "1", "I;16", "YCbCr")]
    for picture in (*pictures, Image.fromarray(transparent), Image.fromarray(transparent).convert("LA")):
        content = encoded(picture, "TIFF")
        gray, color = decoding.decode(content, "x", channels=1), decoding.decode(content, "x")
        assert gray.shape == (HEIGHT, WIDTH, 1)
        assert np.array_equal(gray, decoding.luma(color)), picture.mode
    levels = np.arange(256, dtype=np.uint8)[::5]
    colors = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(len(levels), -1, 3)
    assert np.array_equal(decoding.luma(colors), graph_decoding.luma(tf.constant(colors)))


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


def test_transparent_pixels_are_composed_over_white(scene):
    alpha = np.linspace(0, 255, HEIGHT * WIDTH).astype(np.uint8).reshape(HEIGHT, WIDTH, 1)
    exact = scene * (alpha / 255) + 255 * (1 - alpha / 255)
    for form, options in (("PNG", {}), ("WEBP", {"lossless": True, "exact": True}), ("TIFF", {})):
        content = encoded(Image.fromarray(np.concatenate([scene, alpha], axis=-1)), form, **options)
        assert np.array_equal(decoding.decode(content, "x"), np.round(exact).astype(np.uint8)), form
    gray = encoded(Image.fromarray(np.concatenate([scene[..., :1], alpha], axis=-1), "LA"), "PNG")
    assert np.array_equal(decoding.decode(gray, "x"), np.repeat(np.round(exact[..., :1]), 3, axis=-1))


def test_a_transparent_color_of_a_palette_is_white():
    image = Image.fromarray(np.arange(8, dtype=np.uint8).reshape(2, 4) % 2, "P")
    image.putpalette([10, 20, 30, 40, 50, 60])
    for form in ("PNG", "GIF"):
        pixels = decoding.decode(encoded(image, form, transparency=0), "x")
        assert pixels[0].tolist() == [[255, 255, 255], [40, 50, 60]] * 2


def test_formats_that_opencv_does_not_read_alike(scene):
    picture, other = Image.fromarray(scene), Image.fromarray(255 - scene)
    for form, options in (("TIFF", {}), ("GIF", {}), ("PNG", {}), ("WEBP", {"lossless": True})):
        content = encoded(picture, form, save_all=True, append_images=[other], **options)
        expected = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
        assert np.array_equal(decoding.decode(content, "x"), expected), form
        assert np.abs(expected.astype(int) - scene).max() < 60, "the first frame or page"
    for form in ("AVIF", "JPEG2000", "MPO"):
        options = {"save_all": True, "append_images": [other]} if form == "MPO" else {}
        pixels = decoding.decode(encoded(picture, form, quality=95, **options), "x").astype(int)
        assert np.abs(pixels - scene).mean() < 6, form
    deep = Image.fromarray(scene[..., 0].astype(np.uint16) * 256 + 77)
    pixels = decoding.decode(encoded(deep, "TIFF"), "x")
    assert np.array_equal(pixels, np.repeat(scene[..., :1], 3, axis=-1))


def test_heic_is_upright_whatever_its_exif_says(scene):
    """Its container states the rotation, which the decoder applies."""
    pytest.importorskip("pillow_heif")
    large = np.kron(scene, np.ones((8, 8, 1), np.uint8))
    for orientation in (1, 6):
        exif = Image.Exif()
        exif[header.ORIENTATION] = orientation
        content = encoded(Image.fromarray(large), "HEIF", quality=95, exif=exif.tobytes())
        found = decoding.decode(content, "x").astype(int)
        upright = large if orientation == 1 else np.rot90(large, -1)
        assert found.shape == upright.shape == (*decoding.encoded_size(content, "x"), 3)
        assert np.abs(found - upright).mean() < 8


def test_heic_without_its_extra_gets_advice(monkeypatch):
    monkeypatch.setattr(header, "HEIF", False)
    with pytest.raises(UserError, match=r"a HEIC image, which needs the extra heif \(pip install tfeff\[heif\]\)"):
        decoding.decode(b"\0\0\0\x18ftypheic" + bytes(500), "photo.heic")


@pytest.mark.parametrize(
    ("content", "advice"),
    [
        (b"\0\0\0\x18ftypheic" + bytes(500), "HEIC|corrupt"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"", "the file is empty"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", "not an image"),
        (b"II*\0" + bytes(50), "not an image"),
    ],
)
def test_files_that_are_no_images_get_advice(content, advice):
    with pytest.raises(UserError, match=rf"^photo\.jpg: .*({advice})"):
        decoding.decode(content, "photo.jpg")


def test_samples_that_are_floats_are_named(scene):
    content = encoded(Image.fromarray(scene[..., 0].astype(np.float32)), "TIFF")
    with pytest.raises(UserError, match="floating-point numbers; convert"):
        decoding.decode(content, "x.tif")


@pytest.mark.parametrize("sample", [-1, 65_536])
def test_samples_that_16_bits_cannot_hold_are_named(sample):
    samples = np.array([[0, 65_535]], np.int32)
    assert decoding.decode(encoded(Image.fromarray(samples), "TIFF"), "x.tif")[0, :, 0].tolist() == [0, 255]
    samples[0, 0] = sample
    with pytest.raises(UserError, match=rf"x\.tif: has samples from .*{sample}.*, beyond 0 to 65535; convert it"):
        decoding.decode(encoded(Image.fromarray(samples), "TIFF"), "x.tif")


def test_too_many_pixels_are_refused_before_they_are_decoded(tmp_path):
    """A PNG of 50 bytes that states 40,000 x 40,000 pixels."""
    content = encoded(Image.new("L", (9, 9)), "PNG")
    chunk = b"IHDR" + (40_000).to_bytes(4, "big") * 2 + content[24:29]
    huge = content[:12] + chunk + zlib.crc32(chunk).to_bytes(4, "big") + content[33:]
    (tmp_path / "scene.png").write_bytes(huge)
    message = r"40,000 x 40,000 pixels are more than the limit of .* TFEFF_MAX_PIXELS=1600000000"
    with pytest.raises(UserError, match=message):
        decoding.decode(huge, "scene.png")
    with pytest.raises(UserError, match=message):
        decoding.size(tmp_path / "scene.png")


def test_a_png_with_two_sizes_is_corrupt(tmp_path):
    """Pillow takes the second header, for whose size the limit of pixels has not been checked."""
    small, large = (encoded(Image.new("L", (side, side)), "PNG") for side in (9, 500))
    for content in (small[:33] + large[8:], large[:33] + small[8:]):
        with pytest.raises(UserError, match=r"^x\.png: not an image, or a corrupt one \(its headers state different"):
            decoding.decode(content, "x.png")
    assert decoding.decode(small[:33] + small[8:], "x.png").shape == (9, 9, 3)


def test_a_png_with_a_wrong_checksum_is_corrupt(scene):
    """libpng decodes the last part before it has read its checksum, and then does not look at it."""
    content = encoded(Image.fromarray(scene), "PNG", exif=rotated())
    for kind in (b"IDAT", b"eXIf"):
        end = content.index(kind) + 4 + int.from_bytes(content[content.index(kind) - 4 :][:4], "big")
        broken = content[:end] + bytes(4) + content[end + 4 :]
        with pytest.raises(UserError, match=rf"x\.png: a corrupt image .*{kind.decode()}"):
            decoding.decode(broken, "x.png")
    for length in (1, 12, 14, 17):  # without its end: Pillow fills up the last pixels
        with pytest.raises(UserError, match=r"x\.png: a corrupt image .*(IEND|IDAT)"):
            decoding.decode(content[:-length], "x.png")
    comment = b"tEXtComment\0x"  # no part of the pixels: its checksum does not matter
    noted = content[:33] + len(comment[4:]).to_bytes(4, "big") + comment + bytes(4) + content[33:]
    assert np.array_equal(decoding.decode(noted, "x.png"), decoding.decode(content, "x.png"))


def test_headers_of_files_are_those_of_their_contents(scene, tmp_path):
    """Also of JPEGs whose header is after long metadata, and of those that end before Pillow is content."""
    plain = encoded(Image.fromarray(scene), "JPEG")
    long = plain[:2] + (b"\xff\xe2\xff\xff" + bytes(65_533)) * 3 + plain[2:]
    frame = plain.index(b"\xff\xc0")
    for number, content in enumerate((plain, long, plain[: frame + 12], encoded(Image.fromarray(scene), "PNG"))):
        (tmp_path / f"{number}.jpg").write_bytes(content)
        assert decoding.size(tmp_path / f"{number}.jpg") == decoding.encoded_size(content, "x") == (HEIGHT, WIDTH)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(("channels", "least", "most"), [(3, 300, 600), (1, 100, 300)])
def test_large_images_are_not_kept_in_memory_several_times(tmp_path, channels, least, most):
    """100 million pixels, in a process of its own."""
    script = (
        "import sys; from pathlib import Path; from tfeff.data.images import decoding\n"
        "peak = lambda: int(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0]) // 1000\n"
        "before = peak()\n"
        "print(decoding.decode(Path(sys.argv[1]).read_bytes(), 'x', channels=int(sys.argv[2])).shape, peak() - before)"
    )
    Image.new("L", (10_000, 10_000)).save(tmp_path / "scene.tif", compression="tiff_lzw")
    shape, megabytes = subprocess.check_output(
        [sys.executable, "-c", script, tmp_path / "scene.tif", str(channels)], text=True
    ).rsplit(" ", 1)
    assert shape == f"(10000, 10000, {channels})"
    assert least <= int(megabytes) < most, "100 MB as stored, 300 MB as RGB"


def test_the_limit_of_pixels_is_a_setting(monkeypatch):
    content = encoded(Image.new("L", (9, 9)), "PNG")
    monkeypatch.setenv("TFEFF_MAX_PIXELS", "80")
    with pytest.raises(UserError, match="9 x 9 pixels are more than the limit of 80"):
        decoding.decode(content, "x.png")
    monkeypatch.setenv("TFEFF_MAX_PIXELS", "81")
    assert decoding.decode(content, "x.png").shape == (9, 9, 3)
    monkeypatch.setenv("TFEFF_MAX_PIXELS", "2e8")
    with pytest.raises(UserError, match="TFEFF_MAX_PIXELS=2e8: write a number of pixels"):
        decoding.decode(content, "x.png")


def test_cmyk_has_the_colors_of_its_inks():
    inks = {(255, 0, 0, 0): (0, 255, 255), (0, 255, 0, 0): (255, 0, 255), (0, 0, 255, 0): (255, 255, 0)}
    inks |= {(0, 0, 0, 255): (0, 0, 0), (0, 0, 0, 0): (255, 255, 255), (0, 0, 0, 128): (127, 127, 127)}
    for ink, color in inks.items():
        pixels = decoding.decode(encoded(Image.new("CMYK", (WIDTH, HEIGHT), ink), "JPEG", quality=95), "x")
        assert pixels.shape == (HEIGHT, WIDTH, 3)
        assert np.abs(pixels.astype(int) - color).max() < 12


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
    expected = (WIDTH, HEIGHT) if "exif" in options else (HEIGHT, WIDTH)
    assert decoding.size(path) == decoding.encoded_size(path.read_bytes(), "x") == expected
    pixels = decoding.decode(path.read_bytes(), "x")
    assert (pixels.shape, pixels.dtype) == ((*expected, 3), np.uint8)
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
    """Returns a picture 40 high and 60 wide, dark at the left and light at the right, of a mode."""
    ramp = np.tile(np.linspace(20, 230, 60).astype(np.uint8), (40, 1))
    return Image.fromarray(np.stack([ramp, ramp // 2, 255 - ramp], axis=-1)).convert(mode)


def jpeg(mode="RGB", orientation=1):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    file = io.BytesIO()
    smooth(mode).save(file, "jpeg", quality=95, exif=exif)
    return file.getvalue()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_upright_everywhere(tmp_path, orientation):
    """As Pillow turns them; sizes, and what proposers, networks and exported models see."""
    encoded = jpeg(orientation=orientation)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(encoded))))
    (tmp_path / "turned.jpg").write_bytes(encoded)
    assert decoding.size(tmp_path / "turned.jpg") == decoding.encoded_size(encoded, "") == upright.shape[:2]
    np.testing.assert_allclose(decoding.decode(encoded, "").astype(int), upright, atol=4)
    np.testing.assert_allclose(graph_decoding.decode(tf.constant(encoded), 3).numpy().astype(int), upright, atol=4)
    read = ImageFiles([tmp_path / "turned.jpg"]).read(tf.constant(0, tf.int64), 3)
    np.testing.assert_array_equal(read, decoding.decode(encoded, ""))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["PNG", "WEBP", "TIFF", "AVIF", "MPO"])
def test_other_formats_are_upright(tmp_path, form, orientation):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    file = io.BytesIO()
    smooth("RGB").save(file, form, exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(file)))
    (tmp_path / "x").write_bytes(file.getvalue())
    assert decoding.size(tmp_path / "x") == expected.shape[:2]
    np.testing.assert_array_equal(decoding.decode(file.getvalue(), ""), expected)


@pytest.mark.parametrize(
    "content", [b"II*\0", b"MM\0*\xff\xff\xff\xff", b"II*\0\x08\0\0\0\xff\xff", b"II*\0" * 30, b""]
)
def test_a_damaged_exif_block_states_no_orientation(content):
    head = b"\xff\xd8\xff\xe1" + (len(content) + 8).to_bytes(2, "big") + b"Exif\0\0" + content
    encoded = head + jpeg()[2:]
    assert decoding.encoded_size(encoded, "x") == (40, 60)
    assert graph_decoding.decode(tf.constant(encoded), 3).shape == (40, 60, 3)


def annotated(folder, box, size=None):
    """Returns a photograph that is stored 40 high and 60 wide, and is 60 high and 40 wide."""
    (folder / "Annotations").mkdir()
    (folder / "JPEGImages").mkdir()
    (folder / "JPEGImages" / "x.jpg").write_bytes(jpeg(orientation=6))
    written = "" if size is None else f"<size><height>{size[0]}</height><width>{size[1]}</width></size>"
    corners = "".join(
        f"<{key}>{value}</{key}>" for key, value in zip(("ymin", "xmin", "ymax", "xmax"), box, strict=True)
    )
    text = f"<annotation>{written}<object><name>x</name><bndbox>{corners}</bndbox></object></annotation>"
    (folder / "Annotations" / "x.xml").write_text(text)
    return VOC(folder, Options(keep_raw_annotations=True)).load("all")


TURNED = "boxes drawn on the image before its EXIF orientation was applied"


@pytest.mark.parametrize(
    ("box", "size", "expected", "kind"),
    [
        ((11, 1, 50, 30), (60, 40), (10, 0, 50, 30), None),
        ((11, 1, 40, 30), (40, 60), (0, 0, 30, 30), TURNED),
        ((1, 41, 10, 60), (40, 60), (40, 30, 60, 40), TURNED),
        ((1, 41, 10, 60), None, (40, 30, 60, 40), TURNED),
        ((1, 1, 10, 20), None, (0, 0, 10, 20), None),
        ((1, 1, 10, 20), (50, 50), (0, 0, 10, 20), "wrong image size"),
    ],
)
def test_boxes_belong_to_the_upright_image_unless_only_the_stored_one_fits(tmp_path, box, size, expected, kind):
    dataset = annotated(tmp_path, box, size)
    assert dataset.sizes.tolist() == [[60, 40]]
    assert dataset.objects[0].boxes_yxyx.tolist() == [list(expected)]
    assert dict(dataset.defects.counts) == ({} if kind is None else {kind: 1})
    if kind == TURNED:
        raw = dataset.raw_annotations[0]
        assert raw.boxes_yxyx.tolist() == [[expected[0] + 1, expected[1] + 1, *expected[2:]]]
        assert raw.image_size == (None if size is None else (60, 40))


def test_boxes_of_turned_gray_and_cmyk_photographs(tmp_path):
    (tmp_path / "Annotations").mkdir()
    (tmp_path / "JPEGImages").mkdir()
    box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>40</xmax><ymax>40</ymax></bndbox>"
    for name, encoded in {"turned": jpeg(orientation=6), "gray": jpeg("L"), "cmyk": jpeg("CMYK")}.items():
        (tmp_path / "JPEGImages" / f"{name}.jpg").write_bytes(encoded)
        text = f"<annotation><filename>another.png</filename><object><name>x</name>{box}</object></annotation>"
        (tmp_path / "Annotations" / f"{name}.xml").write_text(text)
    source = VOC(tmp_path, Options()).load("all")
    # The file's own name decides if no image has that in <filename>.
    assert source.ids == ["cmyk", "gray", "turned"]
    assert source.defects.counts == {"annotation that names another image than its own": 3}
    for index in range(3):
        assert source.objects[index].boxes_yxyx.tolist() == [[0, 0, 40, 40]]
        assert decoding.decode(source.encoded(index), "").shape == ((60, 40, 3) if index == 2 else (40, 60, 3))


def test_each_header_is_read_once(tmp_path, monkeypatch):
    image, text = tmp_path / "image.png", tmp_path / "text.png"
    Image.new("RGB", (60, 40)).save(image)
    text.write_text("not an image")
    headers, read_files, read = Headers(), [], header.read
    monkeypatch.setattr(header, "read", lambda path, name: read_files.append(path) or read(path, name))
    for _ in range(2):
        found = headers.header(image)
        assert isinstance(found, header.Header)
        assert found.size == (40, 60)
        assert isinstance(headers.header(text), UserError)
    assert read_files == [image, text]


def test_damaged_and_odd_files_write_nothing_to_the_terminal(scene, capfd):
    photograph = encoded(Image.fromarray(scene).resize((400, 300)), "JPEG")
    middle = len(photograph) // 2
    damaged = photograph[:middle] + b"\xff\xd9" * 10 + photograph[middle + 20 :]
    assert decoding.decode(damaged, "a.jpg").shape == (300, 400, 3)
    drawing = encoded(Image.fromarray(scene), "PNG")
    profile = b"iCCPsRGB\0\0" + zlib.compress(bytes(128))  # as some programs write it
    odd = drawing[:33] + struct.pack(">I", len(profile) - 4) + profile + struct.pack(">I", zlib.crc32(profile))
    np.testing.assert_array_equal(decoding.decode(odd + drawing[33:], "a.png"), scene)
    assert capfd.readouterr() == ("", "")


def large_jpeg(size=(512, 336), **options):
    """A smooth photograph of (width, height) with a little detail."""
    rows, columns = np.mgrid[: size[1], : size[0]]
    waves = 120 + 60 * np.sin(rows / 40) + 50 * np.cos(columns / 55) + 4 * np.sin(rows / 3 + columns / 5)
    photograph = np.stack([waves, waves[::-1], 250 - waves], axis=-1).astype(np.uint8)
    return encoded(Image.fromarray(photograph), "JPEG", quality=90, **options)


def of_size(content, size):
    """Returns the whole image, averaged to a size."""
    whole = Image.fromarray(decoding.decode(content, "x"))
    return np.asarray(whole.resize(size[::-1], Image.Resampling.BOX), float)


@pytest.mark.parametrize(
    ("shrinkage", "reduction"), [(0.5, 1), (3.9, 1), (4, 2), (7.9, 2), (8, 4), (15.9, 4), (16, 8), (99, 8)]
)
def test_jpegs_are_decoded_at_a_size_of_at_least_twice_the_target(shrinkage, reduction):
    asked = []
    pixels = decoding.decode(large_jpeg(), "x", lambda size: asked.append(size) or shrinkage)
    assert asked == [(336, 512)]
    assert pixels.shape == (336 // reduction, 512 // reduction, 3)
    error = np.mean((pixels - of_size(large_jpeg(), pixels.shape[:2])) ** 2)
    assert error == 0 if reduction == 1 else 10 * np.log10(255**2 / error) > 38


@pytest.mark.parametrize(
    ("size", "reduced"), [((512, 332), (128, 83)), ((510, 336), (255, 168)), ((511, 336), (511, 336))]
)
def test_pixels_of_reduced_jpegs_are_squares_of_whole_pixels(size, reduced):
    assert decoding.decode(large_jpeg(size), "x", lambda size: 99.0).shape[1::-1] == reduced


def test_reduced_images_are_upright():
    content = large_jpeg(exif=rotated())
    pixels = decoding.decode(content, "x", lambda size: 8.0 if size == (512, 336) else 0.0)
    assert pixels.shape == (128, 84, 3)
    assert np.abs(pixels - of_size(content, (128, 84))).mean() < 2


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_gray_and_cmyk_images_are_reduced(mode):
    content = encoded(Image.open(io.BytesIO(large_jpeg())).convert(mode), "JPEG", quality=90)
    pixels = decoding.decode(content, "x", lambda size: 8.0)
    assert pixels.shape == (84, 128, 3)
    assert np.abs(pixels - of_size(content, (84, 128))).mean() < 2


def test_only_jpegs_are_reduced(scene):
    for form in ("PNG", "BMP", "TIFF"):
        content = encoded(Image.fromarray(scene), form)
        np.testing.assert_array_equal(decoding.decode(content, "x", lambda size: 99.0), scene)


def test_truncated_files_are_refused_at_a_reduced_size_too():
    content = large_jpeg()
    with pytest.raises(UserError, match="truncated"):
        decoding.decode(content[: len(content) // 2], "x", lambda size: 99.0)
