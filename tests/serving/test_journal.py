"""Detections survive a kill, and are forgotten with what they came from."""

from pathlib import Path

import numpy as np
import pytest

from tfeff.evaluation import Detections
from tfeff.serving.journal import Journal, state_of


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    made = [tmp_path / f"{number}.jpg" for number in range(3)]
    for path in made:
        path.write_bytes(b"image")
    return made


def detections(count: int) -> Detections:
    rng = np.random.default_rng(count)
    return Detections(
        rng.random((count, 4), np.float32), rng.integers(0, 9, count).astype(np.int32), rng.random(count, np.float32)
    )


def same(found: Detections | None, expected: Detections) -> None:
    assert found is not None
    for name in ("boxes_yxyx", "labels", "scores"):
        one, other = getattr(found, name), getattr(expected, name)
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


def test_a_line_that_was_cut_off_is_dropped_and_written_again(tmp_path: Path, files: list[Path]) -> None:
    path = tmp_path / "journal"
    journal = Journal(path, "model")
    for number, file in enumerate(files):
        journal.add(file.name, file, detections(number))
    whole = path.read_bytes()
    for length in range(len(whole) - 40, len(whole)):
        path.write_bytes(whole[:length])
        again = Journal(path, "model")
        same(again.get("0.jpg", files[0]), detections(0))
        same(again.get("1.jpg", files[1]), detections(1))
        assert again.get("2.jpg", files[2]) is None
        again.add("2.jpg", files[2], detections(2))
        assert path.read_bytes() == whole
        same(Journal(path, "model").get("2.jpg", files[2]), detections(2))


def test_another_model_and_another_file_are_detected_in_again(tmp_path: Path, files: list[Path]) -> None:
    path = tmp_path / "journal"
    Journal(path, "model").add("0.jpg", files[0], detections(2))
    assert Journal(path, "other").get("0.jpg", files[0]) is None
    Journal(path, "model").add("0.jpg", files[0], detections(2))
    files[0].write_bytes(b"another image")
    assert Journal(path, "model").get("0.jpg", files[0]) is None


def test_the_state_of_a_directory_is_that_of_all_its_files(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "one").write_bytes(b"1")
    before = state_of(tmp_path)
    assert state_of(tmp_path) == before
    (tmp_path / "deep" / "one").write_bytes(b"12")
    assert state_of(tmp_path) != before
