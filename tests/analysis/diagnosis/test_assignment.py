from types import SimpleNamespace
from typing import Any

import numpy as np

from tfeff import config, tasks
from tfeff.analysis.diagnosis.assignment import assign


def test_sizes_of_proposals_are_those_of_all_batches() -> None:
    settings = config.override(config.Experiment(), ["task.name=fast_rcnn", "task.proposals.directory=none-needed"])
    task: Any = tasks.create(settings.task)
    none, one = np.zeros((1, 1), bool), np.ones((1, 1), bool)
    batches = [
        {
            "boxes_yxyx": np.array([[[0, 0, side, 2 * side]]], np.float32),
            "extra_boxes_yxyx": np.array([[[0, 0, side, 2 * side]]], np.float32),
            **{"extra_valid": one, "valid": one, "difficult": none, "crowd": none},
            **{"label": np.zeros((1, 1), np.int32), "weight": np.ones(1, np.float32)},
        }
        for side in (16, 8, 16)
    ]
    prepared: Any = SimpleNamespace(batches=batches)
    found = assign(task, settings.task.describe(settings.model), prepared)
    assert found.sizes_hw.tolist() == [[8, 16], [16, 32]]
    assert (found.learned.all(), found.sides.tolist()) == (True, [[16, 32], [8, 16], [16, 32]])
