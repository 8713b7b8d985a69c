"""RoIAlign, RoI max-pooling and averages of cells against loops over single samples and pixels."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfeff.models.layers.regions import Cells, RoIAlign, RoIMaxPool, box_levels

LEVELS = (2, 3, 4)
SIZE = (70, 93)  # not a multiple of any stride


def pyramid(rng, batch=2, channels=3):
    return [rng.normal(size=(batch, *(-(-side // 2**n) for side in SIZE), channels)) for n in LEVELS]


def random_boxes(rng, batch, count):
    """Returns boxes of all sizes, some empty, some partly or wholly outside the image."""
    centers = rng.uniform(-30, 120, (batch, count, 2))
    sides = np.exp(rng.uniform(-2, 6, (batch, count, 2))) * (rng.random((batch, count, 1)) > 0.05)
    return np.concatenate([centers - sides / 2, centers + sides / 2], axis=-1)


def level_of(box, levels):
    side = math.sqrt(max(0, box[2] - box[0]) * max(0, box[3] - box[1]))
    level = -math.inf if side == 0 else math.floor(4 + math.log2(side / 224) + 1e-6)
    return min(max(level, levels[0]), levels[-1])


def bilinear(feature_map, y, x, gradient=None, value=None):
    """Returns one sample; with `gradient`, adds the gradient of `value * sample` to it."""
    height, width = feature_map.shape[:2]
    if not (-1 <= y <= height and -1 <= x <= width):
        return 0.0
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    top, left = int(y), int(x)
    total = 0.0
    for row, by in ((top, 1 - (y - top)), (min(top + 1, height - 1), y - top)):
        for column, bx in ((left, 1 - (x - left)), (min(left + 1, width - 1), x - left)):
            total = total + by * bx * feature_map[row, column]
            if gradient is not None:
                gradient[row, column] += by * bx * value
    return total


def aligned_by_loops(maps, boxes, size, sampling, aligned, upstream):
    out = np.zeros((*boxes.shape[:2], size, size, maps[0].shape[-1]))
    gradients = [np.zeros_like(each) for each in maps]
    for image, number in np.ndindex(*boxes.shape[:2]):
        level = level_of(boxes[image, number], LEVELS)
        index = LEVELS.index(level)
        y1, x1, y2, x2 = boxes[image, number] / 2**level - (0.5 if aligned else 0)
        height, width = y2 - y1, x2 - x1
        if not aligned:
            height, width = max(height, 1), max(width, 1)
        for row, column in np.ndindex(size, size):
            for i, j in np.ndindex(sampling, sampling):
                y = y1 + (row + (i + 0.5) / sampling) * height / size
                x = x1 + (column + (j + 0.5) / sampling) * width / size
                share = upstream[image, number, row, column] / sampling**2
                sample = bilinear(maps[index][image], y, x, gradients[index][image], share)
                out[image, number, row, column] += sample / sampling**2
    return out, gradients


@pytest.mark.parametrize(
    ("size", "sampling", "aligned", "count"), [(3, 2, False, 200), (2, 3, True, 200), (7, 1, False, 200)]
)
def test_values_and_gradients_equal_loops(size, sampling, aligned, count):
    rng = np.random.default_rng(size)
    maps, boxes = pyramid(rng), random_boxes(rng, 2, count)
    upstream = rng.normal(size=(2, count, size, size, 3))
    expected, expected_gradients = aligned_by_loops(maps, boxes, size, sampling, aligned, upstream)
    layer = RoIAlign(LEVELS, size, sampling, aligned, dtype="float64")
    tensors = [tf.constant(each) for each in maps]
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        out = layer((tensors, tf.constant(boxes)))
    np.testing.assert_allclose(out, expected, atol=1e-9)
    for found, wanted in zip(tape.gradient(out, tensors, upstream), expected_gradients, strict=True):
        np.testing.assert_allclose(tf.convert_to_tensor(found), wanted, atol=1e-9)
    assert (expected == 0).all(axis=(2, 3, 4)).any()
    assert {level_of(box, LEVELS) for box in boxes.reshape(-1, 4)} == set(LEVELS)
    single = RoIAlign(LEVELS, size, sampling, aligned)
    np.testing.assert_allclose(
        single(([tf.cast(each, tf.float32) for each in maps], boxes.astype("f"))), expected, atol=2e-4
    )


def test_the_level_of_a_box():
    sides = np.array([0, 1, 55.9, 56, 111.9, 112, 223.9, 224, 447.9, 448, 5000])
    boxes = np.stack([np.zeros_like(sides), np.zeros_like(sides), sides, sides], axis=-1)
    assert np.asarray(box_levels(boxes, (2, 3, 4, 5))).tolist() == [0, 0, 0, 0, 0, 1, 1, 2, 2, 3, 3]


def pooled_by_loops(feature_map, boxes, level, size):
    height, width = feature_map.shape[1:3]
    out = np.zeros((*boxes.shape[:2], size, size, feature_map.shape[-1]))
    for image, number in np.ndindex(*boxes.shape[:2]):
        y1, x1, y2, x2 = np.floor(boxes[image, number] / 2**level + 0.5).astype(int)
        rows, columns = max(y2 - y1 + 1, 1), max(x2 - x1 + 1, 1)
        for i, j in np.ndindex(size, size):
            top, bottom = (min(max(y1 + edge, 0), height) for edge in (i * rows // size, -(-(i + 1) * rows // size)))
            left, right = (
                min(max(x1 + edge, 0), width) for edge in (j * columns // size, -(-(j + 1) * columns // size))
            )
            window = feature_map[image, top:bottom, left:right]
            if window.size:
                out[image, number, i, j] = window.max(axis=(0, 1))
    return out


@pytest.mark.parametrize(("level", "size"), [(2, 3), (3, 7), (4, 2)])
def test_max_pooling_equals_loops(level, size):
    rng = np.random.default_rng(level)
    feature_map = pyramid(rng)[LEVELS.index(level)]
    boxes = np.clip(random_boxes(rng, 2, 300), 0, [*SIZE, *SIZE])  # clipped, as proposals are
    layer = RoIMaxPool(level, size, dtype="float64")
    np.testing.assert_array_equal(
        layer((tf.constant(feature_map), tf.constant(boxes))), pooled_by_loops(feature_map, boxes, level, size)
    )


@pytest.mark.parametrize("compiled", [False, True])
def test_max_pooling_in_a_graph_splits_boxes_exactly(compiled):
    """Compilers replace divisions by constants; many of these boxes have sides that are multiples of the bins."""
    rng = np.random.default_rng(0)
    feature_map = rng.normal(size=(1, 40, 40, 1)).astype(np.float32)
    corners, sides = rng.integers(0, 20, (300, 2)), rng.integers(1, 4, (300, 2)) * 7 - rng.integers(0, 2, (300, 2))
    boxes = 16.0 * np.concatenate([corners, corners + sides - 1], axis=1)[np.newaxis].astype(np.float32)
    pooled = tf.function(RoIMaxPool(4, 7), autograph=False, jit_compile=compiled)
    np.testing.assert_array_equal(
        pooled((tf.constant(feature_map), tf.constant(boxes))), pooled_by_loops(feature_map, boxes, 4, 7)
    )


def test_the_gradient_of_max_pooling_is_that_of_the_largest_pixel():
    feature_map = tf.constant(np.random.default_rng(0).permutation(48).reshape(1, 6, 8, 1).astype(float))
    boxes = tf.constant([[[0.0, 0.0, 20.0, 28.0], [4.0, 8.0, 12.0, 20.0]]], tf.float64)
    layer = RoIMaxPool(2, 1, dtype="float64")
    with tf.GradientTape() as tape:
        tape.watch(feature_map)
        total = tf.reduce_sum(layer((feature_map, boxes)))
    gradient = tf.convert_to_tensor(tape.gradient(total, feature_map)).numpy()[0, ..., 0]
    expected = np.zeros((6, 8))
    for window in (np.s_[0:6, 0:8], np.s_[1:4, 2:6]):
        values = np.full((6, 8), -1.0)
        values[window] = feature_map.numpy()[0, ..., 0][window]
        expected[np.unravel_index(values.argmax(), values.shape)] += 1
    np.testing.assert_allclose(gradient, expected)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("kind", [RoIAlign, RoIMaxPool])
def test_gradients_of_many_boxes_on_the_same_pixels_keep_their_size_in_half_precision(kind, policy):
    rng = np.random.default_rng(0)
    feature_map = tf.constant(rng.normal(size=(1, 24, 32, 8)), tf.float32)
    boxes = tf.constant([[[100.0, 120.0, 260.0, 360.0]]]) + tf.zeros((1, 1024, 1))
    upstream = tf.constant(rng.uniform(0, 0.01, (1, 1024, 7, 7, 8)), tf.float32)

    @tf.function(autograph=False)
    def gradient(layer, feature_map):
        with tf.GradientTape() as tape:
            tape.watch(feature_map)
            out = layer(([feature_map] if kind is RoIAlign else feature_map, boxes), training=True)
        return tf.cast(tf.convert_to_tensor(tape.gradient(out, feature_map, tf.cast(upstream, out.dtype))), tf.float32)

    level = [4] if kind is RoIAlign else 4
    half = kind(level, 7, dtype=policy)
    found = gradient(half, tf.cast(feature_map, half.compute_dtype)).numpy()
    expected = gradient(kind(level, 7), tf.cast(tf.cast(feature_map, half.compute_dtype), tf.float32)).numpy()
    assert np.linalg.norm(found - expected) < 0.01 * np.linalg.norm(expected)


@pytest.mark.parametrize("size", [(6, 6), (5, 9), (9, 5)])
def test_cells_cover_both_sides_of_a_map(size):
    feature_map = np.random.default_rng(0).normal(size=(2, *size, 3)).astype(np.float32)
    rows, columns = ([[side * n // 3, -(-side * (n + 1) // 3)] for n in range(3)] for side in size)
    expected = [feature_map[:, a:b, c:d].mean(axis=(1, 2)) for a, b in rows for c, d in columns]
    np.testing.assert_allclose(Cells(3)(feature_map), np.concatenate(expected, axis=-1), atol=1e-6)


@pytest.mark.parametrize("layer", [RoIAlign((2, 3), 2, 2, True, name="a"), RoIMaxPool(2, 3, name="b")])
def test_layers_are_saved_and_keep_boxes_precise(layer):
    again = type(layer).from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    keras.config.set_dtype_policy("mixed_bfloat16")
    feature_map = keras.random.normal((1, 300, 300, 2), dtype="bfloat16")
    maps = [feature_map, feature_map[:, ::2, ::2]] if isinstance(layer, RoIAlign) else feature_map
    half = type(layer).from_config(layer.get_config() | {"dtype": "mixed_bfloat16"})
    boxes = tf.constant([[[1001.0, 1003.0, 1013.0, 1017.0]]])  # bfloat16 would round them to multiples of 8
    precise = [tf.cast(each, tf.float32) for each in maps] if isinstance(maps, list) else tf.cast(maps, tf.float32)
    np.testing.assert_allclose(tf.cast(half((maps, boxes)), tf.float32), layer((precise, boxes)), atol=0.02)
