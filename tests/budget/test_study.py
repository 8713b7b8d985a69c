"""What a search knows before any training, and the final training."""

import dataclasses
from pathlib import Path

import pytest
import tensorflow as tf

from tests.budget.test_candidates import LITE0, annotated, listed
from tfeff import config, models, selection
from tfeff.budget.limits import Bounds
from tfeff.budget.report import shortlist
from tfeff.budget.study import Estimates, Fate, Study, prepare
from tfeff.config import BudgetSearch, Candidates, Choice, Folds, Limits
from tfeff.errors import UserError
from tfeff.recipes import own, rules
from tfeff.recipes.image_set import LabeledImages
from tfeff.selection import Fingerprint
from tfeff.training import schedules
from tfeff.trials.results import TrialObjective

TEACHER = Path("teacher")


def study_of(*overrides: str) -> Study:
    """Returns a study of the networks of a budget search whose config has these values."""
    settings = config.override(own.budget("folder:x").base, ["distill=true", *overrides])
    networks = {each.id: each for each in listed(starts=[dataclasses.replace(LITE0, task=settings.experiment.task)])}
    counted = LabeledImages(200, (100, 100), side=256, elongation=1.0, size=None, loaded=200)
    return Study(
        settings=settings,
        objective=TrialObjective("validation_accuracy"),
        examples=(200, 50),
        validation_groups=50,
        fingerprint=Fingerprint({}),
        found={},
        num_classes=2,
        networks=networks,
        costs={key: {} for key in networks},
        errors={},
        bounds=Bounds(settings.budget, lambda measure: 1.0),
        fates={},
        shortlist=list(networks),
        counted=counted,
        whole=counted,
    )


def test_a_teacher_changes_what_the_rules_chose():
    found = study_of()
    name = found.shortlist[0]
    plain, taught = found.final(name), found.final(name, teacher=TEACHER)
    assert taught.training.epochs == rules.TAUGHT_EPOCHS * plain.training.epochs
    assert (taught.optimizer.frozen, taught.optimizer.learning_rate) == ((), 0.001)
    assert (taught.task.teacher.runs, taught.task.teacher.features) == ((str(TEACHER.absolute()),), 0.5)
    assert found.final(name, teacher=TEACHER.absolute()) == taught  # however the workdir is spelled


def test_few_images_are_computed_once_for_each_variant_unless_there_is_a_teacher():
    found = study_of()
    name = found.shortlist[0]
    epochs = found.final(name).training.epochs
    assert found.final_passes(name) == found.final_passes(name, 0.2) == rules.VARIANTS
    assert found.final_passes(name, taught=True) == 3 * rules.TAUGHT_EPOCHS * epochs
    many = dataclasses.replace(found, whole=dataclasses.replace(found.whole, count=500))
    assert many.final_passes(name) == 3 * many.final(name).training.epochs * 500 / 200


def test_the_choice_trains_the_layers_that_were_trained_on_folds():
    """499 images of a fold train the classifier alone; all 600 would train all layers."""
    found, whole = study_of(), dataclasses.replace(study_of().whole, count=600)
    name = found.shortlist[0]
    for images, frozen in ((499, True), (500, False)):
        counted = dataclasses.replace(found.counted, count=images)
        study = dataclasses.replace(found, counted=counted, whole=whole)
        trial, final = study.candidate(name).experiment.optimizer, study.final(name).optimizer
        assert bool(trial.frozen) == bool(final.frozen) == frozen
    many = dataclasses.replace(found, whole=dataclasses.replace(whole, count=5000))  # trials of 200 of them
    assert not many.final(name).optimizer.frozen


