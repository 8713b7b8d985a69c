import json

import fuzzing
import numpy as np
import pytest

from tests.thoroughness import THOROUGH
from tfeff import checked
from tfeff.errors import UserError
from tools import fuzz_runs

COUNT = 3_000 if THOROUGH else 150
"""Number of files; the tool's default is 5,000."""


@pytest.mark.slow
def test_readers_return_no_other_value_silently(tmp_path):
    rows = list(fuzzing.run(fuzz_runs.prepare, tmp_path, range(COUNT), seed=1))
    assert [row for row in rows if row.failure] == []
    assert len(rows) == COUNT
    assert len({row.kind for row in rows}) == 20
    said = {"equal", "equal, said", "dropped, said", "as after a kill", "UserError"}
    assert {"equal", "dropped, said", "UserError"} <= {row.result for row in rows} <= said
    assert {row.result for row in rows if row.kind == "search, a trial"} == {"dropped, said"}


def read_json(folder):
    return json.loads((folder / "file.json").read_text())


def refuse(folder):
    raise UserError(f"{folder}: damaged")


def drop(folder):
    checked.warn("a row is dropped")
    return [1, 3]


@pytest.mark.parametrize(
    ("read", "row", "failure"),
    [
        (read_json, None, "another value without a word"),
        (lambda folder: {}["value"], None, "KeyError"),
        (lambda folder: refuse("elsewhere"), None, "does not name its file"),
        (refuse, None, ""),
        (drop, None, ""),
        (refuse, slice(0, 3), "more than the damaged row is lost"),
        (read_json, slice(0, 3), "not the other rows"),
        (drop, slice(0, 3), ""),
    ],
)
def test_silent_changes_and_losses_fail_the_check(tmp_path, read, row, failure):
    (tmp_path / "file.json").write_text("[1, 2, 4]")
    kind = fuzz_runs.Kind("a file", "file.json", read, row=row, left=[1, 3])
    assert fuzz_runs.check(kind, tmp_path, [1, 2, 3])[1].partition("\n")[0] == failure


@pytest.mark.parametrize("row", [None, slice(4, 9)])
@pytest.mark.parametrize("seed", range(3))
def test_damage_is_a_function_of_the_seed(seed, row):
    content = json.dumps({"value": 1, "rows": [1, 2]}, indent=1).encode()
    first, second = (fuzz_runs.damaged(content, np.random.default_rng(seed), row, text=True) for _ in range(2))
    assert first == second
    if row is not None:
        assert first[1] != content
        assert (first[1][:4], first[1][9:]) == (content[:4], content[9:])
