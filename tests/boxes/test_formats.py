import keras
import numpy as np
import pytest

from tfeff.boxes import formats


@pytest.fixture
def boxes():
    rng = np.random.default_rng(0)
    corners = np.sort(rng.uniform(-20, 120, (50, 2, 2)), axis=1)
    return corners.reshape(50, 4).astype(np.float32)


FORMS = {  # the names that Keras gives these forms
    "xywh": (formats.xywh_from_yxyx, formats.yxyx_from_xywh),
    "center_yxhw": (formats.cyxhw_from_yxyx, formats.yxyx_from_cyxhw),
    "rel_yxyx": (
        lambda boxes, ops=np: formats.relative_from_yxyx(boxes, (80, 100), ops=ops),
        lambda boxes, ops=np: formats.yxyx_from_relative(boxes, (80, 100), ops=ops),
    ),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("ops", [np, keras.ops], ids=["numpy", "keras"])
def test_forms_agree_with_keras_and_lead_back(boxes, form, ops):
    there, back = FORMS[form]
    converted = there(ops.array(boxes), ops=ops)
    expected = keras.utils.bounding_boxes.convert_format(boxes, "yxyx", form, height=80, width=100)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(converted), keras.ops.convert_to_numpy(expected), atol=1e-4)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(back(converted, ops=ops)), boxes, atol=1e-4)
    assert str(np.asarray(converted).dtype) == "float32"


@pytest.mark.parametrize("ops", [np, keras.ops], ids=["numpy", "keras"])
def test_what_is_clipped_covers_the_same_pixels_of_the_image(ops):
    whole = np.random.default_rng(1).integers(-10, 40, (40, 2, 2))
    boxes = np.sort(whole, axis=1).reshape(40, 4).astype(np.float32)
    clipped = np.asarray(formats.clip(ops.array(boxes), (30, 20), ops=ops)).astype(int)
    for box, inside in zip(boxes.astype(int), clipped, strict=True):
        canvas, again = np.zeros((70, 70), bool), np.zeros((70, 70), bool)
        canvas[box[0] + 10 : box[2] + 10, box[1] + 10 : box[3] + 10] = True
        again[inside[0] + 10 : inside[2] + 10, inside[1] + 10 : inside[3] + 10] = True
        outside = np.ones_like(canvas)
        outside[10:40, 10:30] = False
        np.testing.assert_array_equal(again, canvas & ~outside)
    assert (clipped >= 0).all()
    assert (clipped[:, ::2] <= 30).all()
    assert (clipped[:, 1::2] <= 20).all()


@pytest.mark.parametrize("form", FORMS)
def test_no_boxes_and_batches_of_boxes_keep_their_shape(boxes, form):
    there, back = FORMS[form]
    assert back(there(np.zeros((0, 4), np.float32))).shape == (0, 4)
    np.testing.assert_array_equal(there(boxes.reshape(5, 10, 4)).reshape(50, 4), there(boxes))
