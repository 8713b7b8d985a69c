import json

import numpy as np
import pytest

from tfeff.evaluation import classification_report
from tfeff.reporting import tables
from tfeff.reporting.classification import classification_figures, per_class_rows, summary_rows


@pytest.fixture(scope="module")
def report():
    """Report on four classes, one of them without examples, after a JSON round trip."""
    labels = np.repeat([0, 1, 2], 20)
    probabilities = np.random.default_rng(0).dirichlet([0.3] * 4, 60)
    return json.loads(json.dumps(classification_report(labels, probabilities, ["a", "b", "c", "none"]).to_json()))


def test_rows_contain_every_class_and_metric(report):
    rows = per_class_rows(report)
    assert [row["class"] for row in rows] == ["a", "b", "c", "none"]
    assert [row["examples"] for row in rows] == [20, 20, 20, 0]
    assert rows[3]["recall"] is None
    np.testing.assert_allclose(np.mean([row["recall"] for row in rows[:3]]), report["balanced_accuracy"])
    scores = {row["metric"]: row["value"] for row in summary_rows(report)}
    assert scores["top-1 accuracy"] == report["top1"]
    assert tables.UNDEFINED in tables.text(rows).splitlines()[-1]


def test_figures_of_a_report_from_json_are_legible(report, assert_legible):
    figures = classification_figures(report)
    assert set(figures) == {"confusion", "per_class", "reliability"}
    for figure in figures.values():
        assert_legible(figure)
