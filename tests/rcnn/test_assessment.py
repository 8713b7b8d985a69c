"""How a head classifies regions, against scikit-learn."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import precision_score, recall_score

from tfeff.rcnn.assessment import BACKGROUND_OVERLAP, region_report

CLASSES, THRESHOLD = 4, 0.5


def test_metrics_of_regions_match_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    scores = rng.uniform(0, 0.8, (400, CLASSES))
    labels = rng.integers(0, 3, 400)  # nothing belongs to the last class
    scores[np.arange(400), labels] += rng.uniform(0, 0.5, 400)
    scores[::7] = rng.uniform(0, 0.7, (len(scores[::7]), 1))
    scores[scores.argmax(axis=1) == 2, 2] = 0.0  # and the third one is never predicted
    is_object, ignored = np.arange(400) < 150, rng.random(400) < 0.2
    overlap = np.where(is_object, 1.0, rng.uniform(0, 1, 400))
    overlap[200:210] = BACKGROUND_OVERLAP
    targets = SimpleNamespace(is_object=is_object, label=labels, overlap=overlap, ignored=ignored & ~is_object)
    regions: Any = SimpleNamespace(targets=targets, images=SimpleNamespace(num_classes=CLASSES))
    report = region_report(scores, THRESHOLD, regions)

    predicted = [int(row.argmax()) if row.max() >= THRESHOLD else CLASSES for row in scores]
    own, wanted = np.array(predicted[:150]), labels[:150]
    assert report.accuracy == pytest.approx(np.mean(own == wanted))
    assert report.called_background == pytest.approx(np.mean(own == CLASSES))
    assert 0.05 < report.called_background < 0.5
    background = [row for row in range(150, 400) if overlap[row] < BACKGROUND_OVERLAP and not ignored[row]]
    assert report.background_recall == pytest.approx(np.mean([predicted[row] == CLASSES for row in background]))
    each: Any = {"labels": range(CLASSES), "average": None, "zero_division": np.nan}
    np.testing.assert_allclose(report.precision, precision_score(wanted, own, **each))
    np.testing.assert_allclose(report.recall, recall_score(wanted, own, **each))
    assert np.isnan(report.precision).tolist() == [False, False, True, False]
    assert np.isnan(report.recall).tolist() == [False, False, False, True]
