"""Rows of a sweep's report."""

from types import SimpleNamespace

import pytest

from tfeff import config
from tfeff.sweep.combinations import Combination
from tfeff.sweep.report import SweepResult
from tfeff.trials.ranking import rank
from tfeff.trials.results import Job, TrialObjective
from tfeff.trials.store import Record
from tfeff.trials.trial import Candidate


def test_seeds_of_an_earlier_call_do_not_count():
    """A sweep of two seeds, repeated with one."""
    combination = Combination({"model.dropout": "0.2"})
    name = combination.name
    sweep = config.Sweep(
        experiment=config.Experiment(training=config.Training(epochs=1)),
        axes=("model.dropout=0.2",),
        folds=config.Folds(count=2, examples=100),
    )
    values = {(0, 0): 0.9, (1, 0): 0.8, (0, 1): 0.5, (1, 1): 0.4}
    records = [
        Record(Job(name, *block, 1), "done", 0, None, 1.0, None, [{"epoch": 1, "validation_accuracy": value}])
        for block, value in values.items()
    ]
    found = SimpleNamespace(
        study=SimpleNamespace(sweep=sweep, objective=TrialObjective()),
        combinations={name: combination},
        candidates={name: Candidate(name, combination.label, sweep.experiment, 1000)},
        eliminated={},
        learning_rates={},
        ranking=rank({name: {block: values[block] for block in sweep.folds.blocks}}, {name: 1000}),
    )
    result = SweepResult(found, records)
    (row,) = result.candidates
    assert row["values"] == [0.9, 0.8]
    assert row["mean"] == pytest.approx(found.ranking.summaries[name].mean)
    assert [each["best"] for each in result.cost_curve] == [None, *[pytest.approx(0.85)] * 3]
