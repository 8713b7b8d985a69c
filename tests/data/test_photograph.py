import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tfeff.data import photograph, preprocess, voc

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
def test_an_orientation_is_followed_nowhere(tmp_path, orientation):
    """Boxes refer to pixels as they are stored; so do sizes, and what proposers and networks see."""
    encoded = jpeg(orientation=orientation)
    (tmp_path / "turned.jpg").write_bytes(encoded)
    assert photograph.size(tmp_path / "turned.jpg") == photograph.encoded_size(encoded, "") == (40, 60)
    plain = photograph.decode(jpeg(), "")
    np.testing.assert_array_equal(photograph.decode(encoded, ""), plain)
    np.testing.assert_allclose(preprocess.decode(tf.constant(encoded), 3), plain, atol=4)


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_gray_and_cmyk_become_rgb(mode):
    pixels = photograph.decode(jpeg(mode), "")
    assert pixels.shape == (40, 60, 3)
    expected = np.asarray(smooth(mode).convert("RGB"), int)
    np.testing.assert_allclose(pixels, expected, atol=12)


def test_boxes_of_turned_gray_and_cmyk_photographs(tmp_path):
    (tmp_path / "Annotations").mkdir()
    (tmp_path / "JPEGImages").mkdir()
    box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>60</xmax><ymax>40</ymax></bndbox>"
    for name, encoded in {"turned": jpeg(orientation=6), "gray": jpeg("L"), "cmyk": jpeg("CMYK")}.items():
        (tmp_path / "JPEGImages" / f"{name}.jpg").write_bytes(encoded)
        text = f"<annotation><filename>another.png</filename><object><name>x</name>{box}</object></annotation>"
        (tmp_path / "Annotations" / f"{name}.xml").write_text(text)
    source = voc.load(tmp_path, "all", fractions={})
    # The file's own name decides, whatever stands in <filename>.
    assert source.ids == ["cmyk", "gray", "turned"]
    assert not source.report.counts
    for index in range(3):
        assert source.objects[index].boxes_yxyx.tolist() == [[0, 0, 40, 60]]
        assert photograph.decode(source.encoded(index), "").shape == (40, 60, 3)
