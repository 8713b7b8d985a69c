import numpy as np
import pytest
import tensorflow as tf

from tfeff.data.augment.annotated_image import annotated, clipped, visible_part

BOXES = [[0, 0, 10, 10], [5, 5, 15, 25], [-5, 0, 15, 10], [18, 0, 40, 10], [30, 30, 40, 40], [4, 4, 8, 4.5]]


def cut(min_share, boxes=BOXES):
    labels = tf.range(len(boxes))
    image = annotated(tf.zeros((20, 20, 3)), tf.constant(boxes, tf.float32), labels, labels % 2 == 0, labels % 3 == 0)
    return clipped(image, tf.constant([0.0, 0.0, 20.0, 20.0]), min_share)


def test_visible_objects_keep_their_label_and_flags_unless_too_little_is_left():
    shares = {0: 1.0, 1: 0.75, 2: 0.75, 3: 2 / 22}
    for least in (0.0, 0.05, 0.5, 0.75, 0.8, 1.0):
        image = cut(least)
        assert image.labels.numpy().tolist() == list(shares)  # the others are outside, or thinner than a pixel
        np.testing.assert_allclose(image.visible, list(shares.values()))
        np.testing.assert_array_equal(image.boxes_yxyx, np.clip(np.array(BOXES)[:4], 0, 20))
        too_little = [share < least for share in shares.values()]
        assert image.difficult.numpy().tolist() == [label % 2 == 0 or too_little[label] for label in shares]
        assert image.crowd.numpy().tolist() == [label % 3 == 0 for label in shares]


def test_visibility_is_relative_to_the_original_box():
    image = cut(0.0, [[0, 0, 10, 30]] * 2)
    again = clipped(image, tf.constant([0.0, 0.0, 5.0, 20.0]), 0.0)
    np.testing.assert_allclose(again.visible, [1 / 3] * 2)
    window = tf.constant([0.0, 0.0, 5.0, 20.0])
    for least, difficult in ((1 / 3, [True, False]), (0.4, [True, True])):
        assert clipped(image, window, least - 1e-6).difficult.numpy().tolist() == difficult


def test_an_image_without_objects_has_empty_boxes():
    image = clipped(annotated(tf.zeros((4, 4, 3)), [], tf.zeros(0, tf.int32)), tf.constant([0.0, 0.0, 4.0, 4.0]), 0.5)
    assert image.boxes_yxyx.shape == (0, 4)
    assert image.crowd.dtype == tf.bool


def test_an_extra_box_is_clipped_and_dropped_only_if_nothing_is_left():
    extra = tf.constant([[-5, -5, 0.5, 0.5], [30, 30, 40, 40], [2, 3, 4, 90], [-9, 2, 0, 8]], tf.float32)
    image = annotated(tf.zeros((20, 20, 3)), [], tf.zeros(0, tf.int32), extra_boxes_yxyx=extra)
    kept = clipped(image, tf.constant([0.0, 0.0, 20.0, 20.0]), 1.0).extra_boxes_yxyx
    np.testing.assert_array_equal(kept, [[0, 0, 0.5, 0.5], [2, 3, 4, 20]])


@pytest.mark.parametrize("ignored", [None, "difficult", "crowd"])
def test_of_ignored_objects_any_area_remains(ignored):
    """So that a sliver of them is not learned as background; objects to learn have sides of at least a pixel."""
    boxes = tf.constant([[2, 2, 12, 2.75], [2, 5, 12, 5], [5, 8, 5.25, 8.25], [12, 19.5, 18, 29.5], [12, 20, 18, 25]])
    flags = {ignored: tf.ones(5, tf.bool)} if ignored else {}
    image = annotated(tf.zeros((20, 20, 3)), boxes, tf.range(5), **flags)
    window = tf.constant([0.0, 0.0, 20.0, 20.0])
    assert clipped(image, window, 0.0).labels.numpy().tolist() == ([0, 2, 3] if ignored else [])
    # of object 3, a twentieth is left
    kept = clipped(image, window, 0.25)
    assert kept.labels.numpy().tolist() == ([0, 2, 3] if ignored else [3])
    assert kept.difficult.numpy()[-1]
    np.testing.assert_array_equal(kept.boxes_yxyx[-1], [12, 19.5, 18, 20])


def test_of_hidden_ignored_objects_any_area_remains():
    shown = np.zeros((20, 20), bool)
    shown[:, :4] = True
    boxes = tf.constant([[2, 3.5, 12, 12], [2, 4, 12, 12], [2, 3.5, 12, 4.5]])
    for difficult, labels in ((False, []), (True, [0, 2])):
        image = annotated(tf.zeros((20, 20, 3)), boxes, tf.range(3), tf.fill(3, difficult))
        assert visible_part(image, tf.constant(shown), 0.0).labels.numpy().tolist() == labels
