import functools
from dataclasses import fields

import numpy as np
import pytest
import tensorflow as tf

from tests.data.rectangles import SIGNATURE, draw, find
from tests.thoroughness import thorough
from tfeff.data.augment import box_autoaugment, boxes, operations
from tfeff.data.augment.annotated_image import AnnotatedImage, annotated
from tfeff.data.augment.box_autoaugment import FILL
from tfeff.data.augment.boxes import augment_single_objects
from tfeff.data.augment.counter_rng import Draws
from tfeff.data.augment.images import jitter
from tfeff.data.augment.policy import BoxAugmentation

COUNT = 12
IMAGES = [draw(number, objects=2) for number in range(COUNT)]


def draw_small(number):
    """A rectangle in color on gray noise, so small that it hardly changes the histograms that operations equalize."""
    rng = np.random.default_rng(number)
    pixels = np.repeat(rng.integers(0, 60, (72, 96, 1)), 3, axis=-1)
    pixels[::12, ::12] = 255  # so that AutoContrast stretches no channel
    top, left, height, width = (*rng.integers(8, 48, 2).tolist(), *rng.integers(12, 17, 2).tolist())
    pixels[top : top + height, left : left + width] = 255, 0, 130
    box = tf.constant([[top, left, top + height, left + width]])
    return annotated(tf.constant(pixels, tf.float32), box, tf.zeros(1, tf.int32))


SMALL = [draw_small(number) for number in range(COUNT)]
EVERYTHING = BoxAugmentation(
    horizontal_flip=True,
    vertical_flip=True,
    rotation=10,
    scale=0.4,
    aspect=0.2,
    mosaic=0.5,
    mixup=0.5,
    copy_paste=0.5,
    brightness=0.2,
    hue=0.05,
)
SIMPLE = BoxAugmentation(horizontal_flip=True, vertical_flip=True, scale=0.4, aspect=0.3, contrast=0.1)


@functools.cache
def traced(augmentation, seed, small):
    images = SMALL if small else IMAGES

    def read(position):
        dtypes = [spec.dtype for spec in SIGNATURE]
        parts = tf.numpy_function(lambda i: [part.numpy() for part in images[i]], [position], dtypes)
        return AnnotatedImage(*(tf.ensure_shape(part, spec.shape) for part, spec in zip(parts, SIGNATURE, strict=True)))

    def one(epoch, index):
        draws = Draws(seed, epoch, index[tf.newaxis], tf.zeros(1, tf.int64))
        return boxes.augment(read, COUNT, (72, 96), augmentation, draws)

    specs = (tf.TensorSpec((), tf.int64), tf.TensorSpec((), tf.int64))
    return tf.function(one, input_signature=specs, autograph=False, jit_compile=False)


def augmented(augmentation, epochs=(0,), *, seed=0, twice=False, small=False):
    """Returns all images of all epochs in one list, made by several threads; `twice`: then again, in reverse order.

    `small`: of SMALL instead of IMAGES.
    """
    places = [(epoch, index) for epoch in epochs for index in range(COUNT)]
    places += places[::-1] if twice else []
    one = traced(augmentation, seed, small)
    data = tf.data.Dataset.from_tensor_slices(tf.constant(places, tf.int64))
    data = data.map(lambda place: one(place[0], place[1]), num_parallel_calls=3)
    return [AnnotatedImage(*(part.numpy() for part in image)) for image in data]


@pytest.fixture(scope="module")
def both():
    """Images of two epochs, and the same images made again."""
    images = augmented(EVERYTHING, range(2), twice=True)
    return images[: 2 * COUNT], images[2 * COUNT :][::-1]


@pytest.fixture
def varied(both):
    return both[0]


def same(one, other):
    return all(np.array_equal(part, likewise) for part, likewise in zip(one, other, strict=True))


def test_an_image_depends_on_seed_epoch_and_index_alone(both):
    varied, again = both
    assert len(again) == 2 * COUNT
    assert all(map(same, varied, again))
    assert len({image.image.tobytes() for image in varied}) == 2 * COUNT
    simple = augmented(SIMPLE) + augmented(SIMPLE, seed=1)
    assert len({image.image.tobytes() for image in simple}) == 2 * COUNT


def test_results_are_well_formed(varied):
    for image in varied:
        assert image.image.shape == (72, 96, 3)
        assert image.image.min() >= 0
        assert image.image.max() <= 255
        assert (image.boxes_yxyx >= 0).all()
        assert (image.boxes_yxyx <= [72, 96, 72, 96]).all()
        sides = image.boxes_yxyx[:, 2:] - image.boxes_yxyx[:, :2]
        assert (sides > 0).all()
        assert (sides[~(image.difficult | image.crowd)] >= 1).all()
        assert ((image.visible >= 0.25) == ~image.difficult).all()
        assert {len(part) for part in image[2:-1]} == {len(image.labels)}


def test_boxes_follow_their_pixels_through_all_steps():
    found = 0
    for image in augmented(SIMPLE, range(4)):
        for box, label in zip(image.boxes_yxyx, image.labels, strict=True):
            np.testing.assert_allclose(find(image.image, label), box, atol=1.5)
            found += 1
    assert found > 3 * COUNT