def test_the_typical_network_has_trained_weights_and_medium_cost():
    found = study_of()
    macs = sorted(each.cost.macs for each in found.networks.values())
    assert found.networks[found.typical].cost.macs == macs[len(macs) // 2]
    *random, alone = found.shortlist
    for name in random:
        network = found.networks[name]
        found.networks[name] = dataclasses.replace(network, start=dataclasses.replace(network.start, kind="scratch"))
    assert found.typical == alone


def test_a_teacher_changes_no_value_that_was_set():
    changes = "optimizer.frozen=stem*", "optimizer.learning_rate=0.02", "training.epochs=7", "task.teacher.features=1.5"
    found = study_of(*(f"experiment.{each}" for each in changes))
    taught = found.final(found.shortlist[0], teacher=TEACHER)
    assert (taught.optimizer.frozen, taught.optimizer.learning_rate) == (("stem*",), 0.02)
    assert (taught.training.epochs, taught.task.teacher.features) == (7, 1.5)
    kept = study_of("candidates.kept=task.teacher.features,training.epochs")  # as set to the values of the recipe
    taught = kept.final(kept.shortlist[0], teacher=TEACHER)
    assert (taught.training.epochs, taught.task.teacher.features) == (config.Training.epochs, 0.0)


def test_shorter_trainings_of_classifiers_differ_only_in_their_length():
    found = study_of()
    name = found.shortlist[0]
    whole, short = (config.flatten(found.candidate(name, pace=pace).experiment) for pace in (1.0, 0.2))
    assert {key for key in whole if whole[key] != short[key]} == {"training.epochs", "schedule.warmup_epochs"}
    assert short["training.epochs"] == round(0.2 * whole["training.epochs"])
    assert short["schedule.warmup_epochs"] < 0.5
    assert found.may_shorten
    assert not study_of("experiment.training.epochs=7").may_shorten
    assert not study_of("candidates.training=experiment").may_shorten


@pytest.mark.parametrize(
    "schedule",
    [
        ("name=step", "boundaries=1.2,2.4,4.2"),
        ("name=exponential", "decay_epochs=1.2"),
        ("name=exponential", "decay_epochs=1.2", "count_warmup=true"),
    ],
)
def test_learning_rates_decay_at_the_same_shares_of_longer_and_shorter_trainings(schedule):
    found = study_of(*(f"experiment.schedule.{each}" for each in ("warmup_epochs=0.6", *schedule)))
    name = found.shortlist[0]
    whole = found.candidate(name).experiment
    others = [found.candidate(name, pace=pace).experiment for pace in (1 / 2, 1 / 3)]
    for each in (found.longer(name, 2.0, "float32"), found.on_part(name, 0.5, "float32")):
        epochs = each.experiment.training.epochs  # their warm-up is not longer
        others.append(config.replaced(each.experiment, {"schedule.warmup_epochs": epochs / 10}))
    assert [each.training.epochs for each in (whole, *others)] == [6, 3, 2, 12, 13]
    for each in others:
        assert learning_rates(each) == pytest.approx(learning_rates(whole))


def learning_rates(settings):
    """Returns the learning rates at some percentages of a training."""
    epochs = settings.training.epochs
    rate = schedules.build(settings.schedule, peak=1.0, epochs=epochs, steps_per_epoch=1000)
    return [rate(10 * epochs * percentage - 1) for percentage in (3, 5, 11, 25, 45, 55, 75, 95)]


def test_patience_is_shorter_in_shorter_trainings():
    plateau = "experiment.schedule.name=plateau", "experiment.schedule.patience_epochs=4"
    found = study_of(*plateau, "experiment.data.validation_fraction=0.2")
    patience = [found.candidate(found.shortlist[0], pace=p).experiment.schedule.patience_epochs for p in (1, 0.5, 0.1)]
    assert patience == [4, 2, 1]


def test_trainings_on_parts_that_differ_in_their_schedule_have_different_names():
    found = study_of()
    counted = dataclasses.replace(found.counted, count=2000, class_counts=(1000, 1000))
    found = dataclasses.replace(found, counted=counted)
    name = found.shortlist[0]
    parts = [found.on_part(name, 0.05, "float32", pace) for pace in (1.0, 0.9)]
    epochs = {each.experiment.training.epochs for each in parts}
    warmups = {each.experiment.schedule.warmup_epochs for each in parts}
    assert (len(epochs), len(warmups), len({each.name for each in parts})) == (1, 2, 2)


def test_a_config_without_rules_keeps_its_epochs():
    found = study_of("candidates.training=experiment")
    assert found.final(found.shortlist[0], teacher=TEACHER).training.epochs == config.Training.epochs


def test_parts_of_the_images_of_detectors_are_trained_for_their_epochs():
    """With half of 240 images, fewer than `dense.FEW`, the rules freeze layers, which the whole does not."""
    base = own.detectors("voc:x")
    settings = dataclasses.replace(own.budget("voc:x").base, experiment=base)
    counted = annotated((0.2, 0.5))
    found = dataclasses.replace(
        study_of(),
        settings=settings,
        networks={each.id: each for each in listed(starts=[dataclasses.replace(LITE0, task=base.task)])},
        counted=dataclasses.replace(counted, count=240, shown=240),
        whole=dataclasses.replace(counted, count=300, shown=300),
    )
    name = next(iter(found.networks))
    assert found.candidate(name).experiment.training.epochs == 34
    assert found.on_part(name, 0.5, "float32").experiment.training.epochs == 40


class Exact:
    """No bound refers to the exported form."""

    def estimated(self, networks, num_classes):
        return Estimates([{} for _ in networks], [{} for _ in networks])


@pytest.fixture
def settings(monkeypatch):
    monkeypatch.setattr(models, "imagenet_origin", lambda name: "a package")
    images = own.images("embedded:digits").base
    return BudgetSearch(
        experiment=config.replaced(images, {"data.channels": 3, "model.resolution": 32}),
        candidates=Candidates(
            starts=("efficientnet-lite0",),
            widths=(0.5,),
            depths=(0.5,),
            resolutions=(0.2,),
            scratch=False,
            training="rules",
        ),
        folds=Folds(kind="independent", count=3, examples=200),
        budget=Limits(macs="0.5x", minutes=10),
    )


def test_the_choice_is_trained_by_the_rules_for_all_images(settings):
    study = prepare(settings, Exact())
    (name,) = study.shortlist
    alone = prepare(config.replaced(settings, {"folds.kind": "classic", "folds.examples": None}), Exact())
    assert study.counted.count == study.examples[0] < 200 < study.whole.count
    assert study.candidate(name).experiment.training.batch_size < study.final(name).training.batch_size
    assert study.final(name) == alone.final(name)
    passes = 3 * study.final(name).training.epochs * study.whole.count / study.examples[0]
    assert study.final_passes(name) == pytest.approx(passes)


def test_multiply_adds_of_the_budget_are_the_target_of_the_objective(settings):
    weighted = config.replaced(settings, {"objective.exponent": -0.07})
    study = prepare(weighted, Exact())
    assert study.objective.cost_target == study.bounds.values["macs"]
    given = config.replaced(weighted, {"objective.cost_target": 1e6})
    assert prepare(given, Exact()).objective.cost_target == 1e6
    with pytest.raises(UserError, match=r"objective\.cost_target is not set"):
        prepare(config.replaced(weighted, {"budget.macs": None}), Exact())


def test_smaller_networks_compete_if_the_objective_may_prefer_them(settings):
    changes = {"candidates.widths": (1.0, 0.7, 0.5), "candidates.resolutions": (1.0, 0.5), "budget.macs": "50M"}
    accuracy = config.replaced(settings, changes)
    weighted = config.replaced(accuracy, {"objective.exponent": -0.07})
    found, more = (prepare(each, Exact()) for each in (accuracy, weighted))
    assert "larger" in {fate.stage for fate in found.fates.values()}
    assert "larger" not in {fate.stage for fate in more.fates.values()}
    assert set(found.shortlist) < set(more.shortlist)


def test_images_of_a_group_count_as_one(settings):
    study = prepare(settings, Exact())
    images = study.examples[1]
    assert study.validation_trials == study.validation_groups == images
    assert dataclasses.replace(study, validation_groups=images // 4).validation_trials == images // 4


@pytest.fixture
def folder(settings, image_folder):
    """A search on images of two classes."""
    root = image_folder({"train/ant": 30, "train/bee": 30, "test/ant": 4, "test/bee": 4}, size=(32, 32))
    changes = {"experiment.data.source": f"folder:{root}", "folds.examples": 20, "budget.macs": "100M"}
    return root, config.replaced(settings, changes)


def test_mistakes_in_the_test_images_are_reported_before_the_search(folder):
    root, settings = folder
    assert prepare(settings, Exact()).found["test"].images == 8
    strict = config.replaced(settings, {"experiment.data.corrupt_images": "error"})
    damaged = root / "test" / "ant" / "000.png"
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:200])
    with pytest.raises(UserError, match=r"test: 1 of 8 images cannot be read"):
        prepare(strict, Exact())
    with pytest.raises(UserError, match=r"1 of 8 images are lost \(12 %\)"):
        prepare(settings, Exact())
    damaged.write_bytes(whole)
    with pytest.raises(UserError, match=r'data.test_split: .* has no split "tets"'):
        prepare(config.replaced(settings, {"experiment.data.test_split": "tets"}), Exact())
    (root / "test" / "bee").rename(root / "test" / "cat")
    with pytest.raises(UserError, match='class "cat" is not among the classes'):
        prepare(settings, Exact())


