import numpy as np
import pytest

from tfeff.reporting.box_labels import label_places


def shared(places):
    sides = np.minimum(places[:, None, 2:], places[None, :, 2:]) - np.maximum(places[:, None, :2], places[None, :, :2])
    return np.triu(np.clip(sides, 0, None).prod(axis=-1), 1)


@pytest.mark.parametrize("picture", [(300, 400), (40, 3000), (3000, 40)])
def test_labels_lie_inside_the_picture_and_keep_their_size(picture):
    rng = np.random.default_rng(0)
    starts = rng.uniform(-20, picture, (30, 2))
    boxes = np.concatenate([starts, starts + rng.uniform(0, 200, (30, 2))], axis=1)
    sizes = [(int(rng.integers(8, 20)), int(rng.integers(10, 39))) for _ in boxes]
    places = label_places(boxes, sizes, picture)
    assert (places[:, :2] >= 0).all()
    assert (places[:, 2:] <= picture).all()
    np.testing.assert_allclose(places[:, 2:] - places[:, :2], sizes)


def test_labels_of_boxes_apart_stand_on_their_corners():
    boxes = np.array([[50, 20, 90, 80], [150, 120, 190, 180]])
    np.testing.assert_array_equal(label_places(boxes, [(10, 30)] * 2, (200, 200))[:, [2, 1]], boxes[:, :2])


def test_labels_of_the_same_box_are_moved_apart():
    box = [100, 100, 160, 220]
    places = label_places([box] * 12, [(12, 50)] * 12, (400, 400))
    assert not shared(places).any()
    grown = np.add(box, [-12, -1, 12, 1])  # two rows beyond the box at most
    assert (places[:, 2:] >= grown[:2] - 12).all()
    assert (places[:, :2] <= grown[2:] + 12).all()


def test_at_the_border_labels_move_inside_and_off_each_other():
    boxes = np.array([[0, 0, 100, 100], [0, 0, 100, 100], [0, 60, 50, 100]])
    places = label_places(boxes, [(10, 40)] * 3, (100, 100))
    assert not shared(places).any()


def test_a_label_larger_than_the_picture_is_cut_to_it():
    assert label_places([[0, 0, 5, 5]], [(20, 50)], (10, 30)).tolist() == [[0, 0, 10, 30]]
    assert label_places(np.zeros((0, 4)), [], (10, 10)).shape == (0, 4)
