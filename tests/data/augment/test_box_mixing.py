import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from tests.data.rectangles import draw, draws, find, traced
from tfeff.data.augment import box_mixing, boxes
from tfeff.data.augment.annotated_image import AnnotatedImage, annotated, visible_part
from tfeff.data.augment.counter_rng import Purpose
from tfeff.data.augment.policy import BoxAugmentation

SIDE = 60


def with_objects(number: int, labels: tuple[int, ...]) -> AnnotatedImage:
    """An image whose rectangles are those of some labels alone."""
    drawn = draw(number, objects=4, sides=(SIDE, SIDE + 1))
    pixels = np.full((SIDE, SIDE, 3), 20.0 + number, np.float32)
    found = drawn.boxes_yxyx.numpy()[list(labels)]
    for top, left, bottom, right in found.astype(int):
        pixels[top:bottom, left:right] = drawn.image.numpy()[top:bottom, left:right]
    return annotated(tf.constant(pixels), tf.constant(found), tf.constant(labels))


def mirrored(image: AnnotatedImage) -> AnnotatedImage:
    """Labels are in order from left to right; the last ones of this image lie over the first ones of another."""
    top, left, bottom, right = tf.unstack(image.boxes_yxyx, axis=1)
    flipped = tf.stack([top, SIDE - right, bottom, SIDE - left], axis=1)
    return image._replace(image=image.image[:, ::-1], boxes_yxyx=flipped)


@pytest.mark.slow
def test_pasted_and_covered_rectangles_are_where_their_boxes_are() -> None:
    pasted = covered = 0
    for number in range(40):
        own, other = with_objects(number, (0, 1)), mirrored(with_objects(number + 100, (2, 3)))
        mixed = box_mixing.copy_paste(own, other, 0.0, draws(number))
        image, labels = mixed.image.numpy(), mixed.labels.numpy().tolist()
        for box, label in zip(mixed.boxes_yxyx.numpy(), labels, strict=True):
            np.testing.assert_array_equal(find(image, label), box)
        pasted += len({2, 3} & set(labels))
        for label in (0, 1):
            before = own.boxes_yxyx.numpy()[label]
            if label in labels:
                row = labels.index(label)
                area = np.sum((image[..., 0] == 255) & (np.abs(image[..., 2] - (10, 130)[label]) < 1))
                share = area / np.prod(before[2:] - before[:2])
                np.testing.assert_allclose(mixed.visible.numpy()[row], share, rtol=1e-5)
                covered += share < 1
            else:
                assert not ((image[..., 0] == 255) & (image[..., 2] == (10, 130)[label])).any()
    assert 20 < pasted < 60  # each with probability 1/2
    assert covered > 5


def test_an_object_of_which_too_little_is_left_is_difficult() -> None:
    own = annotated(tf.zeros((SIDE, SIDE, 3)), tf.constant([[0, 0, 20, 20], [30, 30, 40, 40]]), tf.constant([0, 1]))
    mask = np.ones((SIDE, SIDE), bool)
    mask[:15, :] = False
    for least, difficult in ((0.3, True), (0.25, False)):
        left = visible_part(own, tf.constant(mask), least)
        assert left.difficult.numpy().tolist() == [difficult, False]
        assert left.boxes_yxyx.numpy().tolist() == [[15, 0, 20, 20], [30, 30, 40, 40]]
        assert left.visible.numpy().tolist() == [0.25, 1.0]


