"""The harness notices what readers do wrong; the environment says what the reader here does."""

import json
import os
import time
from dataclasses import asdict
from pathlib import Path

import fuzzing
import numpy as np
import pytest

from tfeff.errors import UserError


def prepare(data: Path) -> fuzzing.Make:
    def make(rng: np.random.Generator, folder: Path) -> fuzzing.Case:
        behavior = os.environ["BEHAVIOR"]
        return fuzzing.Case("text", behavior, lambda: misbehave(behavior))

    return make


def misbehave(behavior: str) -> tuple[str, str]:
    if behavior == "crash":
        os.abort()
    if behavior == "hang":
        time.sleep(60)
    if behavior == "traceback":
        raise KeyError("size")
    if behavior == "memory":
        np.ones(1_100_000_000, np.uint8)
    return "read", "silent: other values" if behavior == "silent" else ""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("behavior", "failure"),
    [
        ("read", ""),
        ("crash", "crash: exit code -6"),
        ("hang", "hang: not finished after 1.0 s"),
        ("traceback", "traceback: KeyError"),
        ("memory", "memory: more than 1000 MB"),
        ("silent", "silent: other values"),
    ],
)
def test_every_kind_of_failure_is_noticed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, behavior: str, failure: str
) -> None:
    monkeypatch.setenv("BEHAVIOR", behavior)
    rows = list(fuzzing.run(prepare, tmp_path, [7, 8], seed=0, seconds=1.0 if behavior == "hang" else 30.0))
    assert [row.failure.partition("\n")[0] for row in rows] == [failure, failure]
    assert [row.number for row in rows] == [7, 8]
    assert fuzzing.table(rows).endswith(f"2 files, {2 * bool(failure)} failures")


def test_damage_is_a_function_of_the_seed_and_changes_something() -> None:
    content, kinds = bytes(range(200)) * 5, set[str]()
    for number in range(300):
        kind, damaged = fuzzing.damaged(content, np.random.default_rng([0, number]), b"another file")
        assert (kind, damaged) == fuzzing.damaged(content, np.random.default_rng([0, number]), b"another file")
        kinds.add(kind)
    assert len(kinds) == 11


def test_a_journal_is_of_one_seed_and_loses_the_line_that_a_kill_cut(tmp_path: Path) -> None:
    journal, rows = (
        tmp_path / "journal",
        [fuzzing.Row(3, number, "text", "none", "read", "", 0.1, 1) for number in (0, 1)],
    )
    lines = "".join(json.dumps(asdict(row)) + "\n" for row in rows)
    journal.write_text(lines + lines[:20])
    assert fuzzing.journaled(journal, 3) == rows
    assert journal.read_text() == lines
    with pytest.raises(UserError, match="its files were made with --seed=3; give it, or another file"):
        fuzzing.journaled(journal, 4)
    journal.write_text("something else\n")
    with pytest.raises(UserError, match="no journal of this program"):
        fuzzing.journaled(journal, 3)
    assert fuzzing.journaled(tmp_path / "new", 3) == []
