import json

import pytest

from tests.thoroughness import THOROUGH
from tools import fuzz_runs

COUNT = 3_000 if THOROUGH else 72
"""Number of files; the tool's default is 5,000."""


def test_readers_return_no_other_value_silently(tmp_path):
    failures = []
    outcomes = fuzz_runs.run(tmp_path, COUNT, seed=1, failures=failures)
    assert not failures
    assert sum(outcomes.values()) == COUNT
    assert len({name for name, _, _ in outcomes}) == 18
    said = {"equal", "equal, said", "dropped, said", "as after a kill", "UserError"}
    assert {"equal", "dropped, said", "UserError"} <= {outcome for _, _, outcome in outcomes} <= said


def test_silent_changes_crashes_and_hangs_fail_the_check(tmp_path, monkeypatch):
    path = tmp_path / "file.json"
    path.write_text(json.dumps({"value": 1}))

    def endless():
        while True:
            pass

    monkeypatch.setattr(fuzz_runs, "SECONDS", 0.2)
    for read, failure in (
        (lambda: json.loads(path.read_text()), "another value without a word"),
        (lambda: {}["value"], "KeyError"),
        (endless, "not finished"),
    ):
        assert fuzz_runs.check(fuzz_runs.Kind(path, read), {"value": 2})[1].startswith(failure)


@pytest.mark.parametrize("seed", range(3))
def test_damage_is_a_function_of_the_seed(seed):
    content = json.dumps({"value": 1, "rows": [1, 2]}, indent=1).encode()
    first, second = (fuzz_runs.damaged(content, fuzz_runs.np.random.default_rng(seed), text=True) for _ in range(2))
    assert first == second
