import dataclasses

import pytest
from PIL import Image

from tfeff import config
from tfeff.errors import UserError
from tfeff.training import schedules
from tfeff.trials import worker
from tfeff.trials.trial import Trial, check_batch_size, open_images, result_row

EXPERIMENT = config.Experiment(seed=5, training=config.Training(batch_size=220))
FOLDS = config.Folds(count=4, examples=100, validation_fraction=0.25, seeds=2)


def test_a_trial_is_the_experiment_on_a_fold_with_a_seed():
    trial = Trial(EXPERIMENT).on_fold(FOLDS, fold=2, seed=1).experiment
    assert (trial.data.folds, trial.data.fold, trial.data.fold_examples) == (3, 2, 100)
    assert trial.data.validation_fraction == 0.25
    assert trial.data.seed == 5
    assert trial.data.test_split is None
    assert (trial.model, trial.training) == (EXPERIMENT.model, EXPERIMENT.training)


def test_every_fold_and_seed_has_its_own_initial_weights_and_the_same_folds():
    trials = [Trial(EXPERIMENT).on_fold(FOLDS, fold, seed).experiment for fold, seed in FOLDS.blocks]
    assert len({trial.seed for trial in trials}) == len(trials) == 8
    assert {trial.data.seed for trial in trials} == {EXPERIMENT.seed}


def test_classic_folds_share_a_subset():
    folds = config.Folds(kind="classic", count=4, examples=90)
    trial = Trial(EXPERIMENT).on_fold(folds, fold=2, seed=0).experiment
    assert (trial.data.folds, trial.data.fold_examples, trial.data.train_examples) == (4, None, 90)


@pytest.mark.parametrize("schedule", [("name=step", "boundaries=3,6,8.4"), ("name=exponential", "decay_epochs=1.2")])
def test_a_shorter_trial_decays_its_learning_rate_at_the_same_shares(schedule):
    overrides = ("training.epochs=12", "schedule.warmup_epochs=0", *(f"schedule.{each}" for each in schedule))
    whole = Trial(config.override(EXPERIMENT, overrides))
    rates = []
    for experiment in (whole.experiment, whole.of_length(4).experiment):
        epochs = experiment.training.epochs
        rate = schedules.build(experiment.schedule, peak=1.0, epochs=epochs, steps_per_epoch=100)
        rates.append([rate(epochs * percentage - 1) for percentage in (10, 30, 45, 60, 80, 100)])
    assert rates[0] == pytest.approx(rates[1])
    assert len(set(rates[0])) > 3


def test_the_phases_of_a_shorter_trial_take_the_same_shares():
    overrides = ("training.epochs=12", "schedule.warmup_epochs=3", "training.swa_epochs=4")
    overrides += ("task.plain_epochs=2", "task.augmentation.brightness=0.2")
    short = Trial(config.override(EXPERIMENT, overrides)).of_length(6).experiment
    assert (short.training.epochs, short.schedule.warmup_epochs) == (6, 1.5)
    assert (short.training.swa_epochs, short.task.plain_epochs) == (2, 1)


def test_the_result_is_the_row_of_the_weights_that_the_training_keeps():
    losses = {4: 0.5, 5: 0.1, 8: 0.4, 10: 0.6}
    rows = [
        {"epoch": epoch} | ({"validation_loss": losses[epoch]} if epoch in losses else {}) for epoch in range(1, 11)
    ]
    last = config.Training(validation_epochs=4, epochs=10)
    best = config.Training(validation_epochs=4, epochs=10, keep="best")
    assert result_row(last, rows)["epoch"] == 10
    assert result_row(best, rows)["epoch"] == 8  # epoch 5 was validated only because the run was interrupted there
    assert result_row(best, rows[:5])["epoch"] == 4
    assert result_row(best, [{"epoch": 1, "validation_loss": 2.0}])["epoch"] == 1


def test_the_best_epoch_is_that_of_the_monitored_metric():
    accuracies = [0.5, 0.8, 0.8004, 0.7]
    rows = [
        {"epoch": epoch, "validation_loss": float(epoch), "validation_accuracy": accuracy}
        for epoch, accuracy in enumerate(accuracies, start=1)
    ]
    best = config.Training(epochs=4, keep="best", monitor="accuracy")
    assert result_row(best, rows)["epoch"] == 3
    assert result_row(dataclasses.replace(best, minimum_change=0.001), rows)["epoch"] == 2


