from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tfeff.data.input.cache import ImageCache
from tfeff.data.sources import unlabeled
from tfeff.errors import UserError


def test_images_of_detectors_without_a_readable_header_are_corrupt_images(tmp_path: Path) -> None:
    for name, size in (("b.png", (8, 6)), ("c.png", (4, 12))):
        Image.fromarray(np.full((*size, 3), 99, np.uint8)).save(tmp_path / name)
    (tmp_path / "a.png").write_bytes(b"no image")
    (tmp_path / "d.png").write_bytes(b"")
    dataset = unlabeled.load(str(tmp_path), ("cat",), 3, objects=True)
    assert len(dataset) == 4
    with pytest.raises(UserError, match=r"2 of 4 images cannot be read:\n.*a.png.*\n.*d.png.*empty\n.*skip"):
        ImageCache.open(dataset, (16, 16), fit="letterbox")
    images = ImageCache.open(dataset, (16, 16), fit="letterbox", corrupt_images="skip")
    assert [Path(each.id).name for each in images.skipped] == ["a.png", "d.png"]
    assert images.dataset.sizes.tolist() == [[8, 6], [4, 12]]
    assert images.dataset.has_objects
