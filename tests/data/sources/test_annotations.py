"""Images with one object each: which object, which images, which box."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tfeff.data.dataset import Dataset, Objects
from tfeff.data.images.storage import ImageFiles
from tfeff.data.input.batches import Batches
from tfeff.data.input.box_transform import SingleObjectTransform
from tfeff.data.input.cache import ImageCache
from tfeff.data.input.reader import Reader
from tfeff.data.sources.annotations import single_objects
from tfeff.errors import UserError


@pytest.fixture
def annotated(tmp_path):
    """Four images of 20 x 40: two objects, none, one that is difficult beside a smaller one, a crowd alone."""
    files = []
    for number in range(4):
        path = tmp_path / f"{number}.png"
        Image.fromarray(np.full((20, 40, 3), 40 * number, np.uint8)).save(path)
        files.append(path)

    def objects(boxes, labels, difficult=None, crowd=None):
        none = [False] * len(labels)
        flags = [np.array(flag or none, bool) for flag in (difficult, crowd)]
        return Objects(np.array(boxes, np.float32).reshape(-1, 4), np.array(labels, np.int32), *flags)

    return Dataset(
        name="voc:here/train",
        class_names=("cat", "dog"),
        ids=[path.name for path in files],
        objects=[
            objects([[0, 0, 5, 5], [10, 8, 20, 40]], [0, 1]),
            objects([], []),
            objects([[0, 0, 20, 40], [1, 2, 3, 4]], [1, 0], difficult=[True, False]),
            objects([[0, 0, 20, 40]], [0], crowd=[True]),
        ],
        images=ImageFiles(files),
        sizes=np.tile(np.array([20, 40], np.int32), (4, 1)),
    )


def test_the_largest_object_is_used_and_images_without_objects_are_skipped(annotated):
    source = single_objects(annotated)
    assert source.ids == ["0.png", "2.png"]
    assert source.labels.tolist() == [1, 0]
    np.testing.assert_allclose(source.relative_boxes(), [[0.5, 0.2, 1.0, 1.0], [0.05, 0.05, 0.15, 0.1]], atol=1e-6)
    assert source.size == (20, 40)
    assert [int(source.read(tf.constant(index, tf.int64))[0, 0, 0]) for index in range(2)] == [0, 80]
    assert "skipped 2 of 4 images" in source.notes[0]
    assert "1 of 4 images have several" in source.notes[1]


def test_a_subset_keeps_images_and_boxes_together(annotated):
    source = single_objects(annotated)
    turned = source.take(np.array([1, 0]))
    np.testing.assert_array_equal(turned.relative_boxes(), source.relative_boxes()[::-1])
    assert turned.labels.tolist() == [0, 1]
    assert turned.notes == source.notes


def test_the_fingerprint_follows_the_boxes(annotated):
    before = single_objects(annotated).fingerprint
    assert single_objects(annotated).fingerprint == before
    annotated.objects[0].boxes_yxyx[1, 0] = 11
    assert single_objects(annotated).fingerprint != before


def test_a_dataset_without_objects_is_refused(annotated):
    with pytest.raises(UserError, match="none of its 2 images has an object"):
        single_objects(annotated.take(np.array([1, 3])))


def test_batches_hold_the_boxes(annotated):
    cache = ImageCache.open(single_objects(annotated), (16, 16))
    transform = SingleObjectTransform(Reader(cache), (8, 8), seed=3)
    (batch,) = Batches(transform, 3).evaluation_batches()
    np.testing.assert_array_equal(batch["weight"], [1, 1, 0])
    np.testing.assert_array_equal(batch["box"][:2], cache.dataset.relative_boxes())
    training = next(iter(Batches(transform, 2).training_batches(1)))
    np.testing.assert_array_equal(training["box"], cache.dataset.relative_boxes()[training["index"].numpy()])
