"""What runs in the process of a trial."""

import errno
import os
from fnmatch import fnmatchcase

import numpy as np
import pytest

from tests.tasks.digits_of_many_sizes import write_coco
from tfeff import config, models, selection, training
from tfeff.data.input.decoding import Decoding
from tfeff.errors import BusyError, DivergedError, UserError
from tfeff.trials import worker
from tfeff.trials.results import TrialObjective
from tfeff.trials.trial import Trial


def test_the_candidates_of_a_detector_share_their_images(tmp_path):
    source = write_coco(tmp_path / "digits", 6)
    small = config.override(
        config.Experiment(),
        ["task.name=yolo", f"data.source=coco:{source}", "data.image_size=64", "model.resolution=32"],
    )
    wide = config.override(
        small, ["task.network.neck_width_coefficient=2", "task.network.head_repeats=1", "model.resolution=48"]
    )
    first = worker.split_caches(Trial(small))
    assert worker.split_caches(Trial(wide)) is first
    assert len(first.train) == 6
    assert first.train.fit == "letterbox"
    assert first.train.dataset.has_objects


@pytest.mark.parametrize("aspect", [1.5, 0.667])
def test_networks_of_any_size_share_images_of_any_aspect(tmp_path, aspect):
    source = write_coco(tmp_path / "digits", 6)
    settings = config.override(
        config.Experiment(),
        ["task.name=yolo", f"data.source=coco:{source}", f"task.network.aspect={aspect}", "data.image_size=100"],
    )
    caches = worker.split_caches(Trial(settings))
    for resolution in (32, 64, 96, 100):
        trial = config.override(settings, [f"model.resolution={resolution}", "training.batch_size=2"])
        assert sorted(selection.choose(selection.request(trial), caches).train.image_size) == [67, 100]


def test_each_trial_merges_tiles_as_its_own_suppression_does(tmp_path):
    source = write_coco(tmp_path / "digits", 8)
    settings = config.override(
        config.Experiment(),
        ["task.name=yolo", f"data.source=coco:{source}", "data.tile=32", "data.folds=2", "data.fold=0"],
    )
    caches = worker.split_caches(Trial(settings))
    for agnostic in (True, False):
        changes = [f"task.suppression.class_agnostic={agnostic}", "training.batch_size=2"]
        wanted = selection.request(config.override(settings, changes))
        assert selection.choose(wanted, caches).validation.dataset.grid.class_agnostic == agnostic


def test_processes_share_decoded_images_if_there_is_room(tmp_path, monkeypatch, image_folder):
    folder = image_folder({"train/a": 4, "train/b": 5})
    experiment = config.override(config.Experiment(), [f"data.source=folder:{folder}", "data.image_size=8"])
    alone = next(worker._read(Trial(experiment)).train.chunks(9))
    monkeypatch.setattr(worker, "shared_directory", lambda: tmp_path / "shared")
    for _ in range(2):
        read = worker._read(Trial(experiment)).train
        assert read.stored.index.is_relative_to(tmp_path / "shared")
        np.testing.assert_array_equal(next(read.chunks(9)), alone)
        monkeypatch.setattr(Decoding, "run", None)  # the second process decodes nothing

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.undo()
    monkeypatch.setattr(worker, "shared_directory", lambda: tmp_path / "full")
    monkeypatch.setattr(os, "posix_fallocate", full)
    read = worker._read(Trial(experiment)).train
    assert read.stored is None
    np.testing.assert_array_equal(next(read.chunks(9)), alone)


@pytest.mark.slow
def test_each_trial_chooses_which_layers_it_trains(tmp_path):
    """The trials of a process share compiled networks and stored features; each keeps to its own choice."""
    base = config.Experiment(
        model=config.architecture("resnet", width=16, stage_blocks=(1, 1, 1), resolution=8),
        data=config.Data(channels=1, train_examples=200, folds=2, image_size=8),
        training=config.Training(epochs=1, batch_size=20, precision="float32"),
    )
    network = models.build("resnet", width=16, stage_blocks=(1, 1, 1), resolution=8, channels=1, num_classes=10)
    weights = {weight.path: weight.numpy() for weight in network.weights if "classifier" not in weight.path}
    np.savez(tmp_path / "weights.npz", **weights)
    start = config.override(base, [f"model.weights={tmp_path / 'weights.npz'}"])
    for fold, transfer in ((0, "auto"), (1, "none"), (1, "auto")):
        trial = config.override(start, [f"optimizer.transfer={transfer}", f"data.fold={fold}"])
        directory = tmp_path / f"{fold}_{transfer}"
        assert len(worker.train(Trial(trial), str(directory), 1, str(directory / "events"))["rows"]) == 1
        run = training.Workdir(directory)
        frozen = run.config().optimizer.frozen
        assert bool(frozen) == ("transfer" in run.dataset()) == (transfer == "auto")
        with np.load(run.final) as final:
            for name, value in weights.items():
                kept = any(fnmatchcase(name, pattern) for pattern in frozen)
                assert np.array_equal(final[f"model/{name}"], value) == kept, name


def test_a_held_out_part_gives_the_objective_or_says_how_the_training_diverged(monkeypatch, tmp_path):
    def train(trial, directory, until_epoch, events):
        if trial.experiment.optimizer.learning_rate > 2:
            raise DivergedError("the loss is not finite")
        accuracy = float("nan") if trial.experiment.optimizer.learning_rate > 1 else 0.5
        return {"rows": [{"epoch": until_epoch, "validation_accuracy": accuracy}]}

    monkeypatch.setattr(worker, "train", train)
    found = [
        worker.held_out(Trial(config.Experiment()).at_rate(rate), TrialObjective(), 1, str(tmp_path))
        for rate in (1.0, 1.5, 3.0)
    ]
    assert found == [(0.5, None), (None, "validation_accuracy is nan"), (None, "the loss is not finite")]


@pytest.mark.parametrize("kind", [BusyError, UserError])
def test_other_errors_are_not_taken_for_a_divergence(monkeypatch, tmp_path, kind):
    """A killed search may leave behind a training that still holds its workdir; the executor waits for it."""

    def train(trial, directory, until_epoch, events):
        raise kind("locked")

    monkeypatch.setattr(worker, "train", train)
    with pytest.raises(kind):
        worker.held_out(Trial(config.Experiment()), TrialObjective(), 1, str(tmp_path))


def test_the_time_of_a_resumed_training_contains_the_epochs_that_it_did_not_repeat(tmp_path):
    before = [{"epoch": epoch, "seconds": 10.0 + epoch} for epoch in (1, 2, 3)]
    after = [*before[:2], {"epoch": 3, "seconds": 13.5}, {"epoch": 4, "seconds": 14.0}]
    assert worker.resumed_seconds(before, after) == 23.0
    assert worker.resumed_seconds([], after) == 0.0
