import dataclasses
import re
from types import SimpleNamespace

import pytest
from rich.console import Console

from tfeff import config
from tfeff.data.sources import placed_digits
from tfeff.errors import UserError
from tfeff.scaling.latency import Latency
from tfeff.scaling.search import open_store
from tfeff.scaling.study import prepare
from tfeff.selection import Fingerprint
from tfeff.trials.results import Job
from tfeff.trials.runner import running

SEARCH = config.Search(
    experiment=config.Experiment(
        model=config.architecture("resnet", width=4, stage_blocks=(1, 1), resolution=8),
        data=config.Data(source="embedded:digits", channels=1),
        training=config.Training(epochs=4, batch_size=32, precision="float32"),
    ),
    choice="mean",
    budget=config.Budget(macs=2.0, tolerance=0.2, candidates=4),
    folds=config.Folds(count=2, examples=200, validation_fraction=0.5),
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["objective.metric=validation_acuracy"], "did you mean \"validation_accuracy\""),
        (["objective.metric=validation_temperature"], "trials are not compared by \"validation_temperature\""),
        (["objective.metric=learning_rate"], "trials are not compared by"),
        (["experiment.model.name=mobilenet-v2", "experiment.model.resolution=32", "members.batch_norm=true"],
         "members.batch_norm"),
        (["budget.macs=none", "budget.params=2", "objective.exponent=-0.07"], "objective.cost_target is not set"),
        (["members.ratios=4e6"], "members.ratios: 4e+06 times"),
        (["members.phis=9", "experiment.training.batch_size=64"], "training.batch_size"),
        (["experiment.data.train_examples=100"], "data.train_examples"),
        (["reference=1,1,1"], "reference is (1.0, 1.0, 1.0); it should be numbers of 1 or more"),
        (["reference=1.2,1.1"], "reference is (1.2, 1.1); it should be a list of 3 items"),
        (["reference="], "reference is (); it should be a list of 3 items"),
        (["experiment.task.center_crop=0.875"], "with task.center_crop, it depends on the resolution"),
    ],
)  # fmt: skip
def test_errors_of_late_stages_are_reported_before_training(overrides, words):
    with pytest.raises(UserError, match=re.escape(words)) as error:
        prepare(config.override(SEARCH, overrides))
    assert len(str(error.value)) < 400


@pytest.mark.slow
def test_a_detector_has_no_surface(monkeypatch):
    monkeypatch.setattr(placed_digits, "COUNTS", {"train": 800, "validation": 2, "test": 2})
    search = config.override(
        SEARCH, ["choice=surface", "experiment.task.name=yolo", "objective.metric=validation_mean_ap"]
    )
    search = config.override(search, ["experiment.data.max_lost=1"])  # digits are small at 16 pixels
    data = dataclasses.replace(search.experiment.data, source="embedded:placed_digits", image_size=None)
    search = dataclasses.replace(search, experiment=dataclasses.replace(search.experiment, data=data))
    with pytest.raises(UserError, match=r"config: choice is 'surface'; it should be mean: a detector's neck"):
        prepare(search)


def test_a_batch_must_fit_into_the_part_of_a_fold_on_which_learning_rates_are_tried():
    changes = ["coefficients=1.2,1.1,1.15", "folds.validation_split=test", "folds.validation_fraction=0.75"]
    search = config.override(SEARCH, [*changes, "experiment.training.batch_size=51", "trials.learning_rate=held_out"])
    prepare(config.override(search, ["experiment.training.batch_size=50"]))
    with pytest.raises(UserError, match=r"rates are tried on 50 images of a fold, fewer than one batch of 51; raise"):
        prepare(search)


def test_batch_sizes_of_the_largest_networks_are_checked_before_training():
    search = config.override(SEARCH, ["choice=surface", "experiment.training.batch_size=3", "members.phis=1"])
    with pytest.raises(UserError, match=r"its batch size would be 0\.\d\d; raise training\.batch_size"):
        prepare(search)


def test_classic_folds_divide_the_requested_subset():
    study = prepare(config.override(SEARCH, ["folds.kind=classic", "folds.count=4", "folds.examples=400"]))
    assert study.examples == (300, 100)


@pytest.mark.parametrize("changed", ["train", "validation"])
def test_trials_of_changed_images_are_not_continued(tmp_path, changed):
    search = config.override(SEARCH, ["coefficients=1.2,1.1,1.15", "folds.validation_split=test"])
    study = prepare(search)
    fingerprint = study.fingerprint

    def claim() -> None:
        with open_store(tmp_path, search) as store:
            executor = SimpleNamespace(slots=1)
            with running(search, fingerprint, study.objective, tmp_path, store, executor, Console()):
                store.start(Job("a", 0, 0, 4))

    claim()
    claim()
    split = fingerprint.splits[changed]
    fewer = dataclasses.replace(split, ids=split.ids[1:], files=split.files[1:], annotations=split.annotations[1:])
    fingerprint = Fingerprint({**fingerprint.splits, changed: fewer})
    with pytest.raises(UserError, match=re.escape(f"1 image of {changed} was removed: {split.ids[0]}\n")):
        claim()


def test_candidates_of_a_latency_budget_are_timed_themselves():
    def clock(baseline, network):
        # The fit cannot represent this: every other network takes a third longer.
        factor = 4 / 3 if sum(network.blocks) % 2 else 1.0
        return Latency(1e-3, network.relative["macs"] ** 0.7 * factor)

    search = config.override(SEARCH, ["budget.macs=none", "budget.latency=1.6"])
    study = prepare(search, clock)
    assert len(study.chosen) == 4
    for network in study.chosen:
        assert network.relative["latency"] == clock(study.baseline, network).relative
        assert network.relative["latency"] == pytest.approx(1.6, rel=0.2)
    assert {network.id for network in study.chosen} <= {network.id for network in study.networks}
    assert search.budget.measure == "latency"
