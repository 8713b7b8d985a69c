"""The choice of a candidate by its mean."""

import pytest

from tfeff.config import Budget, Data, Experiment, Folds, Search, Training, architecture, override
from tfeff.errors import UserError
from tfeff.scaling.choice import by_mean, coefficients_of
from tfeff.scaling.study import Study, prepare
from tfeff.trials.allocation import Elimination
from tfeff.trials.ranking import rank

SEARCH = Search(
    experiment=Experiment(
        model=architecture("resnet", width=8, stage_blocks=(2, 2), resolution=16),
        data=Data(source="embedded:digits", channels=1),
        training=Training(epochs=4, batch_size=64),
    ),
    choice="mean",
    budget=Budget(macs=2.0, tolerance=0.1, candidates=8),
    folds=Folds(count=3, examples=200),
)


@pytest.fixture(scope="module")
def study() -> Study:
    return prepare(SEARCH)


def table(study: Study) -> dict[str, dict[tuple[int, int], float]]:
    return {
        network.id: {(fold, 0): 0.5 + 0.01 * index + 0.0003 * fold * (index % 3) for fold in range(3)}
        for index, network in enumerate(study.chosen)
    }


def test_the_candidate_with_the_highest_mean_gives_the_coefficients(study: Study) -> None:
    *kept, last = study.chosen
    values = {name: row for name, row in table(study).items() if name != last.id}
    eliminated = {last.id: Elimination("slow", 2)}
    choice = by_mean(study.chosen, eliminated, rank(values, dict.fromkeys(values, 1.0)))
    assert choice.coefficients == coefficients_of(kept[-1])
    assert choice.sentence.startswith(f"{kept[-1].id} has the highest mean")
    assert choice.basis.eliminated == eliminated


def test_a_margin_chooses_the_coefficients_of_a_cheaper_candidate(study: Study) -> None:
    values = table(study)
    costs = {network.id: network.cost.macs for network in study.chosen}
    ranking = rank(values, costs, margin=0.08, bounded=True)
    choice = by_mean(study.chosen, {}, ranking)
    (cheaper,) = [network for network in study.chosen if network.id == ranking.chosen]
    assert costs[ranking.chosen] < costs[ranking.best]
    assert choice.coefficients == coefficients_of(cheaper)
    assert "is chosen, the cheapest that loses less than 0.08 against the best" in choice.sentence


@pytest.mark.parametrize("settings", [["choice=surface"], ["choice=mean", "coefficients=1.2,1.1,1.15"]])
def test_a_margin_needs_a_choice_of_a_candidate(settings: list[str]) -> None:
    with pytest.raises(UserError, match=r"objective\.margin is 0\.01; it should be omitted, or set choice=mean"):
        override(SEARCH, ["objective.margin=0.01", *settings])


def test_coefficients_that_do_not_scale_are_named(study: Study) -> None:
    only_resolution = max(study.chosen, key=lambda network: network.scale)
    values = {
        network.id: {(fold, 0): 0.9 if network is only_resolution else 0.5 for fold in range(3)}
        for network in study.chosen
    }
    sentence = by_mean(study.chosen, {}, rank(values, dict.fromkeys(values, 1.0))).sentence
    assert ("α = 1.000 does not scale depth" in sentence) == (only_resolution.depth == 1)
    assert "does not scale resolution" not in sentence
