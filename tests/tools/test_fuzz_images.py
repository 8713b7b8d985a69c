from collections.abc import Callable
from pathlib import Path

import fuzz_images
import fuzzing
import numpy as np
import pytest

from tests.thoroughness import THOROUGH

COUNT = 3_000 if THOROUGH else 300


def test_damaged_images_are_decoded_or_refused(dataset: Callable[..., Path]) -> None:
    rows = list(fuzzing.run(fuzz_images.prepare, dataset("hymenoptera", per_folder=2), range(COUNT), seed=1))
    assert len(rows) == COUNT
    assert not [row for row in rows if row.failure]
    assert {"refused", "same pixels", "other pixels without a word"} <= {row.result for row in rows}
    assert len({row.kind for row in rows}) >= 34  # all formats but HEIC, and AVIF if Pillow lacks it


def test_other_pixels_in_spite_of_checksums_are_a_failure(
    dataset: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = fuzz_images.prepare(dataset("hymenoptera", per_folder=2))
    monkeypatch.setattr(fuzz_images.decoding, "decode", lambda encoded, name: np.zeros((64, 96, 3), np.uint8))
    rng, failures = np.random.default_rng(0), set[str]()
    while not {"silent: other pixels, in spite of the checksums", "decoded without a header"} <= failures:
        failures.add(make(rng, tmp_path).check()[1])