@pytest.mark.parametrize("seed", range(4))
def test_visible_parts_against_loops(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = rng.random((12, 15)) < (0.1, 0.3, 0.6, 0.0)[seed]
    corners = np.sort(rng.uniform(0, 1, (30, 2, 2)), axis=1) * [12, 15]
    corners = corners[(corners[:, 1] - corners[:, 0] >= 1).all(axis=1)]
    given = np.concatenate([corners[:, 0], corners[:, 1]], axis=1).astype(np.float32)
    image = annotated(tf.zeros((12, 15, 3)), tf.constant(given), tf.range(len(given)), extra_boxes_yxyx=given)
    found = visible_part(image, tf.constant(mask), 0.0)
    expected, extra = {}, []
    for label, (top, left, bottom, right) in enumerate(given.tolist()):
        inside = [
            (y, x)
            for y in range(int(np.floor(top)), int(np.ceil(bottom)))
            for x in range(int(np.floor(left)), int(np.ceil(right)))
        ]
        seen = np.array([place for place in inside if mask[place]])
        if len(seen):
            (y0, x0), (y1, x1) = seen.min(axis=0), seen.max(axis=0) + 1
            box = [max(top, y0), max(left, x0), min(bottom, y1), min(right, x1)]
            extra.append(box)
            if box[2] - box[0] >= 1 and box[3] - box[1] >= 1:
                expected[label] = (box, len(seen) / len(inside))
    assert found.labels.numpy().tolist() == list(expected)
    np.testing.assert_allclose(found.boxes_yxyx.numpy().reshape(-1), np.ravel([box for box, _ in expected.values()]))
    np.testing.assert_allclose(found.visible.numpy(), [share for _, share in expected.values()], rtol=1e-6)
    np.testing.assert_allclose(found.extra_boxes_yxyx.numpy().reshape(-1), np.ravel(extra))


def test_crowds_and_difficult_objects_are_not_pasted() -> None:
    own, other = with_objects(0, (0, 1)), with_objects(1, (2, 3))
    flagged = other._replace(crowd=tf.constant([True, False]), difficult=tf.constant([False, True]))
    for number in range(8):
        mixed = box_mixing.copy_paste(own, flagged, 0.0, draws(number))
        np.testing.assert_array_equal(mixed.image, own.image)
        assert mixed.labels.numpy().tolist() == [0, 1]


def test_a_blend_has_the_objects_of_both_images_and_faint_ones_are_difficult() -> None:
    own, other = with_objects(7, (0, 1)), with_objects(9, (2, 3))
    blend, shares = traced(lambda image, example: box_mixing.mixup(image, other, 0.25, example)), []
    for number in range(300):
        mixed = blend(own, number)
        # the backgrounds of the images are 27 and 29
        share = (29.0 - float(mixed.image[0, SIDE - 1, 0])) / 2
        np.testing.assert_allclose(mixed.image, share * own.image + (1 - share) * other.image, atol=1e-2)
        assert mixed.labels.numpy().tolist() == [0, 1, 2, 3]
        assert mixed.difficult.numpy().tolist() == [share < 0.25] * 2 + [share > 0.75] * 2
        both = {0: own, 1: own, 2: other, 3: other}
        for box, label in zip(mixed.boxes_yxyx.numpy(), mixed.labels.numpy(), strict=True):
            np.testing.assert_array_equal(box, both[label].boxes_yxyx[label % 2])
        shares.append(share)
    assert scipy.stats.kstest(shares, scipy.stats.beta(1.5, 1.5).cdf).pvalue > 0.01


@pytest.mark.slow
@pytest.mark.parametrize("field", ["mixup", "copy_paste"])
def test_an_example_is_mixed_with_its_partner_alone(field: str) -> None:
    read, mixed = [], 0

    def image(index: tf.Tensor) -> AnnotatedImage:
        read.append(int(index))
        return with_objects(int(index), (0, 1) if int(index) % 2 else (2, 3))

    settings = BoxAugmentation(horizontal_flip=True, **{field: 0.5})
    plain = BoxAugmentation(horizontal_flip=True)
    for number in range(20):
        read.clear()
        varied = boxes.augment(image, 20, (SIDE, SIDE), settings, draws(number))
        needed = boxes.dependencies(20, settings, draws(number)).numpy().tolist()
        assert read == needed
        assert needed[0] == number
        assert len(set(needed)) == len(needed)
        if len(needed) == 1:
            same = boxes.augment(image, 20, (SIDE, SIDE), plain, draws(number))
            np.testing.assert_array_equal(varied.image, same.image)
        mixed += len(needed) == 2
    assert 3 < mixed < 17
    purpose = {"mixup": Purpose.BOX_MIXUP, "copy_paste": Purpose.COPY_PASTE}[field]
    assert box_mixing.chosen(purpose, 1.0, draws(0))
    assert not box_mixing.chosen(purpose, 0.0, draws(0))
