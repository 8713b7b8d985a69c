"""Features on disk are computed once, also if the process is killed."""

from pathlib import Path

import numpy as np
import pytest

from tfeff.rcnn.feature_cache import cached_features

SIZE = 5
IDS = [f"image {number}" for number in range(6)]
COUNTS = [3, 0, 7, 1, 4, 2]


class Compute:
    """Features that hold the index of their image; records which images were computed."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.computed, self._stop_at = list[int](), stop_at

    def __call__(self, image: int) -> np.ndarray:
        if image == self._stop_at:
            raise KeyboardInterrupt
        self.computed.append(image)
        return np.full((COUNTS[image], SIZE), image, np.float32)


def digests(changed: int | None = None) -> list[str]:
    return [f"{name}{'!' if number == changed else ''}" for number, name in enumerate(IDS)]


def check(directory: Path, compute: Compute, current: list[str] | None = None) -> None:
    found = cached_features(directory, IDS, current or digests(), SIZE, compute)
    assert np.diff(found.starts).tolist() == COUNTS
    for image in range(len(IDS)):
        assert (np.asarray(found.of_image(image)) == image).all()


def test_cached_features_are_not_computed_again(tmp_path: Path) -> None:
    first, second = Compute(), Compute()
    check(tmp_path, first)
    check(tmp_path, second)
    assert (first.computed, second.computed) == (list(range(6)), [])


@pytest.mark.parametrize("lost", [0, 1, 7, 2 * SIZE * 8, 10**9])
@pytest.mark.parametrize("name", ["features.bin", "index.jsonl"])
def test_incomplete_features_are_computed_again(tmp_path: Path, name: str, lost: int) -> None:
    with pytest.raises(KeyboardInterrupt):
        cached_features(tmp_path, IDS, digests(), SIZE, Compute(stop_at=4))
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[: max(0, path.stat().st_size - lost)])
    again = Compute()
    check(tmp_path, again)
    assert again.computed == list(range(again.computed[0], 6))
    assert lost or again.computed[0] == 4


def test_a_changed_image_and_all_after_it_are_computed_again(tmp_path: Path) -> None:
    check(tmp_path, Compute())
    again = Compute()
    check(tmp_path, again, digests(changed=2))
    assert again.computed == [2, 3, 4, 5]


def test_no_regions(tmp_path: Path) -> None:
    found = cached_features(tmp_path, ["one"], [""], SIZE, lambda image: np.zeros((0, SIZE)))
    assert found.features.shape == (0, SIZE)
