from pathlib import Path

import numpy as np
from PIL import Image

from tfeff.analysis.comparison.thumbnails import Thumbnails, fitted, resized
from tfeff.data.sources import catalog
from tfeff.data.sources.source import Options


def test_thumbnails_keep_the_aspect_ratio_and_small_images(image_folder):
    large = image_folder({"train/a": 1, "train/b": 1}, size=(300, 900), name="large")
    small = image_folder({"train/a": 1, "train/b": 1}, size=(12, 16), name="small")
    for folder, size in ((large, (75, 224)), (small, (12, 16))):
        dataset = catalog.open_labels(f"folder:{folder}", Options()).load("train")
        assert Thumbnails(dataset)[1].shape == (*size, 3)
    np.testing.assert_array_equal(Thumbnails(dataset)[0], np.asarray(Image.open(Path(dataset.ids[0]))))


def test_scaling():
    pixels = np.full((10, 20, 1), 7, np.uint8)
    assert resized(pixels, 1) is pixels
    assert resized(pixels, 0.5).shape == (5, 10, 1)
    assert fitted(pixels, (3, 4)).tolist() == np.full((3, 4, 1), 7).tolist()