def test_networks_whose_input_is_too_small_for_the_objects_do_not_compete(settings, image_folder, monkeypatch):
    checked = selection.check
    root = image_folder({"train/ant": 30, "train/bee": 30, "test/ant": 4, "test/bee": 4}, size=(64, 64))
    changes = {"candidates.resolutions": (0.5, 0.3), "objective.margin": 0.05, "budget.macs": "100M"}
    settings = config.replaced(settings, {**changes, "experiment.data.source": f"folder:{root}", "folds.examples": 20})
    study = prepare(settings, Exact())
    sides = {name: study.networks[name].model.resolution for name in study.shortlist}
    assert len(set(sides.values())) > 1

    def check(wanted, source):
        if wanted.network_size()[0] < max(sides.values()):
            raise UserError("objects are too small")
        return checked(wanted, source)

    monkeypatch.setattr(selection, "check", check)
    found = prepare(settings, Exact())
    assert list(found.shortlist) == [name for name, side in sides.items() if side == max(sides.values())]
    dropped = {found.fates[name] for name, side in sides.items() if side < max(sides.values())}
    assert dropped == {Fate("failed", "objects are too small")}


def test_a_missing_folder_of_unlabeled_images_is_reported_before_the_search(folder):
    changes = {"distill": True, "experiment.data.unlabeled": "nowhere"}
    with pytest.raises(UserError, match=r"data\.unlabeled: no folder nowhere"):
        prepare(config.replaced(folder[1], changes), Exact())
    prepare(config.replaced(folder[1], {**changes, "experiment.data.unlabeled": str(folder[0] / "test")}), Exact())


