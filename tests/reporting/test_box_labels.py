import numpy as np
import pytest

from tfeff.reporting.box_labels import place_labels


def intersections(places):
    sides = np.minimum(places[:, None, 2:], places[None, :, 2:]) - np.maximum(places[:, None, :2], places[None, :, :2])
    return np.triu(np.clip(sides, 0, None).prod(axis=-1), 1)


@pytest.mark.parametrize("image_size", [(300, 400), (40, 3000), (3000, 40)])
def test_labels_are_inside_the_image_and_keep_their_size(image_size):
    rng = np.random.default_rng(0)
    starts = rng.uniform(-20, image_size, (30, 2))
    boxes = np.concatenate([starts, starts + rng.uniform(0, 200, (30, 2))], axis=1)
    sizes = [(int(rng.integers(8, 20)), int(rng.integers(10, 39))) for _ in boxes]
    places = place_labels(boxes, sizes, image_size)
    assert (places[:, :2] >= 0).all()
    assert (places[:, 2:] <= image_size).all()
    np.testing.assert_allclose(places[:, 2:] - places[:, :2], sizes)


def test_labels_of_distant_boxes_are_at_their_top_left_corners():
    boxes = np.array([[50, 20, 90, 80], [150, 120, 190, 180]])
    np.testing.assert_array_equal(place_labels(boxes, [(10, 30)] * 2, (200, 200))[:, [2, 1]], boxes[:, :2])


def test_labels_of_one_box_do_not_overlap():
    box = [100, 100, 160, 220]
    places = place_labels([box] * 12, [(12, 50)] * 12, (400, 400))
    assert not intersections(places).any()
    expanded = np.add(box, [-12, -1, 12, 1])  # at most two rows away from the box
    assert (places[:, 2:] >= expanded[:2] - 12).all()
    assert (places[:, :2] <= expanded[2:] + 12).all()


def test_labels_at_the_border_are_inside_and_do_not_overlap():
    boxes = np.array([[0, 0, 100, 100], [0, 0, 100, 100], [0, 60, 50, 100]])
    places = place_labels(boxes, [(10, 40)] * 3, (100, 100))
    assert not intersections(places).any()


def test_a_label_larger_than_the_image_is_clipped():
    assert place_labels([[0, 0, 5, 5]], [(20, 50)], (10, 30)).tolist() == [[0, 0, 10, 30]]
    assert place_labels(np.zeros((0, 4)), [], (10, 10)).shape == (0, 4)
