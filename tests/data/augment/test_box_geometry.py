import numpy as np
import pytest
import tensorflow as tf

from tests.data.rectangles import draw, draws, find
from tfeff.data.augment import box_geometry
from tfeff.data.augment.annotated_image import annotated
from tfeff.data.augment.box_policy import BoxAugmentation

FLIPS = {"": (1, 1), "horizontal": (1, -1), "vertical": (-1, 1), "both": (-1, -1)}


def test_a_flip_moves_pixels_and_box_alike_and_another_one_brings_them_back():
    augmentation = BoxAugmentation(horizontal_flip=True, vertical_flip=True)
    seen = set()
    for number in range(24):
        image = draw(number, objects=3)
        once = box_geometry.flip(image, augmentation, draws(number))
        ways = [
            name for name, (down, across) in FLIPS.items() if np.array_equal(once.image, image.image[::down, ::across])
        ]
        assert len(ways) == 1
        seen.add(ways[0])
        for box, label in zip(once.boxes_yxyx.numpy(), once.labels.numpy(), strict=True):
            np.testing.assert_array_equal(find(once.image.numpy(), label), box)
        twice = box_geometry.flip(once, augmentation, draws(number))
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


def test_without_jitter_the_whole_image_lies_top_left():
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
def test_a_corner_holds_what_is_too_small(corner):
    for number in range(20):
        augmentation = BoxAugmentation(scale=0.5, min_share=0.0)
        fitted = box_geometry.fit(draw(number), (80, 100), augmentation, draws(number), corner=corner)
        pixels, size = fitted.image.numpy(), np.array([80, 100])
        assert (pixels[tuple(np.array(corner) * (size - 1))] != box_geometry.FILL).any()
        for box, label in zip(fitted.boxes_yxyx.numpy(), fitted.labels.numpy(), strict=True):
            np.testing.assert_allclose(find(pixels, label), box, atol=1.01)


def test_an_image_of_that_size_stays_as_it_is():
    image = draw(3)
    fitted = box_geometry.fit(image, tuple(image.image.shape[:2]), BoxAugmentation(), draws(3))
    for before, after in zip(image, fitted, strict=True):
        np.testing.assert_allclose(before, after, atol=1e-3)


def test_jitter_moves_pixels_and_box_alike_over_its_whole_range():
    augmentation = BoxAugmentation(scale=0.5, aspect=0.5, min_share=0.1)
    factors, stretches, objects = [], [], 0
    for number in range(100):
        image = draw(number, objects=2)
        native = np.array(image.image.shape[:2])
        fitted = box_geometry.fit(image, (80, 100), augmentation, draws(number))
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


def test_a_rotation_moves_pixels_and_box_alike():
    angles = []
    for number in range(60):
        image = draw(number, objects=1)
        turned = box_geometry.rotate(image, BoxAugmentation(rotation=40, min_share=0.0), draws(number))
        for box, label, share in zip(
            turned.boxes_yxyx.numpy(), turned.labels.numpy(), turned.visible.numpy(), strict=True
        ):
            found = find(turned.image.numpy(), label)
            # Where a corner was cut off, the box is larger than what is left of the rectangle.
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


def test_a_turn_by_nothing_changes_nothing_and_what_is_cut_off_too_much_is_dropped():
    image = draw(0)
    same = box_geometry.rotate(image, BoxAugmentation(), draws(0))
    for before, after in zip(image, same, strict=True):
        np.testing.assert_allclose(before, after, atol=1e-3)
    corner = annotated(tf.zeros((40, 200, 3)), [[0, 180, 20, 200], [10, 90, 30, 110]], [4, 5])
    turned = box_geometry.rotate(corner, BoxAugmentation(rotation=180, min_share=0.9), draws(1))
    assert turned.labels.numpy().tolist() == [5]