class Slow:
    """A device on which every network is estimated to take 21 ms."""

    def __init__(self, error):
        self.error = error

    def estimated(self, networks, num_classes):
        return Estimates([{"latency": 0.021} for _ in networks], [{"latency": self.error} for _ in networks])


def test_networks_that_may_meet_the_budget_compete_if_none_is_estimated_to(settings):
    bounded = config.replaced(settings, {"budget.latency": "20ms"})
    study = prepare(bounded, Slow(error=0.1))
    assert study.shortlist
    assert "within latency 20 ms, macs" in (words := shortlist(study))
    assert "if their costs are lower than estimated" in words
    assert "21 ms (estimated, ± 10 %)" in words
    elsewhere = config.replaced(bounded, {"budget.latencies": "phone.json"})  # where nothing is measured
    for impossible, error in ((bounded, 0.01), (elsewhere, 0.1)):
        with pytest.raises(UserError, match=rf"a latency of 21 ms \(estimated, ± {100 * error:.0f} %\), above 20 ms"):
            prepare(impossible, Slow(error))


def test_the_choice_is_loaded_as_it_was_set(settings):
    (name,) = prepare(settings, Exact()).shortlist
    of = {
        changes: prepare(config.override(settings, changes), Exact())
        for changes in (
            (),
            ("experiment.data.image_size=128",),
            ("experiment.task.center_crop=0.5", "experiment.task.crop=false"),
        )
    }
    loaded = [(each.settings.experiment.data.image_size, each.final(name).data.image_size) for each in of.values()]
    assert loaded == [(16, 16), (128, 128), (32, None)]  # a crop of half of the side has the network's resolution


