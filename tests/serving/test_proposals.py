"""Proposals that a caller gives, as inputs of the network."""

import numpy as np
import pytest

from tfeff import config, tasks
from tfeff.serving import proposals
from tfeff.tasks.task import PROPOSED, PROPOSED_VALID


@pytest.mark.parametrize("given", [0, 3, 5, 8])
def test_proposals_are_padded_or_truncated_and_scaled(given: int) -> None:
    task = tasks.create(
        config.override(config.Experiment(), ["task.name=fast_rcnn", "task.proposals.max_proposals=5"]).task
    )
    boxes = np.random.default_rng(0).uniform(1, 9, (2, given, 4)).astype(np.float32)
    counts, scale = np.array([given, min(given, 2)], np.int32), np.array([[2.0, 3.0], [0.5, 0.25]], np.float32)
    found = proposals.network_inputs(task, boxes, counts, scale=scale)
    expected, valid = np.zeros((2, 5, 4), np.float32), np.zeros((2, 5), bool)
    for image, count in enumerate(np.minimum(counts, 5)):
        expected[image, :count] = boxes[image, :count] * np.tile(scale[image], 2)
        valid[image, :count] = True
    np.testing.assert_allclose(found[PROPOSED], expected, rtol=1e-6)
    np.testing.assert_array_equal(found[PROPOSED_VALID], valid)
    for name, spec in proposals.network_specs(task).items():
        assert spec.is_compatible_with(found[name])
    unscaled = proposals.network_inputs(task, boxes, counts)[PROPOSED]
    np.testing.assert_allclose(unscaled[0, : min(given, 5)], boxes[0, :5])
