"""Checkpoints are written in the background."""

import errno
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.training.test_loop import experiment
from tfeff import training
from tfeff.training import checkpoint
from tfeff.training.loop import Loop
from tfeff.training.progress import Progress
from tfeff.training.saving import Saving
from tfeff.training.workdir import Workdir


class Slow(checkpoint.Checkpoints):
    """Checkpoints that wait for a signal before they are written."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.go = threading.Event()

    def full(self, *_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def save(self, *arguments: Any) -> None:
        assert self.go.wait(60)
        super().save(*arguments)


@pytest.fixture
def loop(tmp_path: Path) -> Any:
    weights, record = {"model/kernel": np.zeros(3, np.float32)}, {"schedule": {"factors": [1.0]}}
    state = SimpleNamespace(step=1, record=lambda: record)
    state.arrays = state.weights = lambda: {name: values.copy() for name, values in weights.items()}
    state.kernel = weights["model/kernel"]
    return SimpleNamespace(
        state=state, workdir=SimpleNamespace(checkpoints=Slow(tmp_path)), divergence=lambda reason: ValueError(reason)
    )


def test_a_checkpoint_holds_the_state_at_its_step(loop: Any) -> None:
    saving, checkpoints = Saving(keep_best=True), loop.workdir.checkpoints
    saving.save(loop)
    loop.state.kernel += 7  # training continues
    loop.state.record()["schedule"]["factors"].append(0.1)
    loop.state.step = 2
    checkpoints.go.set()
    saving.best(loop, {"epoch": 1})
    saving.close(loop)
    arrays, record = checkpoint.load(checkpoints.directory / "step_000000001.npz")
    np.testing.assert_array_equal(arrays["model/kernel"], 0)
    assert record == {"schedule": {"factors": [1.0]}}
    np.testing.assert_array_equal(checkpoint.load(checkpoints.best)[0]["model/kernel"], 7)


@pytest.mark.parametrize(("step", "pending", "kept"), [(20, False, 2), (20, True, 1), (25, False, 2), (10, False, 1)])
def test_the_row_of_an_epoch_that_is_to_be_validated_again_is_dropped(
    tmp_path: Path, step: int, pending: bool, kept: int
) -> None:
    workdir = Workdir(tmp_path)
    for epoch in (1, 2, 3):
        workdir.append_row({"epoch": epoch, "step": 10 * epoch})
    state = SimpleNamespace(step=step, pending=pending)
    Saving(keep_best=False).start(
        SimpleNamespace(state=state, workdir=workdir, pipeline=SimpleNamespace(steps_per_epoch=10))
    )
    assert [row["epoch"] for row in workdir.rows()] == list(range(1, kept + 1))


@pytest.mark.parametrize("then", ["save", "best", "close"])
def test_an_error_while_writing_is_raised(loop: Any, monkeypatch: pytest.MonkeyPatch, then: str) -> None:
    monkeypatch.setattr(loop.workdir.checkpoints, "save", loop.workdir.checkpoints.full)
    saving = Saving(keep_best=True)
    saving.save(loop)
    calls = {"save": saving.save, "best": lambda loop: saving.best(loop, {"epoch": 1}), "close": saving.close}
    with pytest.raises(OSError, match="No space left"):
        calls[then](loop)
    saving.close(loop)


def test_states_that_are_not_finite_are_not_written(loop: Any) -> None:
    saving = Saving(keep_best=False)
    loop.state.kernel[1] = np.inf
    with pytest.raises(ValueError, match="model/kernel is not finite"):
        saving.save(loop)
    saving.close(loop)
    assert not list(loop.workdir.checkpoints.directory.iterdir())


def test_a_call_ends_with_the_error_and_closes_all_hooks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = list[Loop]()
    monkeypatch.setattr(Progress, "close", lambda _, loop: closed.append(loop))
    monkeypatch.setattr(checkpoint.Checkpoints, "save", Slow.full)
    with pytest.raises(OSError, match="No space left"):
        training.train(experiment("training.epochs=1"), tmp_path)
    assert len(closed) == 1
