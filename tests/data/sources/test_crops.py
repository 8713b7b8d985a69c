"""Crops of objects and background: positions, pixels, reproducibility."""

import dataclasses
import os
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
import tensorflow as tf

from tfeff.boxes import iou
from tfeff.data.dataset import Dataset, Objects
from tfeff.data.images import decoding
from tfeff.data.images.storage import DrawnImages, EncodedImages
from tfeff.data.sources import catalog, crops
from tfeff.data.sources.source import Options

RNG = np.random.default_rng(0)
PIXELS = [
    RNG.integers(0, 256, (int(height), int(width), 3), np.uint8) for height, width in ((60, 90), (80, 50), (40, 40))
]


def objects(*boxes, difficult=()):
    count = len(boxes)
    flags = np.isin(np.arange(count), difficult)
    return Objects(
        np.array(boxes, np.float32).reshape(-1, 4), np.arange(count, dtype=np.int32) % 2, flags, np.zeros(count, bool)
    )


@pytest.fixture
def source():
    every = [
        objects((5.0, 5.0, 25.0, 45.0), (30.4, 50.6, 55.0, 80.0), (0.0, 60.0, 12.0, 85.0), difficult=[2]),
        objects((10.0, 10.0, 70.0, 40.0)),
        objects(),
    ]
    return Dataset(
        name="made",
        class_names=("a", "b"),
        ids=["0", "1", "2"],
        objects=every,
        images=EncodedImages([cv2.imencode(".png", pixels[..., ::-1])[1].tobytes() for pixels in PIXELS], "made"),
        sizes=np.array([pixels.shape[:2] for pixels in PIXELS], np.int32),
    )


def test_background_is_outside_of_crowds_and_difficult_objects(source):
    crowd = Objects(np.array([[0, 0, 60, 70]], np.float32), np.zeros(1, np.int32), np.zeros(1, bool), np.ones(1, bool))
    made = crops.object_crops(dataclasses.replace(source, objects=[crowd] * 3), Options(), backgrounds=40)
    first = [box for image, box, _ in places(made) if image == 0]
    assert first
    assert max(max(0, 70 - left) / (right - left) for _, left, _, right in first) < 0.35  # ids are rounded


def test_crops_keep_what_is_known_of_their_images(source):
    images = dataclasses.replace(source, groups=np.array([4, 7, 4], np.int32), notes=("strange",))
    made = crops.object_crops(images, Options())
    assert made.notes == ("strange",)
    assert {(image, group) for (image, _, _), group in zip(places(made), made.groups, strict=True)} == {
        (0, 4),
        (1, 7),
        (2, 4),
    }


def places(made):
    """Yields (image, box, label) of each crop, from its id."""
    for name, label in zip(made.ids, made.labels, strict=True):
        image, _, box = name.partition(" ")
        yield int(image), np.array(box.partition(" #")[0].strip("[]").split(", "), float), int(label)


def test_crops_show_objects_boxes_near_them_and_background(source):
    made = crops.object_crops(source, Options(), copies=4, backgrounds=5)
    assert made.class_names == ("a", "b", "background")
    # 3 objects that are not difficult, each with 4 copies; the image without any gets background as one with one.
    assert made.class_counts().tolist() == [10, 5, 20]
    for image, box, label in places(made):
        there = source.objects[image]
        plain = ~there.difficult
        overlaps = iou(box[None], there.boxes_yxyx)[0]
        if label == 2:
            assert overlaps.max(initial=0) < 0.33  # ids are rounded to whole pixels
        else:
            assert overlaps[plain & (there.labels == label)].max() > 0.55
        assert (box[:2] >= 0).all()
        assert (box[2:] <= PIXELS[image].shape[:2]).all()


def test_a_crop_has_the_pixels_of_its_box(source):
    made = crops.object_crops(source, Options(), copies=0, backgrounds=0)
    assert made.class_names == ("a", "b")
    expected = [PIXELS[0][5:25, 5:45], PIXELS[0][30:55, 51:80], PIXELS[1][10:70, 10:40]]
    for index, pixels in enumerate(expected):
        np.testing.assert_array_equal(made.read(tf.constant(index, tf.int64)), pixels)
    gray = crops.object_crops(source, Options(channels=1), copies=0, backgrounds=0).read(tf.constant(0, tf.int64))
    np.testing.assert_allclose(gray[..., 0], cv2.cvtColor(expected[0], cv2.COLOR_RGB2GRAY), atol=1)


