import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.data.rectangles import draw, draws, find, traced
from tests.thoroughness import only_thorough
from tfeff.data.augment import box_geometry
from tfeff.data.augment.annotated_image import annotated
from tfeff.data.augment.counter_rng import Purpose
from tfeff.data.augment.policy import BoxAugmentation

FLIPS = {"": (1, 1), "horizontal": (1, -1), "vertical": (-1, 1), "both": (-1, -1)}


def test_whole_objects_at_the_border_are_not_cut_by_rounding():
    augmentation, labels = BoxAugmentation(min_share=1.0), tf.zeros(1, tf.int32)
    fit = traced(lambda image, draws: box_geometry.fit(image, (100, 300), augmentation, draws, stretch=True))
    for height in range(20, 120):
        box = tf.constant([[height - 3, 10, height, 20]], tf.float32)
        image = annotated(tf.zeros((height, 32, 3)), box, labels)
        assert fit(image, 0).difficult.numpy().tolist() == [False], height


def test_boxes_follow_flips_and_a_second_flip_restores_them():
    augmentation = BoxAugmentation(horizontal_flip=True, vertical_flip=True)
    flip = traced(lambda image, draws: box_geometry.flip(image, augmentation, draws))
    seen = set()
    for number in range(24):
        image = draw(number, objects=3)
        once = flip(image, number)
        ways = [
            name for name, (down, across) in FLIPS.items() if np.array_equal(once.image, image.image[::down, ::across])
        ]
        assert len(ways) == 1
        seen.add(ways[0])
        for box, label in zip(once.boxes_yxyx.numpy(), once.labels.numpy(), strict=True):
            np.testing.assert_array_equal(find(once.image.numpy(), label), box)
        twice = flip(once, number)
        for before, after in zip(image, twice, strict=True):
            np.testing.assert_array_equal(before, after)
    assert seen == set(FLIPS)


@pytest.mark.parametrize("field", ["horizontal_flip", "vertical_flip"])
def test_one_flip_does_not_cause_the_other(field):
    mirrored = 0
    for number in range(16):
        image = draw(number)
        once = box_geometry.flip(image, BoxAugmentation(**{field: True}), draws(number))
        same_axis = slice(0, 3, 2) if field == "horizontal_flip" else slice(1, 4, 2)
        np.testing.assert_array_equal(once.boxes_yxyx[:, same_axis], image.boxes_yxyx[:, same_axis])
        mirrored += not np.array_equal(once.image, image.image)
    assert 4 <= mirrored <= 12


def test_without_jitter_the_image_is_placed_top_left():
    for number, size in enumerate([(64, 64), (200, 90), (33, 150)] * 4):
        image = draw(number, objects=2)
        native = np.array(image.image.shape[:2])
        fitted = box_geometry.fit(image, size, BoxAugmentation(), draws(number))
        assert fitted.image.shape == (*size, 3)
        scale = min(size / native)
        covered = np.rint(native * scale).astype(int)
        assert (fitted.image.numpy()[covered[0] :] == box_geometry.FILL).all()
        assert (fitted.image.numpy()[:, covered[1] :] == box_geometry.FILL).all()
        np.testing.assert_allclose(
            fitted.boxes_yxyx, image.boxes_yxyx * np.tile(covered / native, 2).astype(np.float32), rtol=1e-6
        )
        for box, label in zip(fitted.boxes_yxyx.numpy(), fitted.labels.numpy(), strict=True):
            np.testing.assert_allclose(find(fitted.image.numpy(), label), box, atol=1)


