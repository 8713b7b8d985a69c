import tracemalloc

import numpy as np
import pytest

from tfeff.reporting.box_drawing import BLUE, GREEN, LABELS, RED, DetectedImage, draw_detections, place_labels


def near(picture, color, tolerance=60):
    return (np.abs(picture.astype(np.int16) - color).max(axis=-1) < tolerance) if picture.size else np.zeros(0, bool)


@pytest.mark.parametrize("size", [(64, 64), (64, 256), (300, 200), (1080, 1920), (4000, 3000), (1, 1), (3, 900)])
def test_line_width_and_font_size_are_proportional_to_the_image(size):
    height, width = size
    box = [[0.25 * height, 0.2 * width, 0.75 * height, 0.8 * width]]
    picture = draw_detections(np.full((*size, 3), 128, np.uint8), box, ["cell"], [0.5])
    shape = np.array(picture.shape[:2])
    side = np.sqrt(shape.prod())
    assert side >= 700
    assert shape[1] / shape[0] == pytest.approx(width / height, rel=0.3 if min(size) < 10 else 0.01)
    row = near(picture[shape[0] // 2 + 5], RED)  # crosses both vertical lines, but no label
    if min(size) > 10:
        assert 2 <= row.sum() / 2 <= 0.006 * side
        assert side / 400 <= row.sum() / 2
        rows = np.flatnonzero(near(picture, BLUE).any(axis=1))
        assert 0.008 * side <= np.ptp(rows) <= 0.04 * side


@pytest.mark.parametrize("corner", [(0, 0), (0, 150), (150, 0), (150, 150)])
def test_labels_at_the_border_are_complete(corner):
    top, left = corner
    blank = np.full((200, 200, 3), 128, np.uint8)
    middle = draw_detections(blank, [[75, 75, 125, 125]], ["white cell"], [0.25])
    at_border = draw_detections(blank, [[top, left, top + 50, left + 50]], ["white cell"], [0.25])
    letters = near(middle, BLUE).sum()
    assert near(at_border, BLUE).sum() == pytest.approx(letters, rel=0.03)


def test_frames_are_on_the_edges_of_boxes_and_objects_are_visible_around_detections():
    image = np.full((800, 800, 3), 255, np.uint8)
    picture = draw_detections(image, [[100, 200, 300, 500]], [""], objects_yxyx=[[100, 200, 300, 500]])
    rows, columns = np.nonzero(near(picture, RED))
    assert (rows.min(), columns.min(), rows.max() + 1, columns.max() + 1) == (100, 200, 300, 500)
    rows, columns = np.nonzero(near(picture, GREEN))
    assert rows.min() < 100 < 300 < rows.max() + 1
    assert columns.min() < 200 < 500 < columns.max() + 1


def test_boxes_outside_the_image_are_not_drawn_and_others_are_clipped():
    image = np.full((800, 800, 3), 255, np.uint8)
    np.testing.assert_array_equal(draw_detections(image, [[900, 0, 950, 50], [5, -9, 9, 0]], "ab", [0.5, 0.4]), image)
    clipped = near(draw_detections(image, [[-50, -50, 900, 400]], [""]), RED)
    assert clipped[0, :400].all()
    assert clipped[:, 0].all()
    assert clipped[-1, :400].all()


def test_the_detection_with_the_highest_score_is_on_top():
    image = np.zeros((800, 800), np.float32)
    boxes = np.array([[100, 100, 400, 400], [100, 100, 400, 400]])
    one = draw_detections(image, boxes, ["a", "b"], [0.2, 0.9])
    other = draw_detections(image, boxes[::-1], ["b", "a"], [0.9, 0.2])
    np.testing.assert_array_equal(one, other)


def test_an_image_without_detections_is_unchanged():
    image = np.zeros((800, 800), np.float32)
    np.testing.assert_array_equal(draw_detections(image, np.zeros((0, 4)), [], []), 0)


def test_pixels_of_8_bits_are_not_copied_as_floats():
    image = np.random.default_rng(0).integers(0, 256, (1000, 1500, 3), np.uint8)
    expected = draw_detections(image.astype(np.float32), [[100, 100, 400, 400]], ["a"])
    tracemalloc.start()
    try:
        found = draw_detections(image, [[100, 100, 400, 400]], ["a"])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    np.testing.assert_array_equal(found, expected)
    assert peak < 12 * 1000 * 1500, "bytes"


def test_long_and_non_ascii_names_fit():
    names = ["a class whose name is longer than any picture is wide, " * 5, "Красная\nклетка", ""]
    boxes = [[10, 10, 60, 60], [80, 80, 120, 120], [0, 0, 5, 5]]
    picture = draw_detections(np.zeros((150, 150, 3)), boxes, names, [0.9, 0.8, 0.7], objects_yxyx=boxes)
    assert picture.shape == (720, 720, 3)


def test_a_crop_is_a_square_inside_the_image():
    image = np.random.default_rng(0).integers(0, 255, (120, 200, 3)).astype(np.uint8)
    for box in ([10, 10, 30, 40], [100, 180, 120, 200], [50, 90, 52, 91], [0, 0, 120, 200]):
        whole = DetectedImage(
            image, np.array([box, [0, 0, 9, 9]], float), ["a", "b"], np.array([0.5, 0.25]), np.array([box])
        )
        crop = whole.crop(box)
        height, width = crop.image.shape[:2]
        top, left, bottom, right = crop.boxes_yxyx[0].astype(int)
        assert 0 <= top < bottom <= height
        assert 0 <= left < right <= width
        assert (height == width and height >= 32) or height == 120
        np.testing.assert_array_equal(crop.image[top:bottom, left:right], image[box[0] : box[2], box[1] : box[3]])
        np.testing.assert_array_equal(crop.objects_yxyx, crop.boxes_yxyx[:1])
        expected = draw_detections(crop.image, crop.boxes_yxyx, "ab", [0.5, 0.25], objects_yxyx=crop.objects_yxyx)
        np.testing.assert_array_equal(crop.draw(), expected)


def test_the_label_with_the_highest_score_is_complete_in_a_crowd():
    crowd = [[0, 0, 40, 40]] * 60
    names = [f"w{i}w" for i in range(60)]
    blank = np.full((40, 40, 3), 128, np.uint8)
    alone = draw_detections(blank, crowd[:1], names[:1], [0.9])
    crowded = draw_detections(blank, crowd, names, [0.9] * 60)
    assert near(crowded, BLUE, 90)[near(alone, BLUE, 30)].all()  # antialiased edges depend on the background


def test_of_very_many_detections_the_best_have_labels_and_all_have_frames():
    count, image = LABELS + 200, np.full((700, 800, 3), 128, np.uint8)
    starts = np.random.default_rng(0).uniform(0, 680, (count, 2))
    boxes, names = np.concatenate([starts, starts + 15], axis=1), [str(number) for number in range(count)]
    all_named = draw_detections(image, boxes, names)
    np.testing.assert_array_equal(all_named, draw_detections(image, boxes, names[:LABELS] + [""] * 200))
    worst_first = draw_detections(image, boxes[::-1], names[::-1], np.linspace(0.1, 0.9, count))
    np.testing.assert_array_equal(worst_first, draw_detections(image, boxes, names, np.linspace(0.9, 0.1, count)))


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
