"""A journal survives a kill and drops rows of changed models or images."""

import os
import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tfeff.runs.journal import Journal, state_of


def file_of(folder: Path) -> Path:
    (path,) = folder.glob(".predictions-*.jsonl")
    return path


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{number}.jpg" for number in range(3)]
    for path in paths:
        path.write_bytes(b"image")
    return paths


def row(number: int) -> dict[str, Any]:
    return {"label": f"ü{number}", "boxes_yxyx": np.random.default_rng(number).random((number, 4)).tolist()}


def test_a_truncated_line_is_dropped_and_written_again(tmp_path: Path, files: list[Path]) -> None:
    journal = Journal(tmp_path, "model")
    for number, file in enumerate(files):
        journal.add(file.name, file, row(number))
    path = file_of(tmp_path)
    whole = path.read_bytes()
    for length in range(len(whole) - 40, len(whole)):
        path.write_bytes(whole[:length])
        again = Journal(tmp_path, "model")
        assert again.get("0.jpg", files[0]) == row(0)
        assert again.get("1.jpg", files[1]) == row(1)
        assert again.get("2.jpg", files[2]) is None
        again.add("2.jpg", files[2], row(2))
        assert path.read_bytes() == whole
        assert Journal(tmp_path, "model").get("2.jpg", files[2]) == row(2)


@pytest.mark.parametrize("damage", [b"\0" * 20, b"{}", b"[]", b'{"image": "1.jpg", "file"', b"\xff"])
def test_a_damaged_line_is_dropped_alone(tmp_path: Path, files: list[Path], damage: bytes) -> None:
    journal = Journal(tmp_path, "model")
    for number, file in enumerate(files):
        journal.add(file.name, file, row(number))
    path = file_of(tmp_path)
    lines = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join([*lines[:2], damage, *lines[3:]]) + b"\n")
    again = Journal(tmp_path, "model")
    assert [again.get(file.name, file) for file in files] == [row(0), None, row(2)]
    assert path.read_bytes().splitlines() == [*lines[:2], lines[3]]


def test_an_intact_journal_is_not_written_again(tmp_path: Path, files: list[Path]) -> None:
    Journal(tmp_path, "model").add("0.jpg", files[0], row(2))
    path = file_of(tmp_path)
    before = path.stat()
    assert Journal(tmp_path, "model").get("0.jpg", files[0]) == row(2)
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_the_journal_of_another_key_is_kept_until_it_is_removed(tmp_path: Path, files: list[Path]) -> None:
    Journal(tmp_path, "model").add("0.jpg", files[0], row(2))
    os.utime(file_of(tmp_path), ns=(1, 1))
    other = Journal(tmp_path, "other")
    assert other.get("0.jpg", files[0]) is None
    other.add("0.jpg", files[0], row(1))
    assert Journal.keys(tmp_path) == ["other", "model"]
    assert Journal(tmp_path, "model").get("0.jpg", files[0]) == row(2)
    other.remove_others()
    assert Journal.keys(tmp_path) == ["other"]
    assert Journal(tmp_path, "other").get("0.jpg", files[0]) == row(1)


def test_vectors_are_kept_as_float32(tmp_path: Path, files: list[Path]) -> None:
    vector = np.random.default_rng(0).normal(size=64).astype(np.float32)
    journal = Journal(tmp_path, "model")
    journal.add("0.jpg", files[0], {"vector": vector.tolist()})
    journal.add("1.jpg", files[1], {"vector": vector})
    path = file_of(tmp_path)
    lines = path.read_bytes().splitlines(keepends=True)
    for content in (lines, [*lines[:2], b"damaged\n", lines[2]]):
        path.write_bytes(b"".join(content))
        again = Journal(tmp_path, "model")
        for file in files[:2]:
            found = again.get(file.name, file)["vector"]
            assert found.dtype == np.float32
            np.testing.assert_array_equal(found, vector)
        assert path.read_bytes().splitlines(keepends=True) == lines


def test_a_long_journal_is_read_line_by_line(tmp_path: Path, files: list[Path]) -> None:
    count, size = 200, 500
    journal = Journal(tmp_path, "model")
    for number in range(count):
        journal.add(f"{number}.jpg", files[0], {"vector": np.full(size, number + 0.1, np.float32)})
    tracemalloc.start()
    again = Journal(tmp_path, "model")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert again.get("7.jpg", files[0]) is not None
    assert file_of(tmp_path).stat().st_size > 8 * count * size
    assert peak < 2 * 4 * count * size


def test_changed_files_are_detected_again(tmp_path: Path, files: list[Path]) -> None:
    Journal(tmp_path, "model").add("0.jpg", files[0], row(2))
    files[0].write_bytes(b"another image")
    assert Journal(tmp_path, "model").get("0.jpg", files[0]) is None


def test_another_file_of_the_same_size_and_time_is_another_image(tmp_path: Path, files: list[Path]) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    Journal(tmp_path, "model").add("0.jpg", files[0], row(2))
    time.sleep(0.02)
    other = folder / "0.jpg"
    other.write_bytes(b"egami")
    times = files[0].stat().st_mtime_ns
    os.utime(other, ns=(times, times))
    assert Journal(tmp_path, "model").get("0.jpg", other) is None
    assert Journal(tmp_path, "model").get("0.jpg", files[0]) == row(2)


def test_the_state_of_a_directory_covers_all_files(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "one").write_bytes(b"1")
    before = state_of(tmp_path)
    assert state_of(tmp_path) == before
    (tmp_path / "deep" / "one").write_bytes(b"12")
    assert state_of(tmp_path) != before
