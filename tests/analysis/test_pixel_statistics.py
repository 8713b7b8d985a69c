"""Pixel statistics against NumPy."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tfeff.analysis.pixel_statistics import measure
from tfeff.data.sources import catalog
from tfeff.errors import UserError


def test_statistics_are_those_of_all_pixels_at_their_own_sizes(tmp_path: Path) -> None:
    rng, images = np.random.default_rng(0), []
    for index in range(150):
        pixels = rng.integers(0, 200, (*rng.integers(5, 40, 2), 3), np.uint8)
        path = tmp_path / "train" / "ab"[index % 2] / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
        images.append(pixels)
    (tmp_path / "train" / "a" / "broken.png").write_bytes(b"not an image")
    counts = []
    found = measure(
        catalog.open_labels(f"folder:{tmp_path}").load("train"), lambda done, total: counts.append((done, total))
    )
    color = np.concatenate([each.reshape(-1, 3) for each in images]) / 255
    gray = np.concatenate([np.asarray(Image.fromarray(each).convert("L"), float).ravel() for each in images]) / 255
    np.testing.assert_allclose(found.color, (color.mean(axis=0), color.std(axis=0)), rtol=1e-5)
    np.testing.assert_allclose(found.gray, ([gray.mean()], [gray.std()]), atol=2e-3)  # rounding differs
    assert found.images == 150
    assert [Path(name).name for name in found.unreadable] == ["broken.png"]
    assert counts[-1] == (151, 151)
    assert f"--config.model.mean={255 * color[:, 0].mean():.1f}," in found.to_text()


def test_without_a_readable_image_there_are_no_statistics(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / "train" / name).mkdir(parents=True)
        (tmp_path / "train" / name / "1.png").write_bytes(b"")
    with pytest.raises(UserError, match="none of its 2 images"):
        measure(catalog.open_labels(f"folder:{tmp_path}").load("train"))
