"""Tables of many classes."""

from typing import Any

import numpy as np
import pytest

from tfeff.evaluation import classification_report, detection_report, embedding_report, localization_report
from tfeff.rcnn.task import REGIONS_DETECTION
from tfeff.reporting.tables import CLASSES
from tfeff.reports import EVALUATORS


@pytest.fixture
def reports(make_detections: Any, make_objects: Any) -> dict[str, Any]:
    """Reports on 60 classes with two examples each, by the kind of prediction."""
    labels, names = np.repeat(np.arange(60), 2), [f"class {number}" for number in range(60)]
    rng = np.random.default_rng(0)
    probabilities, vectors = rng.dirichlet([1] * 60, 120), rng.normal(size=(120, 6))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    boxes = np.tile([0.2, 0.2, 0.8, 0.8], (120, 1))
    objects = make_objects(100 * boxes, labels)
    detected = detection_report([make_detections()], [objects], names, resamples=2).to_dict()
    regions: dict[str, Any] = dict.fromkeys(("accuracy", "called_background", "background_recall"), 0.5)
    regions |= {key: [0.5] * 60 for key in ("object_precision", "object_recall")}
    return {
        "classification": classification_report(labels, probabilities, names).to_json(),
        "localization": localization_report(labels, probabilities, boxes, boxes, names).to_json(),
        "embedding": embedding_report(vectors, labels, names).to_json(),
        "detection": detected,
        REGIONS_DETECTION.name: {**detected, "proposal_recall": 0.5, "region_threshold": None, "regions": regions},
    }


def test_no_table_of_an_evaluator_has_more_classes(reports: dict[str, Any]) -> None:
    assert len(reports) == len(EVALUATORS)
    for name, evaluator in EVALUATORS.items():
        tables = evaluator.tables(reports[name])
        lengths = [len(rows) for rows in tables if any("classes with the lowest" in key for row in rows for key in row)]
        assert lengths == [CLASSES] * (2 if name == REGIONS_DETECTION.name else 1), name
        assert max(map(len, tables)) == CLASSES
