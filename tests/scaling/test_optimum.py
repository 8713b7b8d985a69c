"""The optimum of a search by a surface, on synthetic accuracies of real candidates."""

import numpy as np
import pytest

from tests.scaling.synthetic import PEAK, SEARCH, accuracies
from tfeff.scaling.optimum import Optimum, find
from tfeff.scaling.study import Study, prepare
from tfeff.trials.ranking import rank

EFFICIENTNET = 1.2, 1.1, 1.15


@pytest.fixture(scope="module")
def study() -> Study:
    return prepare(SEARCH)


def test_the_highest_point_is_found_and_multiplies_to_the_cost(study: Study) -> None:
    networks = list(study.chosen)
    found = find(accuracies(networks, 0.0), networks, EFFICIENTNET)
    assert found is not None
    alpha, beta, gamma = found.coefficients
    np.testing.assert_allclose(found.shares[:2], PEAK, atol=1e-4)
    assert alpha * beta**2 * gamma**2 == pytest.approx(np.mean([network.nominal for network in networks]))
    assert Optimum(found.surface, found.cost, (alpha, beta, gamma)).verdict == "it contains"
    assert Optimum(found.surface, found.cost, (1.5, 1.05, 1.05)).verdict == "it excludes"
    np.testing.assert_allclose(Optimum(found.surface, found.cost, (2, 2, 2)).reference_shares, [0.2, 0.4, 0.4])


def test_the_sentence_says_what_the_region_contains(study: Study) -> None:
    networks = list(study.chosen)
    table = accuracies(networks, 0.005)
    found = find(table, networks, EFFICIENTNET)
    assert found is not None
    ranking = rank(table, {network.id: 1.0 for network in networks})
    winner = next(network for network in networks if network.id == ranking.chosen)
    text = found.sentence(winner, ranking, "accuracy", chosen=False)
    alpha, beta, gamma = found.coefficients
    assert f"α {alpha:.3f}, β {beta:.3f}, γ {gamma:.3f}" in text
    assert f"{found.verdict} the proportions of the reference (1.2, 1.1, 1.15)." in text
    half = np.median([each.high - each.mean for each in ranking.differences.values()])
    assert f"from a difference of about {half:.3f} on" in text


def test_few_candidates_have_no_surface(study: Study) -> None:
    networks = list(study.chosen)[:6]
    assert find(accuracies(networks, 0.01), networks, EFFICIENTNET) is None
