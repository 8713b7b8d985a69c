from collections.abc import Callable
from pathlib import Path

import fuzz_images
import fuzzing
import numpy as np
import pytest

from tests.thoroughness import THOROUGH
from tfeff.data.images.header import MAX_PIXELS

COUNT = 3_000 if THOROUGH else 300


@pytest.mark.slow
def test_damaged_images_are_decoded_or_refused(dataset: Callable[..., Path]) -> None:
    rows = list(fuzzing.run(fuzz_images.prepare, dataset("hymenoptera", per_folder=2), range(COUNT), seed=1))
    assert len(rows) == COUNT
    assert not [row for row in rows if row.failure]
    assert {"refused", "same pixels", "other pixels without a word"} <= {row.result for row in rows}
    assert len({row.kind for row in rows}) >= 34  # all formats but HEIC, and AVIF if Pillow lacks it


@pytest.mark.slow
def test_other_pixels_in_spite_of_checksums_are_a_failure(
    dataset: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = fuzz_images.prepare(dataset("hymenoptera", per_folder=2))
    monkeypatch.setattr(fuzz_images.decoding, "decode", lambda encoded, name: np.zeros((64, 96, 3), np.uint8))
    rng, failures = np.random.default_rng(0), set[str]()
    expected = {"silent: other pixels, in spite of the checksums", "decoded without a header"}
    for _ in range(500):
        failures.add(make(rng, tmp_path).check()[1])
        if expected <= failures:
            break
    assert expected <= failures


@pytest.mark.parametrize("share", [1, 2, 4])
def test_sizes_at_the_limit_of_each_format_are_just_below_it(share: int) -> None:
    most = MAX_PIXELS // share
    pixels = [width * height for width, height in fuzz_images.AT_THE_LIMIT]
    assert sum(0.998 * most < each <= most for each in pixels) == 3
    assert max(pixels) <= MAX_PIXELS
