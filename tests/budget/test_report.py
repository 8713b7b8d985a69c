"""The files of a budget search."""

from types import SimpleNamespace

import pytest

from tests.budget.test_study import study_of
from tfeff.budget.report import _rows
from tfeff.budget.study import Fate
from tfeff.trials.ranking import rank


def test_the_table_has_the_intervals_of_the_answer():
    """Networks that were dropped vary, too; their dispersion does not count in the answer."""
    study = study_of()
    names = study.shortlist[:3]
    values = {names[0]: (0.94, 0.95, 0.93), names[1]: (0.92, 0.94, 0.93), names[2]: (0.90, 0.94, 0.89)}
    table = {name: {(fold, 0): value for fold, value in enumerate(row)} for name, row in values.items()}
    left = {name: table[name] for name in names[:2]}
    findings = SimpleNamespace(
        study=study,
        table=table,
        candidates={name: study.candidate(name) for name in names},
        ranking=rank(left, dict.fromkeys(left, 1.0), bounded=True),
        measured={},
        screened={},
        fates={name: Fate("race" if name == names[2] else "beaten", "") for name in study.networks},
    )
    object.__setattr__(study, "errors", {name: {} for name in study.networks})
    rows = {row["id"]: row for row in _rows(findings)}
    for name, found in findings.ranking.summaries.items():
        assert (rows[name]["low"], rows[name]["high"]) == pytest.approx((found.low, found.high))
    assert f"{rows[names[0]]['low']:.3g} to {rows[names[0]]['high']:.3g}" in findings.ranking.sentence
    assert rows[names[2]]["low"] is not None
