"""Features on disk are computed once, also if the process is killed."""

import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tfeff.durable import locked
from tfeff.rcnn import feature_store
from tfeff.rcnn.feature_store import stored_features

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
    features, counts = stored_features(directory, current or digests(), SIZE, compute)
    assert counts.tolist() == COUNTS
    assert features.shape == (sum(COUNTS), SIZE)
    np.testing.assert_array_equal(features[:][:, 0], np.repeat(range(len(IDS)), COUNTS))


def test_stored_features_are_not_computed_again(tmp_path: Path) -> None:
    first, second = Compute(), Compute()
    check(tmp_path, first)
    check(tmp_path, second)
    assert (first.computed, second.computed) == (list(range(6)), [])


@pytest.mark.parametrize("lost", [0, 1, 7, 2 * SIZE * 8, 10**9])
@pytest.mark.parametrize("name", ["features.bin", "index.jsonl"])
def test_incomplete_features_are_computed_again(tmp_path: Path, name: str, lost: int) -> None:
    with pytest.raises(KeyboardInterrupt):
        stored_features(tmp_path, digests(), SIZE, Compute(stop_at=4))
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[: max(0, path.stat().st_size - lost)])
    again = Compute()
    check(tmp_path, again)
    assert again.computed == list(range(again.computed[0], 6))
    assert lost or again.computed[0] == 4


def test_only_a_changed_image_is_computed_again(tmp_path: Path) -> None:
    check(tmp_path, Compute())
    again = Compute()
    check(tmp_path, again, digests(changed=2))
    assert again.computed == [2]


def test_runs_with_other_images_share_a_store(tmp_path: Path) -> None:
    """Also in another order, and with an image twice."""
    check(tmp_path, Compute())
    features, counts = stored_features(tmp_path, [digests()[each] for each in (4, 0, 4)], SIZE, Compute(stop_at=0))
    assert counts.tolist() == [4, 3, 4]
    assert features[slice(3, 8)][:, 0].tolist() == [4, 0, 0, 0, 4]


def test_no_regions(tmp_path: Path) -> None:
    features, counts = stored_features(tmp_path, [""], SIZE, lambda image: np.zeros((0, SIZE)))
    assert (features.shape, features[:].shape, counts.tolist()) == ((0, SIZE), (0, SIZE), [0])


def test_a_complete_store_is_read_while_another_process_adds_to_it(tmp_path: Path) -> None:
    check(tmp_path, Compute())
    with locked(tmp_path, "task.features.directory"):
        check(tmp_path, Compute(stop_at=0))


@pytest.mark.parametrize(
    ("name", "place", "again"),
    [("features.bin", 2 * SIZE * 4, [2]), ("index.jsonl", 5, [0]), ("index.jsonl", -30, [5])],
)
def test_only_damaged_features_are_computed_again(tmp_path: Path, name: str, place: int, again: list[int]) -> None:
    check(tmp_path, Compute())
    content = bytearray((tmp_path / name).read_bytes())
    content[place] ^= 1
    (tmp_path / name).write_bytes(content)
    repaired, third = Compute(), Compute()
    check(tmp_path, repaired)
    check(tmp_path, third)
    assert (repaired.computed, third.computed) == (again, [])


def test_used_features_are_read_once_if_others_are_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check(tmp_path, Compute())
    features, read = np.fromfile(tmp_path / "features.bin", np.float16).reshape(-1, SIZE), list[bytes]()

    def crc32(data: bytes) -> int:
        read.append(bytes(data))
        return zlib.crc32(data)

    monkeypatch.setattr(feature_store, "zlib", SimpleNamespace(crc32=crc32))
    again = Compute()
    check(tmp_path, again, digests(changed=2))
    assert again.computed == [2]
    ends = np.cumsum(COUNTS)
    stored = [features[end - count : end].tobytes() for end, count in zip(ends, COUNTS, strict=True)]
    assert read == [*stored[:2], *stored[3:], stored[2]]  # the last one when it was added
