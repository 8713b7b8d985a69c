import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageEnhance, ImageOps

from tfeff.data.augment import operations
from tfeff.data.augment.operations import Operation, apply

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (60, 14, 18, 3)).astype(np.float32)
OPERATIONS = RNG.integers(0, len(Operation), 60).astype(np.int32)
STRENGTHS = RNG.uniform(0, 1, 60).astype(np.float32)
SIGNS = RNG.choice([-1.0, 1.0], 60).astype(np.float32)


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 3])
def test_a_batch_equals_its_images_one_by_one(channels):
    images = IMAGES[..., :channels]
    whole = apply(tf.constant(images), tf.constant(OPERATIONS), tf.constant(STRENGTHS), tf.constant(SIGNS)).numpy()
    assert whole.shape == images.shape
    np.testing.assert_array_equal(whole, np.round(whole))
    assert whole.min() >= 0
    assert whole.max() <= 255
    for i in range(60):
        part = [tf.constant(values[i : i + 1]) for values in (images, OPERATIONS, STRENGTHS, SIGNS)]
        np.testing.assert_array_equal(apply(*part)[0], whole[i])


WITH_STRENGTH = [o for o in Operation if o not in (Operation.AUTO_CONTRAST, Operation.EQUALIZE, Operation.INVERT)]


@pytest.mark.parametrize("operation", WITH_STRENGTH, ids=lambda operation: operation.name)
def test_the_effect_grows_with_strength_from_none(operation):
    # A smooth picture: on noise the smallest shift already changes everything.
    y, x = np.mgrid[:40, :40]
    picture = np.stack([120 + 80 * np.sin(y / 9), 120 + 80 * np.cos(x / 7), 3 * (x + y)], axis=-1).round()
    images = tf.constant(picture[None], tf.float32)
    changes = []
    for strength in (0.0, 0.25, 0.5, 1.0):
        changed = apply(images, tf.constant([int(operation)]), tf.constant([strength]), tf.constant([1.0]))
        changes.append(float(tf.reduce_mean(tf.abs(changed - images))))
    assert changes[0] < 1e-6
    assert changes == sorted(changes)
    assert (changes[-1] > 0) == (operation != Operation.IDENTITY)


@pytest.mark.parametrize(
    ("operation", "y", "x"), [(Operation.TRANSLATE_Y, 10, 0), (Operation.TRANSLATE_X, 0, 10)], ids=["down", "right"]
)
def test_translation_moves_by_its_fraction_and_leaves_gray(operation, y, x):
    image = RNG.integers(0, 256, (1, 331 // 15, 331 // 15, 1)).astype(np.float32)  # 150 / 331 of 22 pixels: 9.97
    moved = apply(tf.constant(image), tf.constant([int(operation)]), tf.constant([1.0]), tf.constant([1.0])).numpy()
    np.testing.assert_allclose(moved[0, y:, x:], image[0, : 22 - y, : 22 - x], atol=12)
    if y:
        np.testing.assert_array_equal(moved[0, : y - 1], 128)
    else:
        np.testing.assert_array_equal(moved[0, :, : x - 1], 128)


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
    ours = getattr(operations, name)(tf.constant(batch, tf.float32), *map(each, amounts))
    assert ours.dtype == tf.float32
    # PIL truncates products of single precision; one level may fall on either side.
    difference = np.abs(ours.numpy().astype(int) - theirs)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 1e-3


def test_each_image_has_an_amount_of_its_own():
    factors = tf.constant([0.1, 0.5, 1.0, 1.5, 1.9])
    whole = operations.contrast(tf.constant(BATCH, tf.float32), factors)
    for i in range(5):
        alone = operations.contrast(tf.constant(BATCH[i : i + 1], tf.float32), factors[i : i + 1])
        np.testing.assert_array_equal(whole[i], alone[0])
