import json

import numpy as np
import pytest

from tfeff.evaluation import Detections, detection_report
from tfeff.reporting.detection import detection_figures


class Objects:
    def __init__(self, boxes, labels):
        self.boxes_yxyx, self.labels = np.array(boxes, np.float32).reshape(-1, 4), np.array(labels, np.int32)
        self.difficult = self.crowd = np.zeros(len(labels), bool)


@pytest.mark.parametrize("empty", [False, True])
def test_all_figures_of_a_report_are_legible(empty, assert_legible):
    boxes = [[0, 0, 10, 10], [20, 20, 40, 40]]
    truth = Objects([], []) if empty else Objects(boxes, [0, 1])
    found = Detections.none()
    if not empty:
        found = Detections(np.array(boxes, np.float32), np.array([0, 0], np.int32), np.array([0.5, 0.25], np.float32))
    report = detection_report([found], [truth], ("red cell", "white cell"), resamples=5)
    figures = detection_figures(json.loads(json.dumps(report.to_dict())))
    assert list(figures) == ["precision_recall", "confusion", "per_class", "errors"]
    for figure in figures.values():
        assert_legible(figure)
    cells = figures["confusion"].axes[0].get_yticklabels()
    assert [cell.get_text() for cell in cells] == ["red cell", "white cell", "background"]
