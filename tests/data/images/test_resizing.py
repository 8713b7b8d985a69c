import contextlib
from fractions import Fraction

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.data.images import pillow
from tfeff.data.images import resizing

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 24, 3), np.uint8)


def bilinear(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Half-pixel centers, edges repeated; one output pixel at a time."""
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
def test_enlarging_is_plain_bilinear_interpolation(size):
    ours = resizing.resize(PIXELS[None], size)
    assert ours.dtype == tf.float32
    np.testing.assert_allclose(ours[0], bilinear(PIXELS.astype(float), size), atol=1e-3)


@pytest.mark.parametrize("size", [(7, 9), (10, 12), (19, 23), (10, 50)])
def test_shrinking_is_antialiased_as_in_pil(size):
    theirs = Image.fromarray(PIXELS).resize(size[::-1], Image.Resampling.BILINEAR)
    np.testing.assert_allclose(resizing.resize(PIXELS[None], size)[0], np.asarray(theirs, float), atol=1.1)


def test_fit_and_resize_use_the_same_formula():
    for size in ((7, 9), (41, 50)):
        once = resizing.fit(tf.constant(PIXELS), size).numpy()
        again = np.rint(resizing.resize(PIXELS[None], size)[0]).clip(0, 255)
        # Order of operations and precision differ, so a value near a half may round either way.
        assert np.abs(once - again).max() <= 1
        assert (once == again).mean() > 0.97


@pytest.mark.parametrize("size", [(61, 90), (13, 17), (20, 24)])
def test_a_window_is_a_part_of_the_whole(size):
    image = tf.cast(PIXELS, tf.float32)
    whole = tf.image.resize(image, size, antialias=True)
    for top, left, height, width in ((0, 0, *size), (5, 3, 8, 14), (size[0] - 4, size[1] - 9, 4, 9)):
        found = resizing.window(image, tf.constant(size), tf.constant((top, left)), tf.constant((height, width)))
        np.testing.assert_allclose(found, whole[top : top + height, left : left + width], atol=0.01)


def test_an_image_of_that_size_is_unchanged():
    np.testing.assert_array_equal(resizing.fit(tf.constant(PIXELS), (20, 24)), PIXELS)


@pytest.mark.parametrize("native", [(20, 24), (7, 31), (31, 7), (3, 200)])
@pytest.mark.parametrize("size", [(20, 24), (12, 12), (50, 33)])
def test_crop_is_the_center_of_an_image_that_covers_the_size(native, size):
    image = np.random.default_rng(1).integers(0, 256, (*native, 3), np.uint8)
    ratio = max(size[0] / native[0], size[1] / native[1])
    height, width = (max(round(side * ratio), least) for side, least in zip(native, size, strict=True))
    top, left = (height - size[0]) // 2, (width - size[1]) // 2
    scaled = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
    expected = np.asarray(scaled)[top : top + size[0], left : left + size[1]]
    found = resizing.crop(tf.constant(image), size).numpy()
    assert np.abs(found.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("native", [(20, 24), (7, 31), (31, 7), (3, 200), (150, 211), (211, 90)])
@pytest.mark.parametrize("size", [(20, 24), (12, 12), (50, 33), (49, 200)])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("plain", [False, True])
def test_crop_is_cut_out_of_the_whole_scaled_image(native, size, interpolation, plain):
    image = tf.constant(np.random.default_rng(1).integers(0, 256, (*native, 3), np.uint8))
    with resizing.plain_operators() if plain else contextlib.nullcontext():
        whole, found = (fit(image, size, interpolation).numpy() for fit in (resizing.whole, resizing.crop))
    top, left = (whole.shape[0] - size[0]) // 2, (whole.shape[1] - size[1]) // 2
    difference = np.abs(found.astype(int) - whole[top : top + size[0], left : left + size[1]])
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.02  # values near a half


@pytest.mark.parametrize("native", [(1, 65_535), (65_535, 1), (2, 3_000_000)])
def test_the_crop_of_a_thin_image_takes_little_memory(native):
    ramp = (np.arange(max(native)) // 5 % 256).astype(np.uint8)
    image = np.broadcast_to(ramp if native[1] > 2 else ramp[:, None], native)[..., None]
    pixel, middle = 224 / min(native), max(native) / 2
    positions = middle + (np.arange(224) - 111.5) / pixel  # of the result's pixels along the image
    expected = np.interp(positions - 0.5, np.arange(len(ramp)), ramp.astype(float))
    found = resizing.crop(tf.constant(image), (224, 224)).numpy()[..., 0]
    np.testing.assert_allclose(
        found, np.broadcast_to(expected if native[1] > 2 else expected[:, None], found.shape), atol=1
    )


@pytest.mark.parametrize("fit", ["whole", "stretch"])
def test_thin_images_whose_scaled_pixels_exceed_the_limit_are_refused(fit):
    image = tf.zeros((1, 65_535 if fit == "whole" else 600_000, 1), tf.uint8)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"the image is too thin: .* limit of 120,000,000"):
        resizing.FITS[fit](image, (224, 224))


@pytest.mark.parametrize("native", [(20, 24), (7, 31), (31, 7), (3, 200)])
@pytest.mark.parametrize("size", [(20, 24), (12, 12), (50, 33)])
def test_letterbox_keeps_the_aspect_ratio_and_pads_bottom_right(native, size):
    image = tf.constant(np.random.default_rng(1).integers(0, 256, (*native, 3), np.uint8))
    canvas = resizing.letterbox(image, size).numpy()
    height, width = resizing.letterbox_size(tf.constant(native), size).numpy()
    ratio = min(size[0] / native[0], size[1] / native[1])
    assert canvas.shape == (*size, 3)
    assert abs(height - native[0] * ratio) <= 0.5 or height == 1
    assert abs(width - native[1] * ratio) <= 0.5 or width == 1
    assert height == size[0] or width == size[1]
    np.testing.assert_array_equal(canvas[:height, :width], resizing.fit(image, (int(height), int(width))))
    assert (canvas[height:] == resizing.FILL).all()
    assert (canvas[:, width:] == resizing.FILL).all()


@pytest.mark.parametrize("size", [(7, 9), (19, 23), (33, 24), (41, 50)])
def test_bicubic_interpolation_is_that_of_pil(size):
    theirs = pillow.resized(PIXELS, size, "bicubic")
    np.testing.assert_allclose(resizing.resize(PIXELS[None], size, "bicubic")[0], theirs, atol=0.01)
    fitted = resizing.fit(tf.constant(PIXELS), size, "bicubic").numpy()
    assert np.abs(fitted - theirs).max() <= 0.51


def test_no_level_of_a_resized_image_lies_outside_the_range():
    """Bicubic interpolation overshoots at edges."""
    edge = np.zeros((16, 16, 3), np.uint8)
    edge[:, 8:] = 255
    for pixels in (
        resizing.resize(edge[None], (37, 37), "bicubic"),
        resizing.center(tf.constant(edge), (37, 37), 1.0, "bicubic"),
    ):
        assert (pixels.numpy().min(), pixels.numpy().max()) == (0, 255)


@pytest.mark.parametrize("native", [(20, 24), (7, 31), (31, 7), (24, 200)])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_whole_images_keep_their_aspect_ratio_and_cover_the_size(native, interpolation):
    image = np.random.default_rng(1).integers(0, 256, (*native, 3), np.uint8)
    ratio = 12 / min(native)
    size = tuple(round(side * ratio) for side in native)
    found = resizing.whole(tf.constant(image), (12, 12), interpolation).numpy()
    assert min(found.shape[:2]) == 12
    assert np.abs(found - pillow.resized(image, size, interpolation)).max() <= 0.51


# An image, and the resolution R of a network that sees R / (R + 32) of its shorter side.
CENTERS = [((375, 500), 224), ((500, 333), 224), ((301, 301), 240), ((97, 64), 300), ((1, 9), 224), ((633, 632), 600)]


@pytest.mark.parametrize(("native", "resolution"), CENTERS)
def test_the_central_square_is_cut_out_as_in_the_reference_implementation_of_efficientnet(native, resolution):
    """`_decode_and_center_crop` in preprocessing.py of tensorflow/tpu, with exact fractions."""
    height, width = native
    image = np.random.default_rng(2).integers(0, 256, (height, width, 3), np.uint8)
    side = max(1, int(Fraction(resolution, resolution + 32) * min(native)))
    top, left = (height - side + 1) // 2, (width - side + 1) // 2
    square = image[top : top + side, left : left + side]
    for interpolation in ("bilinear", "bicubic"):
        found = resizing.center(tf.constant(image), (40, 40), resolution / (resolution + 32), interpolation)
        np.testing.assert_allclose(found, pillow.resized(square, (40, 40), interpolation), atol=0.01)


@pytest.mark.parametrize("resolution", [224, 240, 260, 300, 380, 456, 528, 600])
def test_the_center_of_an_image_of_32_pixels_more_is_copied(resolution):
    """So a cached image is resampled only once."""
    image = np.random.default_rng(3).integers(0, 256, (resolution + 32, resolution + 45, 1), np.uint8)
    found = resizing.center(tf.constant(image), (resolution, resolution), resolution / (resolution + 32), "bicubic")
    np.testing.assert_allclose(found, image[16:-16, 23 : 23 + resolution], atol=1e-3)


SIZES = [((32, 32), (24, 24)), ((8, 8), (6, 6)), ((37, 53), (29, 31)), ((16, 48), (33, 17)), ((64, 64), (5, 63))]


PLAIN = {
    "fit": lambda image: resizing.fit(image, (96, 60)),
    "fit, bicubic": lambda image: resizing.fit(image, (96, 60), "bicubic"),
    "crop": lambda image: resizing.crop(image, (50, 60)),
    "letterbox": lambda image: resizing.letterbox(image, (70, 70)),
    "whole": lambda image: resizing.whole(image, (66, 66), "bicubic"),
    "center": lambda image: resizing.center(image, (40, 44), 0.875, "bicubic"),
    "fit_within": lambda image: resizing.fit_within(image, (90, 80)),
    "resize": lambda image: resizing.resize(tf.ensure_shape([image, image], (2, *image.shape)), (90, 80)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("native", [(40, 60), (300, 190), (7, 31), (96, 60), (70, 70)])
def test_plain_operators_give_the_same_pixels_but_for_rounding(name, native):
    image = tf.constant(np.random.default_rng(0).integers(0, 256, (*native, 3), np.uint8))
    expected = PLAIN[name](image)
    with resizing.plain_operators():
        found = PLAIN[name](image)
        graph = tf.function(PLAIN[name]).get_concrete_function(image).graph.as_graph_def()
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    difference = np.abs(np.asarray(found, float) - np.asarray(expected, float))
    assert difference.max() <= (1 if found.dtype == tf.uint8 else 0.02)  # of bicubic filters, TensorFlow uses a table
    assert (difference > 0.02).mean() < 0.004  # about a tenth of it in photographs
    operators = {node.op for node in graph.node} | {node.op for f in graph.library.function for node in f.node_def}
    assert not operators & {"ScaleAndTranslate", "If", "StatelessIf"}


def noise(size, channels=3, count=9):
    return np.random.default_rng(0).integers(0, 256, (count, *size, channels), np.uint8)


@pytest.mark.parametrize(("size", "target"), SIZES)
@pytest.mark.parametrize("channels", [1, 3])
def test_it_is_tensorflows_antialiased_resizing(size, target, channels):
    images = noise(size, channels)
    theirs = tf.image.resize(images, target, antialias=True).numpy()
    ours = resizing.resample(tf.constant(images), target).numpy()
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, theirs, atol=0.15)
    assert np.sqrt(np.mean((ours - theirs) ** 2)) < 0.02
    assert ours.min() >= 0
    assert ours.max() <= 255


@pytest.mark.parametrize(("size", "target"), SIZES)
@pytest.mark.parametrize("optimized", [True, False], ids=["graph", "eager"])
def test_no_bit_depends_on_the_batch(size, target, optimized):
    """Matrix products of other shapes add up in another order."""
    images = noise(size, count=130)
    resample = tf.function(resizing.resample, autograph=False) if optimized else resizing.resample
    whole = resample(tf.constant(images), target).numpy()
    for count in (1, 2, 3, 5, 31):
        np.testing.assert_array_equal(resample(tf.constant(images[4 : 4 + count]), target), whole[4 : 4 + count])


@pytest.mark.parametrize(("size", "target"), SIZES)
def test_every_sum_is_exact(size, target):
    """Brute force in whole numbers, in the order of the definition."""
    images = noise(size, count=2)
    rows, columns = (
        np.rint(resizing.weights(length, to, places) * 2**places).astype(np.int64)
        for length, to, places in zip(size, target, (17, 12), strict=True)
    )
    between = np.einsum("yh,nhwc->nywc", rows, images.astype(np.int64) - 128)
    between = np.rint(between / 2**12).astype(np.int64)  # Leaves 5 binary places; a half to the even neighbor.
    levels = np.einsum("xw,nywc->nyxc", columns, between) / 2.0**17 + 128
    np.testing.assert_array_equal(resizing.resample(tf.constant(images), target), levels.astype(np.float32))


@pytest.mark.parametrize("level", [0, 1, 200, 255])
def test_a_plain_image_stays_plain(level):
    images = tf.fill((2, 37, 53, 3), tf.constant(level, tf.uint8))
    np.testing.assert_array_equal(resizing.resample(images, (29, 31)), np.full((2, 29, 31, 3), level))


def test_batches_of_unknown_and_of_no_length():
    @tf.function(input_signature=[tf.TensorSpec([None, 32, 32, 3], tf.uint8)], autograph=False)
    def served(images):
        return resizing.resize(images, (24, 24))

    images = noise((32, 32))
    np.testing.assert_array_equal(served(images), resizing.resize(tf.constant(images), (24, 24)))
    assert served(images[:0]).shape == (0, 24, 24, 3)


def test_weights_are_shares():
    for length, target in ((32, 24), (64, 5), (7, 7), (5, 9), (53, 31)):
        shares = resizing.weights(length, target, 12)
        assert (shares >= 0).all()
        np.testing.assert_array_equal(shares.sum(axis=1), 1)
        np.testing.assert_array_equal(shares * 2**12, np.rint(shares * 2**12))
    np.testing.assert_array_equal(resizing.weights(7, 7, 12), np.eye(7))


@pytest.mark.parametrize("fit", resizing.FITS)
@pytest.mark.parametrize("native", [(336, 504), (504, 312), (104, 208)])
@pytest.mark.parametrize("reduction", [2, 8])
def test_an_image_at_a_reduced_size_gets_the_geometry_of_the_whole_one(fit, native, reduction):
    size = 24, 30
    rows, columns = np.mgrid[: native[0], : native[1]]
    whole = np.stack([rows * 255 // native[0], columns * 255 // native[1], rows * 0 + 90], -1).astype(np.uint8)
    small = Image.fromarray(whole).resize((native[1] // reduction, native[0] // reduction), Image.Resampling.BOX)
    expected, found = (resizing.FITS[fit](tf.constant(np.asarray(each)), size).numpy() for each in (whole, small))
    assert found.shape == expected.shape
    inside = np.s_[1:-1, 1:-1]  # at the border, what a filter covers differs
    assert np.abs(found[inside] - expected[inside].astype(float)).max() <= 3  # a pixel covers about 10 levels


@pytest.mark.parametrize(("fit", "factor"), [("stretch", 2), ("crop", 2), ("whole", 2), ("letterbox", 5)])
def test_shrinkage_is_that_of_the_fit(fit, factor):
    assert resizing.shrinkage((100, 100), (50, 20), fit) == factor
