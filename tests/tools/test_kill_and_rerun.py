import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from kill_and_rerun import differences
from PIL import Image, PngImagePlugin

RESUMES = """
import json, sys, time, pathlib
path = pathlib.Path(sys.argv[1]) / "rows.jsonl"
path.parent.mkdir(parents=True, exist_ok=True)
done = path.read_text().splitlines() if path.exists() else []
for number in range(len(done), 8):
    time.sleep(0.05)
    with path.open("a") as lines:
        lines.write(json.dumps({"number": number, "seconds": time.time()}) + "\\n")
(path.parent / "result.json").write_text("1")
"""
STARTS_AGAIN = RESUMES.replace("range(len(done), 8)", "range(8)")
FAILS = "raise SystemExit(3)"


@pytest.fixture
def compared(run_tool, tmp_path: Path) -> Callable[[str], tuple[int, str]]:
    """`compared(script)`: exit code and output of the tool."""
    flags = ("--kills=2", f"--out={tmp_path / 'out'}", "--", sys.executable, "-c")
    return lambda script: run_tool("kill_and_rerun", *flags, script, "{out}")


def test_a_command_that_resumes_gives_equal_results(compared) -> None:
    code, said = compared(RESUMES)
    assert code == 0, said
    assert "equal: 2 files" in said


@pytest.mark.parametrize(
    ("script", "code", "words"),
    [(STARTS_AGAIN, 1, "different: rows.jsonl"), (FAILS, 2, "exit code 3")],
    ids=["starts again", "fails"],
)
def test_differences_and_failures_are_said(script: str, code: int, words: str, compared) -> None:
    found, said = compared(script)
    assert found == code
    assert words in said


TEXTS = [
    ("a.csv", "image,score\nx,0.5\n", "image,score\nx,0.25\n", True),
    ("a.csv", "image,score\nx,0.5\n", "image,score\n", True),
    ("a.csv", "image,latency (ms)\nx,0.5\n", "image,latency (ms)\nx,0.25\n", False),
    ("a.csv", "image,latency (ms)\nx,0.5\n", "image,latency (ms)\ny,0.5\n", True),
    ("a.csv", 'file\n"ONE/x, y"\n', 'file\n"OTHER/x, y"\n', False),
    ("a.md", "accuracy 91.5 %", "accuracy 91.6 %", True),
    ("a.md", "91.5 % in 3 min, 1,234.5 images/s", "91.5 % in 12 min, 99 images/s", False),
    ("a.md", "| name | latency, ms |\n| x | 0.5 |", "| name | latency, ms |\n| x | 0.25 |", False),
    ("a.md", "| name | latency, ms |\n| x | 0.5 |", "| name | latency, ms |\n| y | 0.5 |", True),
    ("latency.svg", "<path d='M 1.5 2'/>", "<path d='M 1.5 3'/>", False),
    ("a.txt", "12 of 30 images", "13 of 30 images", True),
    ("a.svg", "<path d='M 1.5 2'/>", "<path d='M 1.5 3'/>", True),
    ("a.jsonl", '{"loss": 0.5, "seconds": 1}\n', '{"loss": 0.5, "seconds": 2}\n', False),
    ("a.jsonl", '{"loss": 0.5}\n', '{"loss": 0.25}\n', True),
]


def found(tmp_path: Path) -> list[str]:
    return list(differences(tmp_path / "one", tmp_path / "other"))


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    paths = tmp_path / "one", tmp_path / "other"
    for path in paths:
        path.mkdir()
    return paths


@pytest.mark.parametrize(("name", "one", "other", "different"), TEXTS)
def test_values_are_compared_but_no_times(
    tmp_path: Path, folders: tuple[Path, Path], name: str, one: str, other: str, different: bool
) -> None:
    for folder, text in zip(folders, (one, other), strict=True):
        (folder / name).write_text(text.replace("ONE", str(folder)).replace("OTHER", str(folder)))
    assert found(tmp_path) == ([f"different: {name}"] if different else [])


@pytest.mark.parametrize("changed", [False, True])
def test_pictures_are_compared_by_pixels(tmp_path: Path, folders: tuple[Path, Path], changed: bool) -> None:
    pixels = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
    note = PngImagePlugin.PngInfo()
    note.add_text("Creation Time", "now")
    Image.fromarray(pixels).save(folders[0] / "a.png", pnginfo=note)
    pixels[3, 4, 2] += changed
    Image.fromarray(pixels).save(folders[1] / "a.png", compress_level=0)
    assert found(tmp_path) == ["different: a.png"] * changed


@pytest.mark.parametrize(
    ("row", "different"),
    [
        (("a", 2.0, '[{"loss": 0.5, "seconds": 4}]'), False),
        (("a", 1.0, '[{"loss": 0.25, "seconds": 3}]'), True),
        (("b", 1.0, '[{"loss": 0.5, "seconds": 3}]'), True),
    ],
)
def test_tables_are_compared_in_any_order(
    tmp_path: Path, folders: tuple[Path, Path], row: tuple[str, float, str], different: bool
) -> None:
    first, second = ("a", 1.0, '[{"loss": 0.5, "seconds": 3}]'), ("c", 5.0, None)
    for folder, rows in zip(folders, ((first, second), (second, row)), strict=True):
        with sqlite3.connect(folder / "a.sqlite") as database:
            database.execute("create table trials (candidate, seconds, rows)")
            database.executemany("insert into trials values (?, ?, ?)", rows)
        database.close()
    assert found(tmp_path) == ["different: a.sqlite"] * different
