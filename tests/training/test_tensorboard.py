import time

import pytest
from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator
from tensorboard.util.tensor_util import make_ndarray

from tfeff.training.tensorboard import Board


def test_resuming_drops_later_steps(tmp_path):
    for start, end in ((0, 4), (2, 5)):  # killed after step 4; the last checkpoint is at step 2
        board = Board(tmp_path, start)
        for step in range(start + 1, end + 1):
            board.training(step, loss=10 * start + step, learning_rate=0.1, images_per_second=1.0)
        board.close()
        time.sleep(1.1)  # file names have a resolution of one second
    board = Board(tmp_path)
    board.result(5, {"test/accuracy": 0.5}, {})
    board.close()
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert [point.step for point in events.Tensors("test/accuracy")] == [5]
    points = {point.step: float(make_ndarray(point.tensor_proto)) for point in events.Tensors("train/loss_by_step")}
    assert [point.step for point in events.Tensors("train/loss_by_step")] == [1, 2, 3, 4, 5]
    assert points == pytest.approx({1: 1, 2: 2, 3: 23, 4: 24, 5: 25})