def test_other_candidates_keep_the_size_at_which_images_were_loaded(settings):
    same, other = (prepare(settings, Exact(), stored_size=size) for size in (16, 48))
    assert (same.settings.experiment.data.image_size, same.notes) == (16, ())
    assert other.settings.experiment.data.image_size == 48
    assert "note: images are loaded with 48 pixels, as in the trainings in this workdir" in shortlist(other)
    assert other.final(other.shortlist[0]).data.image_size == 16


def test_nothing_is_held_out_from_the_choice_unless_its_training_needs_that(settings):
    default = config.override(settings, {"experiment.data.validation_fraction": config.Data.validation_fraction})
    stopped = config.override(default, {"experiment.training.early_stopping_epochs": 3})
    given = config.override(settings, {"experiment.data.validation_fraction": 0.25})
    held_out = []
    for each in (default, stopped, given):
        study = prepare(each, Exact())
        held_out.append(study.final(study.shortlist[0]).data.validation_fraction)
        assert study.whole.count == round((1 - held_out[-1]) * 1438)
    assert held_out == [0.0, 0.1, 0.25]


def test_what_is_typed_is_kept(settings, monkeypatch):
    kept = config.replaced(settings, {"candidates.kept": ("data.validation_fraction", "data.cache")})
    monkeypatch.setattr(rules, "cache", lambda *_: Choice("none", "too little memory"))
    default = {"experiment.data.validation_fraction": config.Data.validation_fraction}
    assert prepare(config.override(kept, default), Exact()).settings.experiment.data.validation_fraction == 0.1
    assert prepare(kept, Exact()).settings.experiment.data.cache == "memory"
    assert prepare(settings, Exact()).settings.experiment.data.cache == "none"


def test_the_largest_unscaled_network_within_the_budget_competes(settings):
    wide = {"candidates.widths": (2.0, 1.0, 0.5), "candidates.depths": (1.0,), "budget.macs": "9x"}
    study = prepare(config.override(settings, wide | {"candidates.count": 1, "objective.margin": 0.01}), Exact())
    assert len(study.shortlist) == 2 < len(study.networks)
    assert [study.networks[name].width for name in study.shortlist] == [2.0, 1.0]
    assert study.unscaled(study.networks) == study.shortlist[1]


def test_trials_are_validated_on_the_images_that_are_drawn_for_that(settings):
    study = prepare(config.override(settings, {"experiment.data.validation_examples": 12}), Exact())
    assert (study.examples[1], study.validation_groups, study.validation_trials) == (12, 12, 12)


def test_what_stops_only_the_choice_is_reported_before_the_search(folder, monkeypatch):
    """Trials have one device each and no teacher."""
    root, settings = folder
    taught = config.replaced(settings, {"distill": True, "experiment.data.unlabeled": str(root / "test")})
    with pytest.raises(UserError, match=r"8 images in data\.unlabeled do not fill a batch of \d+"):
        prepare(config.override(taught, {"experiment.data.unlabeled_per_label": 9.0}), Exact())
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["GPU"] * 3)
    with pytest.raises(UserError, match=r"it should be a multiple of 3 \(3 devices"):
        prepare(settings, Exact())
    single = {"experiment.training.strategy": "single"}
    prepare(config.override(settings, single), Exact())
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["GPU"] * 2)
    with pytest.raises(UserError, match=r"data\.unlabeled: several devices are not supported"):
        prepare(taught, Exact())
    prepare(config.override(taught, single), Exact())
