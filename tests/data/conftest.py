"""Small image folders made of random pixels."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def image_folder(tmp_path: Path) -> Callable[..., Path]:
    """`image_folder({"train/cat": 3, "train/dog": 2}, size=(12, 16))`: a folder with so many PNG files in each part."""

    def make(counts: Mapping[str, int], size: tuple[int, int] = (12, 16), name: str = "images") -> Path:
        rng = np.random.default_rng(0)
        for part, count in counts.items():
            (tmp_path / name / part).mkdir(parents=True, exist_ok=True)
            for i in range(count):
                pixels = rng.integers(0, 256, (*size, 3), np.uint8)
                Image.fromarray(pixels).save(tmp_path / name / part / f"{i:03}.png")
        return tmp_path / name

    return make
