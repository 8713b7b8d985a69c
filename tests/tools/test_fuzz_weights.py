from pathlib import Path
from typing import Any

import fuzz_weights
import fuzzing
import numpy as np
import pytest

from tests.thoroughness import THOROUGH
from tfeff import models
from tfeff.errors import UserError

COUNT = 2_000 if THOROUGH else 150


@pytest.mark.slow
def test_damaged_weights_are_read_or_refused(tmp_path: Path) -> None:
    rows = list(fuzzing.run(fuzz_weights.prepare, tmp_path, range(COUNT), seed=1))
    assert len(rows) == COUNT
    assert not [row for row in rows if row.failure]
    assert {"refused", "same values", "other values without a word"} <= {row.result for row in rows}
    assert len({row.kind for row in rows}) == 8


@pytest.mark.slow
def test_undamaged_weights_are_equal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzzing, "damaged", lambda content, *_: ("none", content))
    make, rng = fuzz_weights.prepare(tmp_path), np.random.default_rng(0)
    found = {(case.kind, *case.check()) for case in (make(rng, tmp_path) for _ in range(150))}
    assert {(result, failure) for _, result, failure in found} == {("same values", "")}
    assert len(found) == 8


def test_other_values_and_changed_networks_are_failures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make = fuzz_weights.prepare(tmp_path)

    def failure(load: Any) -> str:
        monkeypatch.setattr(models, "load_weights", load)
        rng = np.random.default_rng(0)
        while (case := make(rng, tmp_path)).kind != "npz":
            pass
        return case.check()[1].partition("\n")[0]

    def wrong(network: models.Network, _: Path) -> models.LoadReport:
        network.weights[0].assign(np.ones(network.weights[0].shape))
        return models.LoadReport((network.weights[0].path,), ())

    def half(network: models.Network, path: Path) -> models.LoadReport:
        wrong(network, path)
        raise UserError("damaged")

    assert failure(wrong) == "silent: variables that are not in the report"
    assert failure(half) == "the network has changed in spite of an error"
