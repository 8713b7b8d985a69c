"""Curves of runs that went wrong."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from tfeff import checked, config
from tfeff.analysis.diagnosis import training_curve
from tfeff.training import Workdir


def link(
    path: Path, losses: list[float], *, learned: bool | None, updates: int = 1000, **row: float
) -> training_curve.Link:
    workdir = Workdir(path)
    (path / "checkpoints").mkdir()
    workdir.final.touch()
    for epoch, loss in enumerate(losses, 1):
        workdir.append_row({"epoch": epoch, "step": updates * epoch // len(losses), "train_loss": loss, **row})
    subject = SimpleNamespace(workdir=workdir, settings=config.Experiment())
    return training_curve.check_training_curve(subject, learned=learned, frozen=None)


FALLING = [4.0 * 0.8**epoch for epoch in range(20)] + [0.05] * 10


@pytest.mark.parametrize(
    ("losses", "updates", "words"),
    [
        (FALLING, 1000, None),
        ([4.0, 3.99, 3.98, 3.97, 3.98, 3.98], 1000, "hardly fell"),
        ([4.0, 2.0, 1.0, 2.0, 30.0], 1000, "rose again"),
        (FALLING, 60, "short: 60 updates"),
        ([4.0, 2.0, float("nan")], 1000, "not finite from epoch 3"),
    ],
)
def test_what_went_wrong_is_named(losses: list[float], updates: int, words: str | None, tmp_path: Path) -> None:
    found = link(tmp_path, losses, learned=False, updates=updates)
    assert [words in fault.what for fault in found.faults] == ([] if words is None else [True])


def test_a_network_that_has_learned_had_no_fault(tmp_path: Path) -> None:
    found = link(tmp_path, [4.0, 3.99, 3.98], learned=True, updates=10)
    assert found.status == "fine"
    assert len(found.notes) == 1


def test_a_short_training_was_enough_for_a_network_that_has_learned(tmp_path: Path) -> None:
    assert not link(tmp_path, FALLING, learned=True, updates=60).notes


def test_what_is_unknown_to_have_failed_is_a_note(tmp_path: Path) -> None:
    found = link(tmp_path, [4.0, 3.99, 3.98], learned=None, updates=10)
    assert found.status == "fine"
    assert ["hardly fell" in note.what for note in found.notes] == [True]


@pytest.mark.parametrize("head", ["classic", "sliding_window"])
def test_a_fitted_head_has_no_curve(head: str, tmp_path: Path) -> None:
    workdir = Workdir(tmp_path)
    workdir.append_row({"epoch": 1, "step": 1, "train_loss": 0.0, "train_box_loss": 0.0})
    settings = config.Experiment(task=config.RCNNSettings(network=config.RCNN(head=head)))
    subject = SimpleNamespace(workdir=workdir, settings=settings)
    found = training_curve.check_training_curve(subject, learned=None, frozen=None)
    assert not found.findings
    assert "fitted" in found.skipped


def test_a_loss_that_was_always_0_is_a_fault(tmp_path: Path) -> None:
    found = link(tmp_path, FALLING, learned=False, train_box_loss=0.0)
    assert ["train_box_loss is 0" in fault.what for fault in found.faults] == [True]


def test_a_divergence_counts_until_the_run_has_passed_it(tmp_path: Path) -> None:
    workdir = Workdir(tmp_path)
    record = {"step": 30, "epoch": 2, "reason": "the loss is nan"}
    workdir.write_divergence(record)
    assert workdir.divergence() == checked.read_json(tmp_path / "divergence.json", "") == record
    workdir.append_row({"epoch": 1, "step": 20, "train_loss": 1.0})
    subject = SimpleNamespace(workdir=workdir, settings=config.Experiment())
    found = training_curve.check_training_curve(subject, learned=None, frozen=None)
    assert "diverged in epoch 2, step 30" in found.faults[0].what
    workdir.append_row({"epoch": 2, "step": 40, "train_loss": 0.9})
    assert workdir.divergence() is None
