"""Damage of JSON files and lines is noticed."""

import json
from pathlib import Path

import pytest

from tfeff import checked
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
