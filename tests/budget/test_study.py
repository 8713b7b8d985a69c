"""What a search knows before any training."""

import dataclasses

import pytest

from tfeff import config, models
from tfeff.budget.study import Estimates, prepare
from tfeff.config import BudgetSearch, Candidates, Folds, Limits
from tfeff.errors import UserError
from tfeff.recipes import own


class Exact:
    """No bound refers to the exported form."""

    def estimated(self, networks, num_classes):
        return Estimates([{} for _ in networks], {})


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
    passes = study.final(name).training.epochs * study.whole.count / study.examples[0]
    assert study.final_passes(name) == pytest.approx(passes)


def test_multiply_adds_of_the_budget_are_the_target_of_the_objective(settings):
    weighted = config.replaced(settings, {"objective.exponent": -0.07})
    study = prepare(weighted, Exact())
    assert study.objective.cost_target == study.bounds.values["macs"]
    given = config.replaced(weighted, {"objective.cost_target": 1e6})
    assert prepare(given, Exact()).objective.cost_target == 1e6
    with pytest.raises(UserError, match="cost_target is not set"):
        prepare(config.replaced(weighted, {"budget.macs": None}), Exact())


def test_images_of_a_group_count_as_one(settings):
    study = prepare(settings, Exact())
    images = study.examples[1]
    assert study.validation_trials == study.validation_groups == images
    assert dataclasses.replace(study, validation_groups=images // 4).validation_trials == images // 4
