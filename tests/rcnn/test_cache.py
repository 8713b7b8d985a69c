"""Features on disk: computed once, whatever stopped the process."""

from pathlib import Path

import numpy as np
import pytest

from tfeff.rcnn.cache import cached

SIZE = 5
IDS = [f"image {number}" for number in range(6)]
COUNTS = [3, 0, 7, 1, 4, 2]


class Source:
    """Features that tell which image they are of, and a count of what was asked for."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.asked, self._stop_at = list[int](), stop_at

    def __call__(self, image: int) -> np.ndarray:
        if image == self._stop_at:
            raise KeyboardInterrupt
        self.asked.append(image)
        return np.full((COUNTS[image], SIZE), image, np.float32)


def contents(changed: int | None = None) -> list[str]:
    return [f"{name}{'!' if number == changed else ''}" for number, name in enumerate(IDS)]


def check(directory: Path, compute: Source, of: list[str] | None = None) -> None:
    found = cached(directory, IDS, of or contents(), SIZE, compute)
    assert np.diff(found.starts).tolist() == COUNTS
    for image in range(len(IDS)):
        assert (np.asarray(found.of(image)) == image).all()


def test_what_is_there_is_not_computed_again(tmp_path: Path) -> None:
    first, second = Source(), Source()
    check(tmp_path, first)
    check(tmp_path, second)
    assert (first.asked, second.asked) == (list(range(6)), [])


@pytest.mark.parametrize("lost", [0, 1, 7, 2 * SIZE * 8, 10**9])
@pytest.mark.parametrize("name", ["features.bin", "index.jsonl"])
def test_what_a_kill_cut_off_is_computed_again(tmp_path: Path, name: str, lost: int) -> None:
    with pytest.raises(KeyboardInterrupt):
        cached(tmp_path, IDS, contents(), SIZE, Source(stop_at=4))
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[: max(0, path.stat().st_size - lost)])
    again = Source()
    check(tmp_path, again)
    assert again.asked == list(range(again.asked[0], 6))
    assert lost or again.asked[0] == 4


def test_a_changed_image_and_all_after_it_are_computed_again(tmp_path: Path) -> None:
    check(tmp_path, Source())
    again = Source()
    check(tmp_path, again, contents(changed=2))
    assert again.asked == [2, 3, 4, 5]


def test_no_regions_at_all(tmp_path: Path) -> None:
    found = cached(tmp_path, ["one"], [""], SIZE, lambda image: np.zeros((0, SIZE)))
    assert found.features.shape == (0, SIZE)
