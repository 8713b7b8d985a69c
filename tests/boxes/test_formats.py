"""Conversion and clipping of boxes, compared with Keras."""

import keras
import numpy as np
import pytest

from tfeff.boxes import formats


@pytest.fixture
def boxes():
    rng = np.random.default_rng(0)
    corners = np.sort(rng.uniform(-20, 120, (50, 2, 2)), axis=1)
    return corners.reshape(50, 4).astype(np.float32)


INVERTIBLE = {  # by the name of the format in Keras
    "center_yxhw": (formats.cyxhw_from_yxyx, formats.yxyx_from_cyxhw),
    "rel_yxyx": (
        lambda boxes, ops=np: formats.relative_from_yxyx(boxes, (80, 100), ops=ops),
        lambda boxes, ops=np: formats.yxyx_from_relative(boxes, (80, 100), ops=ops),
    ),
}


@pytest.mark.parametrize("name", INVERTIBLE)
@pytest.mark.parametrize("ops", [np, keras.ops], ids=["numpy", "keras"])
def test_conversions_equal_those_of_keras_and_are_invertible(boxes, name, ops):
    convert, invert = INVERTIBLE[name]
    converted = convert(ops.array(boxes), ops=ops)
    expected = keras.utils.bounding_boxes.convert_format(boxes, "yxyx", name, height=80, width=100)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(converted), keras.ops.convert_to_numpy(expected), atol=1e-4)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(invert(converted, ops=ops)), boxes, atol=1e-4)
    assert str(np.asarray(converted).dtype) == "float32"


@pytest.mark.parametrize("ops", [np, keras.ops], ids=["numpy", "keras"])
def test_coco_boxes_equal_those_of_keras(boxes, ops):
    converted = formats.xywh_from_yxyx(ops.array(boxes), ops=ops)
    expected = keras.utils.bounding_boxes.convert_format(boxes, "yxyx", "xywh")
    np.testing.assert_array_equal(np.asarray(converted), np.asarray(expected))


def test_clipped_boxes_equal_those_of_keras(boxes):
    xyxy = [1, 0, 3, 2]  # the only format with pixels that Keras can clip
    expected = keras.utils.bounding_boxes.clip_to_image_size({"boxes": boxes[:, xyxy]}, height=80, width=100)
    np.testing.assert_array_equal(formats.clip(boxes, (80, 100)), np.asarray(expected["boxes"])[:, xyxy])


@pytest.mark.parametrize("ops", [np, keras.ops], ids=["numpy", "keras"])
def test_clipped_boxes_cover_the_same_pixels_of_the_image(ops):
    corners = np.random.default_rng(1).integers(-10, 40, (40, 2, 2))
    boxes = np.sort(corners, axis=1).reshape(40, 4).astype(np.float32)
    clipped = np.asarray(formats.clip(ops.array(boxes), (30, 20), ops=ops)).astype(int)
    for box, part in zip(boxes.astype(int), clipped, strict=True):
        canvas, canvas_clipped = np.zeros((70, 70), bool), np.zeros((70, 70), bool)
        canvas[box[0] + 10 : box[2] + 10, box[1] + 10 : box[3] + 10] = True
        canvas_clipped[part[0] + 10 : part[2] + 10, part[1] + 10 : part[3] + 10] = True
        outside = np.ones_like(canvas)
        outside[10:40, 10:30] = False
        np.testing.assert_array_equal(canvas_clipped, canvas & ~outside)
    assert (clipped >= 0).all()
    assert (clipped[:, ::2] <= 30).all()
    assert (clipped[:, 1::2] <= 20).all()


@pytest.mark.parametrize("name", INVERTIBLE)
def test_empty_and_batched_boxes_keep_their_shape(boxes, name):
    convert, invert = INVERTIBLE[name]
    assert invert(convert(np.zeros((0, 4), np.float32))).shape == (0, 4)
    np.testing.assert_array_equal(convert(boxes.reshape(5, 10, 4)).reshape(50, 4), convert(boxes))
