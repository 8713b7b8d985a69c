"""What runs in the process of a trial."""

from fnmatch import fnmatchcase

import numpy as np
import pytest

from tests.tasks.digits_of_many_sizes import write_coco
from tfeff import config, models, training
from tfeff.errors import BusyError, UserError
from tfeff.trials import worker
from tfeff.trials.objective import Objective
from tfeff.trials.runner import best_rate


def test_the_candidates_of_a_detector_share_their_images(tmp_path):
    source = write_coco(tmp_path / "digits", 6)
    small = config.override(
        config.Experiment(),
        ["task.name=yolo", f"data.source=coco:{source}", "data.image_size=64", "model.resolution=32"],
    )
    wide = config.override(small, ["task.neck.width_coefficient=2", "task.head_repeats=1", "model.resolution=48"])
    first = worker.split_caches(small)
    assert worker.split_caches(wide) is first
    assert len(first.train) == 6
    assert first.train.fit == "letterbox"
    assert first.train.dataset.has_objects


def test_each_trial_chooses_which_layers_it_trains(tmp_path):
    """The trials of a process share compiled networks and stored features; each keeps to its own choice."""
    base = config.Experiment(
        model=config.Model(name="resnet", width=16, stage_blocks=(1, 1, 1), resolution=8),
        data=config.Data(channels=1, train_examples=200, folds=2, image_size=8),
        training=config.Training(epochs=1, batch_size=20, precision="float32"),
    )
    network = models.build("resnet", width=16, stage_blocks=(1, 1, 1), resolution=8, channels=1, num_classes=10)
    weights = {weight.path: weight.numpy() for weight in network.weights if "classifier" not in weight.path}
    np.savez(tmp_path / "weights.npz", **weights)
    start = config.override(base, [f"model.weights={tmp_path / 'weights.npz'}"])
    for fold, transfer in ((0, "auto"), (1, "none"), (1, "auto")):
        trial = config.override(start, [f"model.transfer={transfer}", f"data.fold={fold}"])
        directory = tmp_path / f"{fold}_{transfer}"
        assert len(worker.train(trial, str(directory), 1, str(directory / "events"))["rows"]) == 1
        run = training.Workdir(directory)
        frozen = run.config().optimizer.frozen
        assert bool(frozen) == ("transfer" in run.dataset()) == (transfer == "auto")
        with np.load(run.final) as final:
            for name, value in weights.items():
                kept = any(fnmatchcase(name, pattern) for pattern in frozen)
                assert np.array_equal(final[f"model/{name}"], value) == kept, name


AT_1 = config.Experiment(optimizer=config.Optimizer(learning_rate=1.0))


@pytest.mark.parametrize(
    ("best", "tried"),
    [
        (1.0, [1 / 3, 1, 3]),
        (9.0, [1 / 3, 1, 3, 9, 27]),  # beyond the first three, until a higher rate is worse
        (81.0, [1 / 3, 1, 3, 9, 27]),  # at most five
        (1 / 9, [1 / 27, 1 / 9, 1 / 3, 1, 3]),
    ],
)
def test_learning_rates_are_tried_until_the_best_is_in_the_middle(monkeypatch, tmp_path, best, tried):
    def train(experiment, directory, until_epoch, events):
        accuracy = 1 / (1 + abs(np.log(experiment.optimizer.learning_rate / best)))
        return {"rows": [{"epoch": until_epoch, "validation_accuracy": accuracy}]}

    monkeypatch.setattr(worker, "train", train)
    found = worker.held_out_rates(AT_1, Objective(), 1, str(tmp_path / "rates"))
    assert sorted(rate for rate, _ in found) == pytest.approx(tried)
    assert best_rate(found) == pytest.approx(min(best, 27))


def test_learning_rates_that_diverge_are_not_chosen(monkeypatch, tmp_path):
    def train(experiment, directory, until_epoch, events):
        if experiment.optimizer.learning_rate > limit:
            raise UserError("the loss is not finite")
        return {"rows": [{"epoch": until_epoch, "validation_accuracy": 0.5}]}

    monkeypatch.setattr(worker, "train", train)
    limit = 2.0
    found = worker.held_out_rates(AT_1, Objective(), 1, str(tmp_path / "rates"))
    assert [value for _, value in found] == [0.5, 0.5, None]
    assert best_rate(found) == 1.0  # of equal ones the first, on which the search for better ones relies, too
    limit = 0.0
    with pytest.raises(UserError, match=r"at all learning rates: 1: the loss is not finite; 0\.33"):
        worker.held_out_rates(AT_1, Objective(), 1, str(tmp_path / "rates"))


def test_a_rate_whose_workdir_is_busy_is_not_taken_for_one_that_diverges(monkeypatch, tmp_path):
    """A killed search may leave behind a training that still holds its workdir; the executor waits for it."""

    def train(experiment, directory, until_epoch, events):
        raise BusyError("locked")

    monkeypatch.setattr(worker, "train", train)
    with pytest.raises(BusyError):
        worker.held_out_rates(AT_1, Objective(), 1, str(tmp_path / "rates"))
