"""Gradual unfreezing in whole runs: what is trained when, and interrupted at every place."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.thoroughness import only_thorough
from tfeff import config, training
from tfeff.errors import UserError
from tfeff.training import phases, selection

SETTINGS = config.Experiment(
    model=config.Model(name="resnet", width=4, stage_blocks=(1, 1), resolution=8),
    data=config.Data(channels=1, train_examples=96),
    optimizer=config.Optimizer(
        name="adamw", learning_rate=0.01, frozen=("stem*", "stage*"), unfreeze=("1=stage2*", "3=stage1*")
    ),
    training=config.Training(epochs=4, batch_size=32, precision="float32", deterministic=True, ema_decay=0.5),
)


@pytest.fixture(scope="module")
def caches() -> selection.SplitCaches:
    return selection.read(SETTINGS, lambda *_: None)


def run(directory: Path, caches: selection.SplitCaches, until: int | None = None) -> dict[str, np.ndarray]:
    """The weights after some epochs."""
    workdir = training.train(SETTINGS, directory, until_epoch=until, caches=caches, tensorboard=False)
    latest = workdir.checkpoints.latest()
    assert latest is not None
    with np.load(latest) as arrays:
        return {name: arrays[name] for name in arrays.files if name.startswith("model/")}


def test_each_phase_trains_the_layers_that_are_unfrozen_so_far(caches: selection.SplitCaches, tmp_path: Path) -> None:
    after = [run(tmp_path, caches, epoch) for epoch in (1, 2, 3, 4)]
    for epoch, (before, now) in enumerate(itertools.pairwise(after), start=2):
        changed = {name for name in now if not np.array_equal(before[name], now[name])}
        parts = {name.removeprefix("model/").partition("_")[0] for name in changed}
        assert parts == ({"head", "stage2"} if epoch < 4 else {"head", "stage2", "stage1"})


@only_thorough
def test_a_run_in_several_calls_equals_a_run_in_one_call(caches: selection.SplitCaches, tmp_path: Path) -> None:
    once = run(tmp_path / "once", caches)
    for epoch in (1, 2, 4):
        several = run(tmp_path / "several", caches, epoch)
    for name, value in once.items():
        np.testing.assert_array_equal(several[name], value, err_msg=name)
    rows = training.Workdir(tmp_path / "once").rows()
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]


def test_images_are_chosen_once_for_all_phases(
    caches: selection.SplitCaches, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen, choose = list[selection.TrainingData](), selection.choose

    def counted(*args: Any) -> selection.TrainingData:
        chosen.append(choose(*args))
        return chosen[-1]

    monkeypatch.setattr(selection, "choose", counted)
    run(tmp_path, caches, 2)
    assert len(training.Workdir(tmp_path).rows()) == 2
    assert len(chosen) == 1


def test_phases_end_where_something_is_unfrozen() -> None:
    assert [phases.span(SETTINGS, done, None) for done in range(4)] == [(0, 1), (1, 3), (1, 3), (3, 4)]
    assert phases.span(SETTINGS, 1, 2) == (1, 2)
    assert phases.span(config.Experiment(), 3, None) == (0, 10)
    assert phases.at(SETTINGS, 2).optimizer.unfreeze == ("0=stage2*",)


@only_thorough
def test_a_damaged_checkpoint_returns_to_the_phase_before(caches: selection.SplitCaches, tmp_path: Path) -> None:
    once = run(tmp_path / "once", caches)
    run(tmp_path / "damaged", caches, 2)
    latest = training.Workdir(tmp_path / "damaged").checkpoints.latest()
    assert latest is not None
    latest.write_bytes(latest.read_bytes()[:1000])
    for name, value in run(tmp_path / "damaged", caches).items():
        np.testing.assert_array_equal(value, once[name], err_msg=name)


@pytest.mark.parametrize(
    ("unfreeze", "words"),
    [
        (("1=head*",), "matches no variable"),
        (("1=stage2*",) * 2, "matches no variable"),
        (("x=stage2*",), "a number of epochs"),
        (("stage2*",), "a number of epochs"),
        (("4=stage2*",), "below training.epochs = 4"),
    ],
)
def test_wrong_items_are_reported_before_training(unfreeze: tuple[str, ...], words: str, tmp_path: Path) -> None:

    def run() -> None:
        changed = config.override(SETTINGS, [f"optimizer.unfreeze={','.join(unfreeze)}"])
        training.train(changed, tmp_path, tensorboard=False)

    with pytest.raises(UserError, match=words):
        run()
