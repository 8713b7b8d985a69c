"""Damage of JSON files and lines is noticed; a journal survives a kill and drops rows of changed models or images."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tfeff import checked
from tfeff.checked import Journal, state_of
from tfeff.errors import UserError


@pytest.fixture(autouse=True)
def _every_warning() -> None:
    checked.warn.cache_clear()


RECORD = {"names": ["ü", "\udc80"], "mean": 0.1, "nested": {"sizes": (3, 4), "none": None}}


def test_json_is_read_back_however_it_is_formatted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "file.json"
    checked.write_json(path, RECORD)
    expected = json.loads(json.dumps(RECORD))
    assert path.read_text().startswith('{\n  "crc32": "')
    assert checked.read_json(path, "delete it", {"names": list, "missing": (int, type(None))}) == expected
    path.write_text(json.dumps(json.loads(path.read_text()), sort_keys=True))
    assert checked.read_json(path, "delete it") == expected
    assert not caplog.messages


def test_another_value_is_an_error_until_the_checksum_is_deleted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "file.json"
    checked.write_json(path, RECORD)
    path.write_text(path.read_text().replace("0.1", "0.3"))
    with pytest.raises(UserError) as error:
        checked.read_json(path, "restore it")
    for words in (str(path), "damaged or edited", 'delete its line "crc32"', "otherwise, restore it"):
        assert words in str(error.value)
    assert checked.read_json(path, "restore it", edited=True)["mean"] == 0.3
    path.write_text("".join(line for line in path.read_text().splitlines() if "crc32" not in line))
    assert checked.read_json(path, "restore it")["mean"] == 0.3
    assert [message.partition(": ")[2] for message in caplog.messages] == [
        "edited since it was written, or damaged: its contents do not fit its checksum",
        "edited, or damaged: it has no checksum",
    ]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not JSON"),
        (b'{"names": [', "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"\xff", "damaged"),
        (b"[]", "not a JSON object"),
        (b"{}", "names is missing or has a wrong type"),
        (b'{"names": 3}', "names is missing or has a wrong type"),
    ],
)
def test_damaged_json_is_an_error_that_names_the_file(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "file.json"
    with pytest.raises(UserError, match=r"file\.json: missing; delete it"):
        checked.read_json(path, "delete it")
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"file\.json: .*{words}.*; delete it"):
        checked.read_json(path, "delete it", {"names": list})


def test_damaged_lines_are_dropped_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "rows.jsonl"
    rows = [{"epoch": number, "loss": 1 / (number + 1)} for number in range(4)]
    checked.write_lines(path, rows)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([lines[0], lines[1].replace("0.5", "0.4"), "null\n", *lines[2:], lines[0][:20]]))
    assert checked.read_lines(path, "they are lost") == [rows[0], *rows[2:]]
    assert caplog.messages == [f"{path}: lines 2, 3 are damaged; they are lost"]
    assert checked.read_lines(tmp_path / "none", "they are lost") == []


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
def test_a_damaged_line_is_dropped_alone(tmp_path: Path, files: list[Path], damage: bytes) -> None:
    path = tmp_path / "journal"
    journal = Journal(path, "model")
    for number, file in enumerate(files):
        journal.add(file.name, file, row(number))
    lines = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join([*lines[:2], damage, *lines[3:]]) + b"\n")
    again = Journal(path, "model")
    assert [again.get(file.name, file) for file in files] == [row(0), None, row(2)]
    assert path.read_bytes().splitlines() == [*lines[:2], lines[3]]


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
