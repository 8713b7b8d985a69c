"""Staged directories are complete or absent; a journal survives a kill and drops rows of changed models or images."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tfeff.durable import Journal, staged, state_of
from tfeff.errors import UserError


def write_result(target, text, **options):
    with staged(target, **{"overwrite": False, "marker": "done", **options}) as directory:
        (directory / "done").write_text(text)


def test_parents_are_created_and_no_staging_directory_is_left(tmp_path):
    write_result(tmp_path / "a" / "b", "new")
    assert (tmp_path / "a" / "b" / "done").read_text() == "new"
    assert os.listdir(tmp_path / "a") == ["b"]


def test_the_result_has_the_permissions_of_a_new_directory(tmp_path):
    (tmp_path / "plain").mkdir()
    write_result(tmp_path / "staged", "new")
    assert (tmp_path / "staged").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_an_empty_target_is_replaced(tmp_path):
    (tmp_path / "target").mkdir()
    write_result(tmp_path / "target", "new")
    assert (tmp_path / "target" / "done").read_text() == "new"


def interrupt(target):
    with staged(target, overwrite=True, marker="done") as directory:
        (directory / "done").write_text("half")
        raise KeyboardInterrupt


def test_an_interrupted_block_changes_nothing(tmp_path):
    write_result(tmp_path / "target", "old")
    with pytest.raises(KeyboardInterrupt):
        interrupt(tmp_path / "target")
    assert (tmp_path / "target" / "done").read_text() == "old"
    assert os.listdir(tmp_path) == ["target"]


def test_leftovers_of_a_killed_process_are_removed(tmp_path):
    (tmp_path / ".target.partial").mkdir()
    (tmp_path / ".target.partial" / "half").touch()
    (tmp_path / ".target.replaced").mkdir()
    (tmp_path / ".target.replaced" / "old").touch()
    write_result(tmp_path / "target", "new")
    assert os.listdir(tmp_path) == ["target"]
    assert os.listdir(tmp_path / "target") == ["done"]


def test_other_directories_are_never_replaced(tmp_path):
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "thesis.tex").write_text("precious")
    with pytest.raises(UserError, match="not an earlier export"):
        write_result(tmp_path / "target", "new", overwrite=True)
    assert (tmp_path / "target" / "thesis.tex").read_text() == "precious"


def test_a_target_below_a_file_is_an_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written"):
        write_result(tmp_path / "file" / "target", "new")
    with pytest.raises(UserError, match="not an earlier export"):
        write_result(tmp_path / "file", "new", overwrite=True)


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{number}.jpg" for number in range(3)]
    for path in paths:
        path.write_bytes(b"image")
    return paths


def row(number: int) -> dict[str, Any]:
    return {"label": f"ü{number}", "boxes_yxyx": np.random.default_rng(number).random((number, 4)).tolist()}


def test_a_truncated_line_is_dropped_and_written_again(tmp_path: Path, files: list[Path]) -> None:
    path = tmp_path / "journal"
    journal = Journal(path, "model")
    for number, file in enumerate(files):
        journal.add(file.name, file, row(number))
    whole = path.read_bytes()
    for length in range(len(whole) - 40, len(whole)):
        path.write_bytes(whole[:length])
        again = Journal(path, "model")
        assert again.get("0.jpg", files[0]) == row(0)
        assert again.get("1.jpg", files[1]) == row(1)
        assert again.get("2.jpg", files[2]) is None
        again.add("2.jpg", files[2], row(2))
        assert path.read_bytes() == whole
        assert Journal(path, "model").get("2.jpg", files[2]) == row(2)


@pytest.mark.parametrize("damage", [b"\0" * 20, b"{}", b"[]", b'{"image": "1.jpg", "file"', b"\xff"])
def test_lines_from_a_damaged_one_on_are_dropped(tmp_path: Path, files: list[Path], damage: bytes) -> None:
    path = tmp_path / "journal"
    journal = Journal(path, "model")
    for number, file in enumerate(files):
        journal.add(file.name, file, row(number))
    lines = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join([*lines[:2], damage, *lines[3:]]) + b"\n")
    again = Journal(path, "model")
    assert [again.get(file.name, file) for file in files] == [row(0), None, None]
    assert path.read_bytes().splitlines() == lines[:2]


def test_changed_models_and_files_are_detected_again(tmp_path: Path, files: list[Path]) -> None:
    path = tmp_path / "journal"
    Journal(path, "model").add("0.jpg", files[0], row(2))
    assert Journal(path, "other").get("0.jpg", files[0]) is None
    Journal(path, "model").add("0.jpg", files[0], row(2))
    files[0].write_bytes(b"another image")
    assert Journal(path, "model").get("0.jpg", files[0]) is None


def test_the_state_of_a_directory_covers_all_files(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "one").write_bytes(b"1")
    before = state_of(tmp_path)
    assert state_of(tmp_path) == before
    (tmp_path / "deep" / "one").write_bytes(b"12")
    assert state_of(tmp_path) != before
