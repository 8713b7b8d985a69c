import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tfeff.data.dataset import Dataset, Objects
from tfeff.data.defects import Defects
from tfeff.data.images.storage import PixelArray
from tfeff.errors import UserError

PIXELS = np.arange(5 * 2 * 3, dtype=np.uint8).reshape(5, 2, 3, 1)


def dataset(labels, channels=1, **fields):
    ids = [f"train[{index}]" for index in range(len(labels))]
    images = PixelArray(PIXELS[: len(labels)], "tiny/1")
    return Dataset("tiny", ("a", "b", "c"), ids, images, channels, np.array(labels, int), **fields)


def objects(*boxes):
    flags = np.zeros(len(boxes), bool)
    return Objects(np.array(boxes, np.float32).reshape(-1, 4), np.zeros(len(boxes), np.int32), flags, flags)


def test_a_subset_keeps_images_labels_and_ids_together():
    part = dataset([0, 2, 1, 1, 0]).take(np.array([3, 1])).take(np.array([1, 0, 1]))
    np.testing.assert_array_equal(part.labels, [2, 1, 2])
    assert list(part.ids) == ["train[1]", "train[3]", "train[1]"]
    for index, original in enumerate([1, 3, 1]):
        np.testing.assert_array_equal(part.read(tf.constant(index, tf.int64)), PIXELS[original])
    np.testing.assert_array_equal(part.class_counts(), [0, 1, 2])


@pytest.mark.parametrize(
    ("labels", "channels", "message"),
    [
        ([], 1, "tiny: no images"),
        ([0, 3, 1], 1, r"1 labels are outside 0\.\.2; the first is 3 at train\[1\]"),
        ([-1, 0], 1, r"the first is -1 at train\[0\]"),
        ([0, 1], 2, "channels must be 1"),
    ],
)
def test_invalid_datasets_are_refused(labels, channels, message):
    with pytest.raises(UserError, match=message):
        dataset(labels, channels)


def test_a_dataset_without_images_says_what_was_dropped():
    defects = Defects()
    defects.add("unreadable image", "a.jpg")
    with pytest.raises(UserError, match=r"tiny: no images, because of defects:\n1 x unreadable image, first: a\.jpg"):
        Dataset("tiny", ("a",), [], PixelArray(PIXELS[:0], "1"), defects=defects)


def test_the_fingerprint_changes_with_everything_about_the_objects():
    plain = objects((0, 0, 1, 2))
    changed = [
        objects((0, 0, 1, 1)),
        dataclasses.replace(plain, labels=np.ones(1, np.int32)),
        dataclasses.replace(plain, difficult=np.ones(1, bool)),
        dataclasses.replace(plain, crowd=np.ones(1, bool)),
        dataclasses.replace(plain, areas=np.array([1.5])),
        dataclasses.replace(plain, areas=np.array([2.0])),
    ]
    fingerprints = [
        Dataset("tiny", ("a", "b"), ["x"], PixelArray(PIXELS[:1], "1"), objects=[each]).fingerprint
        for each in (plain, *changed)
    ]
    assert len(set(fingerprints)) == len(fingerprints) == len({each.digest() for each in (plain, *changed)})
    assert dataclasses.replace(plain, areas=np.array([np.nan])).digest() == plain.digest()


def test_duplicate_ids_of_annotated_images_are_refused():
    with pytest.raises(UserError, match="1 names belong to several images; the first is x"):
        Dataset("tiny", ("a",), ["x", "x"], PixelArray(PIXELS[:2], "1"), objects=[objects(), objects()])


def test_one_size_is_known_only_if_all_images_share_it():
    sizes = np.array([[2, 3], [2, 3]], np.int32)
    assert dataset([0, 1], sizes=sizes).size == (2, 3)
    sizes = np.array([[2, 3], [3, 3]], np.int32)
    assert dataset([0, 1], sizes=sizes).size is None
    assert dataset([0, 1], sizes=sizes).take(np.array([1])).size == (3, 3)
    assert dataset([0, 1]).size is None


def test_relative_boxes_need_one_object_each():
    sizes = np.array([[2, 4], [4, 2]], np.int32)
    one = dataset([0, 1], sizes=sizes, objects=[objects((0, 1, 2, 3)), objects((1, 0, 9, 2))])
    np.testing.assert_array_equal(one.relative_boxes(), np.array([[0, 0.25, 1, 0.75], [0.25, 0, 1, 1]], np.float32))
    with pytest.raises(ValueError, match="exactly one object"):
        dataset([0, 1], sizes=sizes, objects=[objects(), objects((1, 0, 9, 2))]).relative_boxes()


def test_ignored_objects_are_difficult_or_crowds():
    flags = np.array([True, False, False]), np.array([False, True, False])
    each = Objects(np.zeros((3, 4), np.float32), np.zeros(3, np.int32), *flags)
    assert each.ignored.tolist() == [True, True, False]
    assert each.take(~each.ignored).labels.tolist() == [0]


def test_the_fingerprint_follows_objects_and_channels():
    sizes = np.array([[2, 3]], np.int32)
    boxes = [dataset([0], sizes=sizes, objects=[objects(box)]) for box in ((0, 0, 1, 1), (0, 0, 1, 2), (0, 0, 1, 1))]
    assert boxes[0].fingerprint == boxes[2].fingerprint != boxes[1].fingerprint


def test_defects_are_counted_or_raised():
    defects = Defects()
    defects.add("box without area", "a.xml, object 1")
    defects.add("box without area", "b.xml, object 3")
    assert defects.text() == "2 x box without area, first: a.xml, object 1"
    with pytest.raises(UserError, match=r"a\.xml: swapped corners; correct it, or set on_defect=report"):
        Defects("stop").add("swapped corners", "a.xml")
