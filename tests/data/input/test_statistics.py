import numpy as np
import pytest

from tests.tasks.digits_of_many_sizes import write_coco
from tfeff.data.input.cache import ImageCache
from tfeff.data.input.statistics import channel_statistics
from tfeff.data.sources import catalog
from tfeff.data.sources.source import Options


@pytest.mark.parametrize("cache", ["memory", "none"])
@pytest.mark.parametrize("channels", [1, 3])
def test_mean_and_deviation_are_those_of_all_pixels(image_folder, cache, channels):
    root = image_folder({"train/a": 40, "train/b": 37})
    images = ImageCache.open(
        catalog.open_labels(f"folder:{root}", Options(channels=channels)).load("train"), (12, 16), cache=cache
    )
    pixels = np.concatenate(list(images.chunks(10))).astype(float)
    mean, std = channel_statistics(images)
    assert mean.dtype == std.dtype == np.float32
    np.testing.assert_allclose(mean, pixels.mean(axis=(0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(std, pixels.std(axis=(0, 1, 2)), rtol=1e-6)


def test_a_subset_has_statistics_of_its_own():
    images = ImageCache.open(catalog.open_labels("embedded:digits", Options(channels=1)).load("train"))
    part = images.take(np.arange(100))
    pixels = np.concatenate(list(part.chunks(100))).astype(float)
    np.testing.assert_allclose(channel_statistics(part)[0], pixels.mean(), rtol=1e-6)


def test_a_constant_channel_divides_by_one(tmp_path):
    from PIL import Image

    for name in ("a", "b"):
        (tmp_path / "train" / name).mkdir(parents=True)
        Image.new("RGB", (4, 4), (10, 0, 255)).save(tmp_path / "train" / name / "1.png")
    mean, std = channel_statistics(ImageCache.open(catalog.open_labels(f"folder:{tmp_path}").load("train"), (4, 4)))
    np.testing.assert_array_equal(mean, [10, 0, 255])
    np.testing.assert_array_equal(std, 1)


@pytest.mark.parametrize("cache", ["memory", "none"])
def test_the_padding_of_letterboxes_does_not_count(tmp_path, cache):
    source = write_coco(tmp_path, 6)
    dataset = catalog.open_objects(f"coco:{source}").load("train")
    assert len(np.unique(dataset.sizes, axis=0)) == 6
    images = ImageCache.open(dataset, (64, 64), fit="letterbox", cache=cache).take(np.array([1, 4, 5]))
    sizes = images.dataset.sizes
    assert sizes.max(axis=1).tolist() == [64, 64, 64]  # so that images fill one side and keep their pixels
    pixels = np.concatenate(
        [
            image[:height, :width].reshape(-1, 3)
            for image, (height, width) in zip(next(images.chunks(3)), sizes, strict=True)
        ]
    )
    assert len(pixels) < 3 * 64 * 64
    mean, std = channel_statistics(images)
    np.testing.assert_allclose(mean, pixels.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(std, pixels.std(axis=0), rtol=1e-5)
