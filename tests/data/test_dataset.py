import numpy as np
import pytest
import tensorflow as tf

from tfeff.data.dataset import Source
from tfeff.errors import UserError

IMAGES = tf.constant(np.arange(5 * 2 * 3, dtype=np.uint8).reshape(5, 2, 3, 1))


def source(labels, channels=1):
    ids = [f"train[{i}]" for i in range(len(labels))]
    return Source("tiny", ("a", "b", "c"), np.array(labels), ids, channels, lambda i: IMAGES[i], "tiny/1", (2, 3))


def test_a_subset_keeps_images_labels_and_ids_together():
    part = source([0, 2, 1, 1, 0]).take(np.array([3, 1])).take(np.array([1, 0, 1]))
    np.testing.assert_array_equal(part.labels, [2, 1, 2])
    assert list(part.ids) == ["train[1]", "train[3]", "train[1]"]
    for i, original in enumerate([1, 3, 1]):
        np.testing.assert_array_equal(part.read(tf.constant(i, tf.int64)), IMAGES[original])
    np.testing.assert_array_equal(part.class_counts(), [0, 1, 2])


@pytest.mark.parametrize(
    ("labels", "channels", "message"),
    [
        ([], 1, "tiny: no images"),
        ([0, 3, 1], 1, r"1 labels are outside 0\.\.2, the first is 3 at train\[1\]"),
        ([-1, 0], 1, r"the first is -1 at train\[0\]"),
        ([0, 1], 2, "channels must be 1"),
    ],
)
def test_what_is_no_labelled_set(labels, channels, message):
    with pytest.raises(UserError, match=message):
        source(labels, channels)