EACH = {
    "horizontal_flip": {"horizontal_flip": True},
    "vertical_flip": {"vertical_flip": True},
    "rotation": {"rotation": 15.0},
    "scale": {"scale": 0.5},
    "scale_range": {"scale_range": (0.1, 2.0)},
    "aspect": {"aspect": 0.5},
    "brightness": {"brightness": 0.3},
    "contrast": {"contrast": 0.5},
    "saturation": {"saturation": 0.5},
    "hue": {"hue": 0.5},
    "mosaic": {"mosaic": 1.0},
    "mixup": {"mixup": 1.0},
    "copy_paste": {"copy_paste": 1.0},
    **{f"autoaugment {policy}": {"autoaugment": policy} for policy in ("v0", "v1", "v2", "v3")},
}
LOOSE = ("rotation", "mixup", "autoaugment")
"""Boxes of turned and sheared objects are larger; parts of objects fade or are cut out."""


def test_each_augmentation_is_tested():
    assert {name.partition(" ")[0] for name in EACH} == {field.name for field in fields(BoxAugmentation)} - {
        "min_share"
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", [thorough(name) if name.endswith("v0") else name for name in EACH])  # v1 has its lines
def test_a_rectangle_stays_in_its_box(name):
    """Of the pixels in color, each is in a box; and they fill it, where only flips, scales and crops change it."""
    filled = 0
    for image in augmented(BoxAugmentation(**EACH[name]), range(4), small=True):
        marked = np.ptp(image.image, axis=-1) > 100
        center = np.argwhere(marked)[:, np.newaxis] + 0.5
        inside = (center > image.boxes_yxyx[:, :2] - 1.5) & (center < image.boxes_yxyx[:, 2:] + 1.5)
        assert inside.all(axis=-1).any(axis=-1).all()
        for box in image.boxes_yxyx[(image.boxes_yxyx[:, 2:] - image.boxes_yxyx[:, :2] >= 8).all(axis=1)]:
            (top, left), (bottom, right) = np.floor(box[:2]).astype(int), np.ceil(box[2:]).astype(int)
            part = marked[top:bottom, left:right]
            filled += part.mean() > 0.7
            assert part.mean() > 0.7 or name.startswith(LOOSE)
    assert filled > COUNT


def test_a_mosaic_has_objects_of_several_images(varied):
    assert max(len(image.labels) for image in augmented(SIMPLE)) <= 2
    assert 2 < max(len(image.labels) for image in varied) <= 12  # with two of copy-paste and two of MixUp


def one_of_two(number):
    """An image that fills half of a canvas of 64x64, in levels apart from those of padding."""
    pixels = np.random.default_rng(number).integers(150, 200, (32, 64, 3))
    return annotated(tf.constant(pixels, tf.float32), tf.constant([[4, 8, 20, 40]]), tf.zeros(1, tf.int32))


def varied_half(augmentation, number=0, extra=()):
    image = one_of_two(number)._replace(extra_boxes_yxyx=tf.reshape(tf.constant(extra, tf.float32), (-1, 4)))
    draws = Draws(0, 0, tf.constant([number], tf.int64), tf.zeros(1, tf.int64))
    return boxes.augment(lambda index: image, 1, (64, 64), augmentation, draws)


def test_color_jitter_and_policies_leave_padding_alone(monkeypatch):
    monkeypatch.setitem(box_autoaugment.POLICIES, "v3", ((("Equalize", 1.0, 0),),))
    original = one_of_two(0).image.numpy()
    equalized = varied_half(BoxAugmentation(autoaugment="v3")).image.numpy()
    np.testing.assert_array_equal(equalized[:32], operations.equalize(original[np.newaxis])[0])
    assert (equalized[32:] == FILL).all()
    settings = BoxAugmentation(brightness=0.2, contrast=0.4, saturation=0.1, hue=0.1)
    draws = Draws(0, 0, tf.constant([0], tf.int64), tf.zeros(1, tf.int64))
    colored = varied_half(settings).image.numpy()
    np.testing.assert_allclose(
        colored[:32], jitter(tf.constant(original[np.newaxis]), settings.color, draws)[0], atol=1e-3
    )
    assert np.abs(colored[:32] - original).mean() > 1
    assert (colored[32:] == FILL).all()


@pytest.mark.parametrize(
    "kind",
    [{}, {"scale_range": (0.3, 0.9)}, {"rotation": 30.0}, {"mosaic": 1.0}, {"mixup": 1.0}, {"copy_paste": 1.0}],
    ids=lambda kind: next(iter(kind), "none"),
)
def test_color_jitter_changes_what_the_image_covers_only(kind):
    for number in range(4):
        plain = varied_half(BoxAugmentation(**kind), number, extra=[[0, 0, 32, 64], [1, 2, 3, 4]])
        colored = varied_half(BoxAugmentation(**kind, brightness=0.3), number, extra=[[0, 0, 32, 64], [1, 2, 3, 4]])
        assert all(np.array_equal(one, other) for one, other in zip(plain[1:], colored[1:], strict=True))
        padding = (plain.image.numpy() == FILL).all(axis=-1)
        changed = (colored.image.numpy() != plain.image.numpy()).all(axis=-1)
        assert padding.any()
        assert not changed[padding].any()
        assert changed[~padding].mean() > 0.99


@pytest.mark.parametrize(
    "kind",
    [
        {"scale_range": (0.3, 0.9), "horizontal_flip": True, "vertical_flip": True},
        {"rotation": 30.0},
        {"mosaic": 1.0},
        {"mixup": 1.0},
        {"copy_paste": 1.0},
        {"autoaugment": "v3"},
    ],
    ids=lambda kind: next(iter(kind)),
)
def test_what_an_image_does_not_cover_is_gray(kind, monkeypatch):
    monkeypatch.setitem(box_autoaugment.POLICIES, "v3", ((("ShearX", 1.0, 8), ("TranslateY", 1.0, 4)),))
    for number in range(6):
        image = varied_half(BoxAugmentation(**kind), number)
        covered = image.covered.numpy()
        gray = (np.abs(image.image.numpy() - FILL) < 0.5).all(axis=-1, keepdims=True)  # pixels at edges are mixed
        assert 0.02 < covered.mean() < 1
        assert gray[~covered].all()
        assert gray[covered].mean() < 0.01


def test_without_augmentation_nothing_varies():
    images = augmented(BoxAugmentation(), (0, 5))
    assert all(map(same, images[:COUNT], images[COUNT:]))


SIDE = 64


def squares(count):
    """White rectangles on gray, uint8 [count, 64, 64, 1], and their boxes in shares."""
    rng = np.random.default_rng(0)
    images, boxes = np.full((count, SIDE, SIDE, 1), 60, np.uint8), []
    for image in images:
        top, left = rng.integers(4, 30, 2)
        bottom, right = top + rng.integers(12, 30), left + rng.integers(12, 30)
        image[top:bottom, left:right] = 255
        boxes.append((top, left, bottom, right))
    return images, np.array(boxes, np.float32) / SIDE


def varied_single_object(images, boxes, augmentation, epoch=1, index=None):
    index = np.arange(len(images)) if index is None else index
    draws = Draws(5, tf.constant(epoch), tf.constant(index, tf.int64), tf.zeros(len(index), tf.int64))
    out = augment_single_objects(tf.constant(images), tf.constant(boxes), (SIDE, SIDE), augmentation, draws)
    return [tensor.numpy() for tensor in out]


def around(image):
    rows, columns = (np.flatnonzero((image[..., 0] > 190).any(axis=axis)) for axis in (1, 0))
    return np.array([rows[0], columns[0], rows[-1] + 1, columns[-1] + 1])


@pytest.mark.slow
@pytest.mark.parametrize(
    "augmentation",
    [
        BoxAugmentation(),
        thorough(BoxAugmentation(horizontal_flip=True, vertical_flip=True)),
        BoxAugmentation(scale=0.3, aspect=0.3),
        BoxAugmentation(horizontal_flip=True, scale=0.2, rotation=2, brightness=0.05),
    ],
)
def test_the_box_surrounds_the_rectangle(augmentation):
    images, boxes = squares(24)
    out, moved = varied_single_object(images, boxes, augmentation)
    assert out.shape == (24, SIDE, SIDE, 1)
    for image, box in zip(out, moved, strict=True):
        np.testing.assert_allclose(box * SIDE, around(image), atol=2.6 if augmentation.rotation else 1.1)
    if augmentation.any:
        assert (np.abs(moved - boxes).max(axis=1) > 0.02).any()


def test_an_image_that_would_lose_its_object_stays_unaugmented():
    images = np.full((40, SIDE, SIDE, 1), 60, np.uint8)
    images[:, :4, :4] = 255
    boxes = np.tile(np.array([[0, 0, 4, 4]], np.float32) / SIDE, (40, 1))
    out, moved = varied_single_object(images, boxes, BoxAugmentation(scale=0.9, min_share=1.0))
    same = (out == images).all(axis=(1, 2, 3))
    assert 3 < same.sum() < 37
    np.testing.assert_array_equal(moved[same], boxes[same])
    for image, box in zip(out[~same], moved[~same], strict=True):
        np.testing.assert_allclose(box * SIDE, around(image), atol=1.6)


def test_augmentation_does_not_depend_on_the_batch():
    images, boxes = squares(6)
    strong = BoxAugmentation(horizontal_flip=True, scale=0.3, rotation=5, contrast=0.3)
    out, moved = varied_single_object(images, boxes, strong)
    alone = varied_single_object(images[4:5], boxes[4:5], strong, index=np.array([4]))
    np.testing.assert_array_equal(alone[0][0], out[4])
    np.testing.assert_array_equal(alone[1][0], moved[4])
    assert not np.array_equal(varied_single_object(images, boxes, strong, epoch=2)[1], moved)
