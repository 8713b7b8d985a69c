import numpy as np
import tensorflow as tf

from tfeff.boxes import Points
from tfeff.tasks.cells import containing, hidden, images_with_shared_cells, learning, owners


def test_each_center_is_in_one_cell_also_on_the_border() -> None:
    points = Points((3,))
    centers, strides = points.centers((32, 32))[None], points.strides((32, 32))[None]
    boxes = tf.constant([[[0.0, 0, 8, 8], [4, 4, 12, 12], [30, 30, 34, 34], [8, 20, 20, 30]]])
    inside = containing(centers - strides / 2, strides, boxes).numpy()[0]
    assert inside.sum(axis=0).tolist() == [1, 1, 1, 1]
    assert inside.argmax(axis=0).tolist() == [0, 1 * 4 + 1, 15, 1 * 4 + 3]


def test_small_objects_are_learned_by_the_cells_of_their_centers() -> None:
    points = Points((3, 4))
    centers, strides = points.centers((32, 32))[None], points.strides((32, 32))[None]
    boxes = tf.constant([[[5.0, 5, 10, 10], [3, 3, 7, 7], [0, 0, 2, 32], [5, 5, 10, 10]]])
    usable = tf.constant([[True, True, True, False]])
    cells = [np.flatnonzero(each).tolist() for each in learning(centers, strides, boxes, usable).numpy()[0].T]
    # 16 cells with centers at 4, 12, ..., then 4 with centers at 8 and 24.
    assert cells == [[16], [0], [2, 17], []]
    tiny = tf.constant([[[5.0, 5, 7, 7]]])
    assert np.flatnonzero(learning(centers, strides, tiny, tf.constant([[True]]))).tolist() == [0, 16]


def test_hidden_cells_are_those_of_ignored_objects() -> None:
    points = Points((3,))
    strides = points.strides((32, 32))[None]
    corners = points.centers((32, 32))[None] - strides / 2
    boxes = tf.constant([[[0.0, 0, 13, 13], [25, 25, 26, 26], [16, 0, 32, 16]]])
    ignored = hidden(corners, strides, boxes, tf.constant([[True, True, False]])).numpy()[0].reshape(4, 4)
    assert np.argwhere(ignored).tolist() == [[0, 0], [0, 1], [1, 0], [1, 1], [3, 3]]
    assert not hidden(corners, strides, boxes, tf.zeros((1, 3), tf.bool)).numpy().any()


def test_the_first_object_owns_a_cell() -> None:
    indices, wanted = tf.constant([[2, 0, 2, 1]]), tf.constant([[False, True, True, True]])
    has, index = owners(indices, wanted, 4)
    assert has.numpy().tolist() == [[True, True, True, False]]
    assert index.numpy()[0, :3].tolist() == [1, 3, 2]
    has, index = owners(tf.constant([[1, 1]]), tf.constant([[True, True]]), 2)
    assert (has.numpy().tolist(), int(index[0, 1])) == ([[False, True]], 0)


def test_images_with_shared_cells() -> None:
    apart = np.array([[0.0, 0, 0.1, 0.1], [0.5, 0.5, 0.9, 0.9]])
    close = np.array([[0.0, 0, 0.1, 0.1], [0.05, 0, 0.15, 0.1]])
    assert images_with_shared_cells([apart, close, apart[:0]], 7, 7) == 1
    assert images_with_shared_cells([apart, close], 1, 1) == 2
    assert images_with_shared_cells([close], 100, 100) == 0