@pytest.mark.parametrize("corner", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_a_small_image_is_placed_in_the_corner(corner):
    augmentation = BoxAugmentation(scale=0.5, min_share=0.0)
    fit = traced(lambda image, draws: box_geometry.fit(image, (80, 100), augmentation, draws, corner=corner))
    for number in range(20):
        fitted = fit(draw(number), number)
        pixels, size = fitted.image.numpy(), np.array([80, 100])
        assert (pixels[tuple(np.array(corner) * (size - 1))] != box_geometry.FILL).any()
        for box, label in zip(fitted.boxes_yxyx.numpy(), fitted.labels.numpy(), strict=True):
            np.testing.assert_allclose(find(pixels, label), box, atol=1.01)


def test_an_image_of_that_size_is_unchanged():
    image = draw(3)
    fitted = box_geometry.fit(image, tuple(image.image.shape[:2]), BoxAugmentation(), draws(3))
    for before, after in zip(image, fitted, strict=True):
        np.testing.assert_allclose(before, after, atol=1e-3)


@only_thorough
def test_boxes_follow_jitter_over_its_whole_range():
    augmentation = BoxAugmentation(scale=0.5, aspect=0.5, min_share=0.1)
    fit = traced(lambda image, draws: box_geometry.fit(image, (80, 100), augmentation, draws))
    factors, stretches, objects = [], [], 0
    for number in range(100):
        image = draw(number, objects=2)
        native = np.array(image.image.shape[:2])
        fitted = fit(image, number)
        boxes = fitted.boxes_yxyx.numpy()
        assert (boxes >= 0).all()
        assert (boxes <= [80, 100, 80, 100]).all()
        for box, label, share in zip(boxes, fitted.labels.numpy(), fitted.visible.numpy(), strict=True):
            np.testing.assert_allclose(find(fitted.image.numpy(), label), box, atol=1.01)
            objects += 1
            if share == 1:
                before = image.boxes_yxyx.numpy()[label]
                scale = (box[2:] - box[:2]) / (before[2:] - before[:2])
                factors.append(np.sqrt(scale.prod()) / min((80, 100) / native))
                stretches.append(scale[1] / scale[0])
    assert objects > 130
    assert 0.45 < min(factors) < 0.6
    assert max(factors) > 1.1
    assert 1 / 1.6 < min(stretches) < 0.75
    assert 1.33 < max(stretches) < 1.6


def test_boxes_follow_rotation():
    augmentation = BoxAugmentation(rotation=40, min_share=0.0)
    angles = []
    for number in range(60):
        image = draw(number, objects=1)
        turned = box_geometry.rotate(image, augmentation, draws(number))
        for box, label, share in zip(
            turned.boxes_yxyx.numpy(), turned.labels.numpy(), turned.visible.numpy(), strict=True
        ):
            found = find(turned.image.numpy(), label)
            # If a corner was cut off, the box is larger than the visible part of the rectangle.
            assert (found[:2] >= box[:2] - 1).all()
            assert (found[2:] <= box[2:] + 1).all()
            if share == 1:
                np.testing.assert_allclose(found, box, atol=2)
                before = image.boxes_yxyx.numpy()[label]
                h, w = before[2:] - before[:2]
                height = box[2] - box[0]
                angles.append(np.degrees(np.arcsin(min(1, height / np.hypot(h, w))) - np.arctan2(h, w)))
    assert max(np.abs(angles)) <= 40.1
    assert len(angles) > 15


def test_zero_rotation_changes_nothing_and_objects_cut_off_are_dropped():
    image = draw(0)
    same = box_geometry.rotate(image, BoxAugmentation(), draws(0))
    for before, after in zip(image, same, strict=True):
        np.testing.assert_allclose(before, after, atol=1e-3)
    corner = annotated(tf.zeros((40, 200, 3)), [[0, 180, 20, 200], [10, 90, 30, 110]], [4, 5])
    turned = box_geometry.rotate(corner, BoxAugmentation(rotation=180, min_share=0.9), draws(1))
    assert turned.labels.numpy().tolist() == [5]


def test_a_scale_range_reaches_both_ends_and_boxes_follow():
    augmentation = BoxAugmentation(scale_range=(0.1, 2.0), min_share=0.0)
    fit = traced(lambda image, draws: box_geometry.fit(image, (80, 100), augmentation, draws))
    factors = []
    for number in range(60):
        image = draw(number)
        native = np.array(image.image.shape[:2])
        fitted = fit(image, number)
        assert fitted.image.shape == (80, 100, 3)
        for box, share in zip(fitted.boxes_yxyx.numpy(), fitted.visible.numpy(), strict=True):
            if share == 1:
                before = image.boxes_yxyx.numpy()[0]
                scale = (box[2:] - box[:2]) / (before[2:] - before[:2])
                factors.append(np.sqrt(scale.prod()) / min((80, 100) / native))
    assert 0.08 < min(factors) < 0.3
    assert 1.2 < max(factors) <= 2.02


def test_stretching_fills_the_canvas():
    image = draw(4, objects=2)
    fitted = box_geometry.fit(image, (50, 90), BoxAugmentation(), draws(4), stretch=True)
    scale = np.array([50, 90]) / image.image.shape[:2]
    np.testing.assert_allclose(fitted.boxes_yxyx, image.boxes_yxyx * np.tile(scale, 2), rtol=1e-5)
    for box, label in zip(fitted.boxes_yxyx.numpy(), fitted.labels.numpy(), strict=True):
        np.testing.assert_allclose(find(fitted.image.numpy(), label), box, atol=1)


@pytest.mark.parametrize("mode", ["horizontal", "vertical"])
def test_flips_agree_with_keras_cv(mode):
    import keras_cv

    tf.random.set_global_generator(tf.random.Generator.from_seed(0))  # required if an earlier test was deterministic
    layer = keras_cv.layers.RandomFlip(mode, rate=1.0, bounding_box_format="yxyx")
    image = draw(3, objects=2)
    boxes = {"boxes": image.boxes_yxyx[tf.newaxis], "classes": tf.constant([[0.0, 1.0]])}
    theirs = layer({"images": image.image[tf.newaxis], "bounding_boxes": boxes}, training=True)
    augmentation = BoxAugmentation(**{f"{mode}_flip": True})
    flips = [box_geometry.flip(image, augmentation, draws(number)) for number in range(8)]
    flipped = next(each for each in flips if not np.array_equal(each.image, image.image))
    np.testing.assert_array_equal(flipped.image, theirs["images"][0])
    np.testing.assert_allclose(flipped.boxes_yxyx, theirs["bounding_boxes"]["boxes"].to_tensor()[0], atol=1e-3)


def test_rotated_boxes_agree_with_keras():
    augmentation = BoxAugmentation(rotation=15, min_share=0.0)
    for number in range(5):
        image = draw(number, objects=2)
        height, width = image.image.shape[:2]
        chance = draws(number).uniform(Purpose.BOX_ROTATION, 1).numpy()[0, 0]
        rotated = box_geometry.rotate(image, augmentation, draws(number))
        zero = np.zeros(1, np.float32)
        theirs = keras.utils.bounding_boxes.affine_transform(
            image.boxes_yxyx.numpy()[None][..., [1, 0, 3, 2]],
            angle=np.array([-(2 * chance - 1) * 15], np.float32),
            translate_x=zero,
            translate_y=zero,
            scale=zero + 1,
            shear_x=zero,
            shear_y=zero,
            height=height,
            width=width,
        )
        theirs = np.asarray(theirs)[0][:, [1, 0, 3, 2]].clip(0, [height, width, height, width])
        kept = rotated.labels.numpy()
        np.testing.assert_allclose(rotated.boxes_yxyx, theirs[kept], atol=0.7)
