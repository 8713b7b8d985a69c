import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageEnhance, ImageOps

from tfeff.data.augment import photometric

RNG = np.random.default_rng(0)


def pictures():
    """Noise, a dim smooth picture, a constant one, two levels, and one of few pixels of many levels."""
    smooth = np.asarray(Image.fromarray(RNG.integers(30, 120, (5, 5, 3), np.uint8)).resize((40, 30)))
    constant = np.full((30, 40, 3), 93, np.uint8)
    two = RNG.choice(np.array([10, 240], np.uint8), (30, 40, 3))
    ramp = np.broadcast_to(np.arange(1200).reshape(30, 40, 1) * 255 // 1199, (30, 40, 3)).astype(np.uint8)
    return np.stack([RNG.integers(0, 256, (30, 40, 3), np.uint8), smooth, constant, two, ramp])


BATCH = pictures()


def each(amount):
    return tf.fill([len(BATCH)], tf.constant(amount, tf.float32))


def enhanced(enhancer, factor):
    return lambda image: enhancer(image).enhance(factor)


FACTORS = (0.0, 0.1, 0.5, 1.0, 1.45, 1.9)
CASES = [
    ("invert", (), ImageOps.invert),
    ("autocontrast", (), ImageOps.autocontrast),
    ("equalize", (), ImageOps.equalize),
    *[("posterize", (bits,), lambda image, bits=bits: ImageOps.posterize(image, bits)) for bits in (1, 4, 7, 8)],
    *[("solarize", (level,), lambda image, level=level: ImageOps.solarize(image, level)) for level in (0, 128, 256)],
    *[("color", (f,), enhanced(ImageEnhance.Color, f)) for f in FACTORS],
    *[("contrast", (f,), enhanced(ImageEnhance.Contrast, f)) for f in FACTORS],
    *[("brightness", (f,), enhanced(ImageEnhance.Brightness, f)) for f in FACTORS],
    *[("sharpness", (f,), enhanced(ImageEnhance.Sharpness, f)) for f in FACTORS],
]


@pytest.mark.parametrize(("name", "amounts", "pil"), CASES, ids=[f"{name}{amounts}" for name, amounts, _ in CASES])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_operations_agree_with_pil(name, amounts, pil, mode):
    images = [Image.fromarray(image).convert(mode) for image in BATCH]
    batch = np.stack([np.atleast_3d(np.asarray(image)) for image in images])
    theirs = np.stack([np.atleast_3d(np.asarray(pil(image))) for image in images]).astype(int)
    ours = getattr(photometric, name)(tf.constant(batch, tf.float32), *map(each, amounts))
    assert ours.dtype == tf.float32
    # PIL truncates products of single precision; one level may fall on either side.
    difference = np.abs(ours.numpy().astype(int) - theirs)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 1e-3


def test_each_image_has_an_amount_of_its_own():
    factors = tf.constant([0.1, 0.5, 1.0, 1.5, 1.9])
    whole = photometric.contrast(tf.constant(BATCH, tf.float32), factors)
    for i in range(5):
        alone = photometric.contrast(tf.constant(BATCH[i : i + 1], tf.float32), factors[i : i + 1])
        np.testing.assert_array_equal(whole[i], alone[0])