def test_a_validation_split_that_shares_images_with_the_training_split_is_refused(tmp_path):
    names = "abcdefghijkl"
    for name in names:
        Image.new("RGB", (32, 32), (ord(name), 0, 0)).save(tmp_path / f"{name}.png")
        (tmp_path / f"{name}.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    for split, listed in (("train", names[:8]), ("val", names[7:]), ("test", names[8:])):
        (tmp_path / f"{split}.txt").write_text("".join(f"{name}.png\n" for name in listed))
    data = config.Data(source=f"yolo:{tmp_path}", image_size=32, folds=None)
    experiment = config.Experiment(task=config.YoloSettings(), data=data)
    folds = config.Folds(count=2, examples=3, validation_split="test")
    assert open_images(experiment, folds, [(0, 0)]).examples == (3, 4)
    with pytest.raises(UserError, match=r'folds.validation_split: "validation" shares images .*"train": .*h\.png'):
        open_images(experiment, dataclasses.replace(folds, validation_split="val"), [(0, 0)])
    with pytest.raises(UserError, match=r'folds.validation_split: .* has no split "held"'):
        open_images(experiment, dataclasses.replace(folds, validation_split="held"), [(0, 0)])


def test_images_of_another_split_are_not_lost(tmp_path):
    """A list may call its splits as it likes."""
    lines = ["path,label,split"]
    for index in range(40):
        Image.new("RGB", (16, 16), (index, 0, 0)).save(tmp_path / f"{index}.png")
        lines.append(f"{index}.png,{'ab'[index % 2]},{'holdout' if index % 4 > 1 else 'train'}")
    (tmp_path / "list.csv").write_text("\n".join(lines))
    data = config.Data(source=f"csv:{tmp_path / 'list.csv'}", image_size=8, on_defect="stop")
    named = config.Experiment(data=dataclasses.replace(data, test_split="holdout"))
    folds = config.Folds(kind="classic", count=2, examples=None)
    assert open_images(named, folds, folds.blocks).examples == (10, 10)
    trial = Trial(named).on_fold(folds, fold=0, seed=0)
    assert len(worker.split_caches(trial).train) == 20
    shared = config.Folds(count=2, examples=10, validation_split="holdout")
    without = config.Experiment(data=dataclasses.replace(data, test_split=None))
    assert open_images(without, shared, shared.blocks).examples == (10, 20)


def test_groups_of_validation_images_are_counted(image_folder):
    root = image_folder({"train/ant": 24, "train/bee": 24}, size=(16, 16))
    folds = config.Folds(kind="classic", count=2, examples=None)
    alone = config.Experiment(data=config.Data(source=f"folder:{root}", image_size=8))
    grouped = config.override(alone, [r"data.groups=(\w+/\d\d)\d"])  # ten images each
    found = [open_images(each, folds, folds.blocks) for each in (alone, grouped)]
    assert [each.validation_groups for each in found] == [24, 2]


def test_corrupt_images_stop_a_search_before_its_trials(image_folder):
    root = image_folder({"train/ant": 12, "train/bee": 12, "val/ant": 4, "val/bee": 4}, size=(16, 16))
    damaged = root / "train" / "ant" / "003.png"
    damaged.write_bytes(damaged.read_bytes()[:200])
    experiment = config.Experiment(data=config.Data(source=f"folder:{root}", image_size=8, max_lost=0.1))
    folds = config.Folds(count=2, examples=6, validation_fraction=0.5)
    with pytest.raises(UserError, match=r"1 of 24 images cannot be read:(?s:.)*003\.png") as raised:
        open_images(experiment, folds, [(0, 0)])
    advice = str(raised.value).rpartition("with --config.")[2]
    settings = config.Sweep(experiment=experiment, axes=("model.dropout=0|0.5",))
    skipping = config.override(settings, [advice]).experiment
    assert skipping.data.corrupt_images == "skip"
    found = open_images(skipping, folds, [(0, 0)]).found["train"]
    assert (found.images, found.defects.lost("images")) == (23, 1)
    (root / "val" / "bee" / "000.png").write_bytes(damaged.read_bytes())
    damaged.write_bytes((root / "train" / "ant" / "000.png").read_bytes())
    with pytest.raises(UserError, match=r"validation: 1 of 8 images cannot be read"):
        open_images(experiment, dataclasses.replace(folds, validation_split="val"), [(0, 0)])


def test_a_batch_of_regions_can_be_larger_than_the_training_images() -> None:
    check_batch_size(config.RCNNSettings(), 128, 58)
    check_batch_size(config.ClassificationSettings(), 58, 58)
    with pytest.raises(UserError, match="58 training images per fold are fewer than one batch of 59"):
        check_batch_size(config.ClassificationSettings(), 59, 58)
