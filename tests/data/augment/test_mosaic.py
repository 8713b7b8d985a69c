import numpy as np
import tensorflow as tf

from tests.data.rectangles import draw, draws, find
from tfeff.data.augment import mosaic
from tfeff.data.augment.annotated_image import annotated


def images(numbers):
    return [draw(number, objects=1, sides=(60, 61)) for number in numbers]


def test_four_corners_meet_at_one_point_with_their_objects():
    places = []
    for number in range(15):
        parts = [
            image._replace(labels=image.labels + label) for label, image in enumerate(images(range(number, number + 4)))
        ]
        whole = mosaic.mosaic(parts, 0.0, draws(number))
        pixels = whole.image.numpy()
        first, second, third, fourth = (part.image.numpy() for part in parts)
        assert pixels.shape == (60, 60, 3)
        found = [
            (y, x)
            for y in range(61)
            for x in range(61)
            if np.array_equal(pixels[:y, :x], first[60 - y :, 60 - x :])
            and np.array_equal(pixels[y:, x:], fourth[: 60 - y, : 60 - x])
            and np.array_equal(pixels[:y, x:], second[60 - y :, : 60 - x])
            and np.array_equal(pixels[y:, :x], third[: 60 - y, 60 - x :])
        ]
        assert len(found) == 1
        places.append(found[0])
        ((y, x),) = found
        shifts = [(y - 60, x - 60), (y - 60, x), (y, x - 60), (y, x)]
        tiles = [(0, 0, y, x), (0, x, y, 60), (y, 0, 60, x), (y, x, 60, 60)]
        expected = {}
        for label, ((down, right), tile) in enumerate(zip(shifts, tiles, strict=True)):
            box = parts[label].boxes_yxyx.numpy()[0] + [down, right, down, right]
            box = [max(box[0], tile[0]), max(box[1], tile[1]), min(box[2], tile[2]), min(box[3], tile[3])]
            if box[2] - box[0] >= 1 and box[3] - box[1] >= 1:
                expected[label] = box
        assert whole.labels.numpy().tolist() == list(expected)
        np.testing.assert_allclose(
            whole.boxes_yxyx.numpy().reshape(-1, 4), np.reshape(list(expected.values()), (-1, 4))
        )
    low, high = np.min(places), np.max(places)
    assert 15 <= low < 25
    assert 35 < high <= 45


def test_pixels_and_boxes_agree():
    drawn = [draw(number, objects=4, sides=(60, 61)) for number in range(4)]
    alone = [
        annotated(image.image, image.boxes_yxyx[label : label + 1], image.labels[label : label + 1])
        for label, image in enumerate(drawn)
    ]
    blank = [part._replace(image=tf.where(part.image[..., :1] == 255, part.image, 0.0 * part.image)) for part in alone]
    only = []
    for part in blank:
        top, left, bottom, right = part.boxes_yxyx.numpy()[0].astype(int)
        pixels = np.zeros((60, 60, 3), np.float32)
        pixels[top:bottom, left:right] = part.image.numpy()[top:bottom, left:right]
        only.append(part._replace(image=tf.constant(pixels)))
    whole = mosaic.mosaic(only, 0.1, draws(5))
    assert len(whole.labels)
    for box, label in zip(whole.boxes_yxyx.numpy(), whole.labels.numpy(), strict=True):
        np.testing.assert_array_equal(find(whole.image.numpy(), label), box)


def test_partners_are_all_other_images():
    seen = set()
    for number in range(200):
        chosen = mosaic.partners(10, draws(3, epoch=number)).numpy().tolist()
        assert len(chosen) == 3
        assert 3 not in chosen
        seen.update(chosen)
    assert seen == set(range(10)) - {3}
    assert mosaic.partners(1, draws(0)).numpy().tolist() == [0, 0, 0]
    assert mosaic.partners(2, draws(1)).numpy().tolist() == [0, 0, 0]


def test_mosaics_occur_with_their_probability():
    share = np.mean([bool(mosaic.chosen(0.3, draws(number))) for number in range(300)])
    assert 0.2 < share < 0.4
    assert not mosaic.chosen(0.0, draws(0))
    assert mosaic.chosen(1.0, draws(0))


def test_extra_boxes_of_the_four_images_alternate():
    whole = [[0, 0, 60, 60], [1, 1, 59, 59]]
    blank = annotated(tf.zeros((60, 60, 3)), [], tf.zeros(0, tf.int32), extra_boxes_yxyx=tf.constant(whole, tf.float32))
    boxes = mosaic.mosaic([blank] * 4, 0.5, draws(0)).extra_boxes_yxyx.numpy()
    assert len(boxes) == 8
    area = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    assert area[:4].sum() == 60 * 60
    assert area[4:].sum() < 60 * 60
