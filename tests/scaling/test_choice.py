"""The choice of coefficients, on synthetic accuracies of real candidates."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest

from tests.scaling.synthetic import PEAK, SEARCH, accuracies
from tfeff.config import override
from tfeff.errors import UserError
from tfeff.scaling.choice import ScalingChoice, choose, coefficients_of, find
from tfeff.scaling.report import write_all
from tfeff.scaling.search import Findings
from tfeff.scaling.study import Study, prepare
from tfeff.trials.allocation import Elimination
from tfeff.trials.ranking import rank
from tfeff.trials.results import Job, Table
from tfeff.trials.store import Record


@pytest.fixture(scope="module")
def study() -> Study:
    return prepare(SEARCH)


def test_the_surface_chooses_the_coefficients_and_is_reported(study: Study, tmp_path: Path) -> None:
    networks = list(study.chosen)
    table = accuracies(networks, 0.005)
    records = [
        Record(Job(name, *block, 4), "done", 0, None, 1.0, None, [{"epoch": 4, "validation_accuracy": value}])
        for name, row in table.items()
        for block, value in row.items()
    ]
    choice = chosen(study, "surface", table)
    expected = find(table, networks, study.baseline, SEARCH.reference)
    assert expected is not None
    assert choice.coefficients == pytest.approx(expected.coefficients)
    assert "these coefficients are chosen" in choice.sentence
    found = Findings(study, choice, study.baseline.family(choice.coefficients, choice.sentence), [], None, {})
    assert write_all(found, records, tmp_path, "python -m tfeff.search")
    written = json.loads((tmp_path / "result.json").read_text())
    for where in (written, written["surface"]):
        assert [where[key] for key in ("alpha", "beta", "gamma")] == pytest.approx(expected.coefficients)
    assert written["surface"]["reference"] == [1.2, 1.1, 1.15]
    assert written["surface"]["reference_position"] == expected.reference_position
    assert "A quadratic surface through all 16 candidates" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize("rule", ["surface", "mean"])
def test_other_rules_choose_a_candidate(study: Study, rule: str) -> None:
    table = accuracies(list(study.chosen), 0.02)
    last = study.chosen[-1].id
    kept = {name: row for name, row in table.items() if name != last}
    # Without all candidates there is no surface.
    choice = chosen(study, rule, kept, {last: Elimination("slow", 2, 6)})
    best = choice.ranking.best
    assert choice.coefficients == coefficients_of(next(each for each in study.chosen if each.id == best))
    assert choice.optimum is None
    assert ("No surface could be fitted" in choice.sentence) == (rule == "surface")


def test_a_margin_chooses_the_coefficients_of_a_cheaper_candidate(study: Study) -> None:
    table = accuracies(list(study.chosen), 0.001)
    costs = {network.id: network.cost.macs for network in study.chosen}
    ranking = rank(table, costs, margin=0.05, bounded=True)
    search = override(SEARCH, ["choice=mean", "objective.margin=0.05"])
    choice = choose(search, study.baseline, study.chosen, {}, ranking, table, "accuracy")
    (cheaper,) = [network for network in study.chosen if network.id == ranking.chosen]
    assert costs[ranking.chosen] < costs[ranking.best]
    assert choice.coefficients == coefficients_of(cheaper)
    assert "is chosen, the cheapest that loses less than 0.05 against the best" in choice.sentence
    assert "these coefficients are chosen" not in choice.sentence


@pytest.mark.parametrize("settings", [["choice=surface"], ["choice=mean", "coefficients=1.2,1.1,1.15"]])
def test_a_margin_needs_a_choice_of_a_candidate(settings: list[str]) -> None:
    with pytest.raises(UserError, match=r"objective\.margin is 0\.01; it should be omitted, or set choice=mean"):
        override(SEARCH, ["objective.margin=0.01", *settings])


def test_coefficients_that_do_not_scale_are_named(study: Study) -> None:
    only_resolution = max(study.chosen, key=lambda network: network.scale)
    table = {
        network.id: {(fold, 0): 0.9 if network is only_resolution else 0.5 for fold in range(3)}
        for network in study.chosen
    }
    sentence = chosen(study, "mean", table).sentence
    assert ("α = 1.000 does not scale depth" in sentence) == (only_resolution.depth == 1)
    assert "does not scale resolution" not in sentence


def chosen(
    study: Study, rule: str, table: Table, eliminated: Mapping[str, Elimination] = MappingProxyType({})
) -> ScalingChoice:
    costs = {network.id: network.cost.macs for network in study.chosen}
    ranking = rank(table, costs, chooses=rule == "mean")
    search = replace(SEARCH, choice=rule)
    return choose(search, study.baseline, study.chosen, eliminated, ranking, table, "accuracy")


EFFICIENTNET = 1.2, 1.1, 1.15


def test_the_highest_point_is_found(study: Study) -> None:
    networks = list(study.chosen)
    found = find(accuracies(networks, 0.0), networks, study.baseline, EFFICIENTNET)
    assert found is not None
    np.testing.assert_allclose(found.shares[:2], PEAK, atol=1e-4)
    np.testing.assert_allclose(replace(found, reference=found.coefficients).reference_shares, found.shares)
    np.testing.assert_allclose(replace(found, reference=(2, 2, 2)).reference_shares, [0.2, 0.4, 0.4])


@pytest.mark.parametrize("macs", [2.0, 4.0])
def test_the_first_member_has_about_the_cost_of_the_candidates(macs: float) -> None:
    study = prepare(override(SEARCH, [f"budget.macs={macs}"]))
    networks = list(study.chosen)
    found = find(accuracies(networks, 0.0), networks, study.baseline, EFFICIENTNET)
    assert found is not None
    cost = study.baseline.member(study.baseline.family(found.coefficients), 1.0).relative["macs"]
    assert cost == pytest.approx(np.mean([network.relative["macs"] for network in networks]), rel=0.1)


def test_the_sentence_says_what_the_region_contains(study: Study) -> None:
    networks = list(study.chosen)
    table = accuracies(networks, 0.005)
    ranking = rank(table, {network.id: 1.0 for network in networks})
    winner = next(network for network in networks if network.id == ranking.chosen)
    found = find(table, networks, study.baseline, EFFICIENTNET)
    assert found is not None
    others = sorted(networks, key=lambda network: network.depth)[:-1]
    without_deepest = find({network.id: table[network.id] for network in others}, others, study.baseline, EFFICIENTNET)
    assert without_deepest is not None
    text = found.sentence(winner, ranking, "accuracy", chosen=False)
    alpha, beta, gamma = found.coefficients
    assert f"α {alpha:.3f}, β {beta:.3f}, γ {gamma:.3f}" in text
    assert f"above that at the place of {winner.label} (95 % interval" in text
    assert f"covers {100 * found.surface.extent:.0f} % of the candidates' plane" in text
    half = np.median([each.high - each.mean for each in ranking.differences.values()])
    assert text.endswith(f"A candidate is separable from the best one at a difference of {half:.3f}.")
    for reference, position, words in (
        (found.coefficients, "in the region", "contains the proportions"),
        ((1.5, 1.05, 1.05), "outside the region", "excludes the proportions"),
        ((9.0, 1.0, 1.0), "beyond the candidates", "says nothing about the proportions"),
    ):
        # Without the deepest candidate, depth alone is not between the others.
        compared = replace(without_deepest if position == "beyond the candidates" else found, reference=reference)
        assert compared.reference_position == position
        assert f"; it {words} of the reference (" in compared.sentence(winner, ranking, "accuracy", chosen=False)


def test_a_candidate_at_the_highest_point_is_not_compared_with_it(study: Study) -> None:
    networks = list(study.chosen)
    widest = max(networks, key=lambda network: network.width)
    table = {
        network.id: {(fold, 0): 0.5 + 0.1 * network.width + 0.001 * fold for fold in range(3)} for network in networks
    }
    ranking = rank(table, {network.id: 1.0 for network in networks})
    found = find(table, networks, study.baseline, EFFICIENTNET)
    assert found is not None
    text = found.sentence(widest, ranking, "accuracy", chosen=True)
    assert f"This is the place of {widest.label}." in text
    assert "above that" not in text


def test_few_candidates_have_no_surface(study: Study) -> None:
    networks = list(study.chosen)[:6]
    assert find(accuracies(networks, 0.01), networks, study.baseline, EFFICIENTNET) is None
