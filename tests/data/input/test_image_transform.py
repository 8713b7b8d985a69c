"""Whole images: what training and evaluation cut out of them."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.data.images import pillow
from tfeff.data.augment import geometry
from tfeff.data.augment.counter_rng import Draws
from tfeff.data.augment.policy import Augmentation
from tfeff.data.dataset import Dataset
from tfeff.data.input.batches import Batches
from tfeff.data.input.cache import ImageCache
from tfeff.data.input.image_transform import ImageTransform
from tfeff.data.input.order import Shuffled
from tfeff.data.input.reader import Reader
from tfeff.data.sources import catalog
from tfeff.errors import UserError

SIZE, SEED = (12, 12), 5
CROPS = Augmentation(crop_area=0.2, horizontal_flip=True)


@pytest.fixture
def photos(image_folder) -> Dataset:
    """Wide, tall and odd images."""
    for split, size in (("train/a", (15, 20)), ("train/b", (31, 17))):
        root = image_folder({split: 5}, size=size)
    return catalog.open_labels(f"folder:{root}").load("train")


def batches(images: ImageCache, augmentation: Augmentation, batch_size: int = 4, **options) -> Batches:
    transform = ImageTransform(
        Reader(images), SIZE, seed=SEED, augmentation=augmentation, interpolation="bicubic", **options
    )
    return Batches(transform, batch_size, order=Shuffled(len(images), SEED))


def elements(dataset: tf.data.Dataset) -> list[dict[str, np.ndarray]]:
    return list(dataset.as_numpy_iterator())


def assert_same(left: list[dict[str, np.ndarray]], right: list[dict[str, np.ndarray]]) -> None:
    for a, b in zip(left, right, strict=True):
        for key in a:
            np.testing.assert_array_equal(a[key], b[key], err_msg=key)


@pytest.mark.parametrize(("cached", "augmentation"), [("memory", CROPS), ("none", Augmentation())])
def test_evaluation_sees_the_central_square(photos, cached, augmentation):
    images = ImageCache.open(photos, fit="whole", cache=cached)
    found = batches(images, augmentation, center_crop=0.75).evaluation_batches().as_numpy_iterator()
    pixels = np.concatenate([batch["image"][batch["weight"] > 0] for batch in found])
    for path, image in zip(photos.ids, pixels, strict=True):
        height, width = (15, 20) if Path(path).parent.name == "a" else (31, 17)
        side = 11 if height == 15 else 12  # of 11.25 and 12.75
        top, left = (height - side + 1) // 2, (width - side + 1) // 2
        square = np.asarray(Image.open(path))[top : top + side, left : left + side]
        np.testing.assert_allclose(image, pillow.resized(square, SIZE, "bicubic"), atol=0.01)


def test_training_draws_crops_from_the_whole_image(photos):
    """With aspect ratios of its pixels, whatever its own; a crop of the stretched image would be distorted."""
    images = ImageCache.open(photos, fit="whole")
    pipeline = batches(images, Augmentation(crop_area=0.2), center_crop=0.75)
    for step, batch in enumerate(pipeline.training_batches(2).as_numpy_iterator()):
        for row, index in enumerate(batch["index"]):
            draws = Draws(SEED, tf.constant(step // 2), tf.constant([index], tf.int64), tf.constant([0], tf.int64))
            stored = np.asarray(Image.open(photos.ids[index]))
            expected = geometry.random_crop(stored[np.newaxis], SIZE, Augmentation(crop_area=0.2), draws, "bicubic")
            np.testing.assert_array_equal(batch["image"][row], expected[0])


def test_without_random_crops_training_sees_the_central_square(photos):
    pipeline = batches(ImageCache.open(photos, fit="whole"), Augmentation(), center_crop=0.75)
    whole = {}
    for batch in pipeline.evaluation_batches().as_numpy_iterator():
        whole |= dict(zip(batch["index"].tolist(), batch["image"], strict=True))
    for batch in pipeline.training_batches(1).as_numpy_iterator():
        for index, image in zip(batch["index"], batch["image"], strict=True):
            np.testing.assert_array_equal(image, whole[index])


def test_flips_mirror_the_crops(photos):
    images = ImageCache.open(photos, fit="whole")
    plain, flipped = (
        batches(images, Augmentation(crop_area=0.2, horizontal_flip=flip), center_crop=0.75).training_batches(6)
        for flip in (False, True)
    )
    mirrored = total = 0
    for a, b in zip(plain.as_numpy_iterator(), flipped.as_numpy_iterator(), strict=True):
        for one, other in zip(a["image"], b["image"], strict=True):
            same = (one == other).all()
            assert same or (one == other[:, ::-1]).all()
            mirrored, total = mirrored + (not same), total + 1
    assert 0.25 < mirrored / total < 0.75


@pytest.mark.slow
def test_batches_of_whole_images_do_not_depend_on_the_cache_or_the_batch_size(photos, tmp_path):
    opened = [
        ImageCache.open(photos, (14, 14), fit="whole", cache=kind, directory=tmp_path / "cache")
        for kind in ("memory", "disk", "none")
    ]
    reference = batches(opened[0], CROPS, center_crop=0.75)
    trained, evaluated = elements(reference.training_batches(2)), elements(reference.evaluation_batches())
    for other in opened[1:]:
        again = batches(other, CROPS, center_crop=0.75)
        assert_same(elements(again.training_batches(2, 1)), trained[1:])
        assert_same(elements(again.evaluation_batches()), evaluated)
    large = next(batches(opened[0], CROPS, 8, center_crop=0.75).training_batches(1).as_numpy_iterator())
    np.testing.assert_array_equal(large["image"], np.concatenate([batch["image"] for batch in trained[:2]]))


def test_images_of_different_sizes_need_a_center_crop(photos):
    with pytest.raises(ValueError, match="different sizes"):
        ImageTransform(Reader(ImageCache.open(photos, fit="whole", cache="none")), SIZE)


def test_a_lost_image_is_named(photos):
    images = ImageCache.open(photos, fit="whole", cache="none")
    Path(photos.ids[3]).unlink()
    with pytest.raises(tf.errors.UnknownError, match=f"UserError: {photos.ids[3]} can no longer be read"):
        list(batches(images, CROPS, center_crop=0.75).training_batches(1))
    with pytest.raises(UserError, match=photos.ids[3]):
        list(images.chunks(10))