def test_context_shows_the_surroundings_and_the_mean_color_outside(source):
    made = crops.object_crops(source, Options(crop_context=0.5), copies=0, backgrounds=0)
    shown = made.read(tf.constant(0, tf.int64)).numpy()
    assert shown.shape == (40, 80, 3)  # box (5, 5, 25, 45) and half of its sides on each side
    np.testing.assert_array_equal(shown[10:30, 20:60], PIXELS[0][5:25, 5:45])
    np.testing.assert_array_equal(shown[5:, 15:], PIXELS[0][:35, :65])
    np.testing.assert_array_equal(shown[:5], np.broadcast_to(np.rint(PIXELS[0].mean(axis=(0, 1))), (5, 80, 3)))


@pytest.mark.parametrize("context", [0.0, 0.7])
def test_sizes_are_known_before_images_are_read(source, context):
    made = crops.object_crops(source, Options(crop_context=context), copies=6)
    shown = [made.read(tf.constant(index, tf.int64)).shape[:2] for index in range(len(made))]
    np.testing.assert_array_equal(made.sizes, shown)


def test_the_mean_color_of_an_image_is_computed_once(source, monkeypatch):
    made = crops.object_crops(source, Options(crop_context=0.7), copies=6)
    rounded, rint = [], np.rint
    monkeypatch.setattr(np, "rint", lambda values: rounded.append(values) or rint(values))
    for index in range(len(made)):
        made.encoded(index)
    assert len(rounded) == len(PIXELS)


def test_as_many_images_are_decoded_at_a_time_as_there_are_cores(source, monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 20)
    together = threading.Barrier(20, timeout=20)

    def draw(index):
        together.wait()
        return source.encoded(0)

    many = dataclasses.replace(
        source,
        ids=list(map(str, range(20))),
        objects=source.objects[:1] * 20,
        images=DrawnImages(20, draw, "made"),
        sizes=np.repeat(source.sizes[:1], 20, axis=0),
    )
    made = crops.object_crops(many, Options(), copies=0, backgrounds=0)
    first = np.unique(made.owners, return_index=True)[1]
    with ThreadPoolExecutor(20) as threads:
        assert len(list(threads.map(made.encoded, first.tolist()))) == 20


def test_boxes_depend_on_the_image_and_the_seed_only(source):
    made, same, other = (crops.object_crops(source, Options(seed=seed)) for seed in (1, 1, 2))
    assert list(made.ids) == list(same.ids)
    assert made.fingerprint == same.fingerprint != other.fingerprint
    assert list(made.ids) != list(other.ids)
    first = crops.object_crops(source.take(np.array([0])), Options(seed=1))
    assert list(first.ids) == list(made.ids)[: len(first)]


def test_ids_are_unique_and_no_object_has_the_same_crop_twice(source):
    tiny = dataclasses.replace(source, objects=[objects((10.0, 10.0, 12.0, 12.0))] * 3)
    made = crops.object_crops(tiny, Options(), copies=20, backgrounds=0)
    assert len(made) > 3 * 4
    assert len(set(made.ids)) == len(made)
    assert any(name.endswith("] #2") for name in made.ids)
    boxes = np.concatenate([made.owners[:, None], made.images._boxes], axis=1)
    assert len(np.unique(boxes, axis=0)) == len(made)


@pytest.mark.slow
def test_background_of_an_image_with_many_objects_takes_little_memory(source):
    corners = np.random.default_rng(0).uniform(0, 3000, (3000, 2)).astype(np.float32)
    many = objects(*np.concatenate([corners, corners + 8], axis=1))
    crowded = dataclasses.replace(source, objects=[many] * 3, sizes=np.full((3, 2), 3008, np.int32)).take([0])
    tracemalloc.start()
    made = crops.object_crops(crowded, Options(), copies=0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert made.class_counts().tolist() == [1500, 1500, 9000]
    assert peak < 60 << 20


def test_crops_of_a_source_with_boxes_are_in_the_catalog():
    name = "crops:embedded:single_digits:64"
    assert catalog.open_labels(name).splits == catalog.open_objects("embedded:single_digits:64").splits
    made = catalog.open_labels(name, Options(channels=1)).load("validation")
    assert made.class_names == (*map(str, range(10)), "background")
    first = made.read(tf.constant(0, tf.int64))
    assert first.shape[-1] == 1
    digit = catalog.open_objects("embedded:single_digits:64").load("validation")
    top, left, bottom, right = np.rint(digit.objects[0].boxes_yxyx[0]).astype(int)
    shown = decoding.decode(digit.encoded(0), "")[top:bottom, left:right]
    np.testing.assert_allclose(first[..., 0], cv2.cvtColor(shown, cv2.COLOR_RGB2GRAY), atol=1)
