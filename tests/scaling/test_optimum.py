"""The optimum of a search by a surface, on synthetic accuracies of real candidates."""

from dataclasses import replace

import numpy as np
import pytest

from tests.scaling.synthetic import PEAK, SEARCH, accuracies
from tfeff.config import override
from tfeff.scaling.optimum import find
from tfeff.scaling.study import Study, prepare
from tfeff.trials.ranking import rank

EFFICIENTNET = 1.2, 1.1, 1.15


@pytest.fixture(scope="module")
def study() -> Study:
    return prepare(SEARCH)


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
