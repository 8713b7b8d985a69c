"""The optimum of a search by a surface, on synthetic accuracies of real candidates."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from tfeff import config
from tfeff.reporting.ternary import shares
from tfeff.scaling.baseline import ScaledNetwork
from tfeff.scaling.optimum import find
from tfeff.scaling.report import write_all
from tfeff.scaling.result import Result
from tfeff.scaling.search import Findings
from tfeff.scaling.study import Study, family_of, prepare
from tfeff.trials.allocation import Elimination
from tfeff.trials.ranking import rank
from tfeff.trials.results import Job
from tfeff.trials.store import Record

PEAK = np.array([0.35, 0.2])
SEARCH = config.Search(
    experiment=config.Experiment(
        model=config.Model(name="resnet", width=8, stage_blocks=(2, 2), resolution=16),
        data=config.Data(source="embedded:digits", channels=1),
        training=config.Training(epochs=4, batch_size=64),
    ),
    budget=config.Budget(macs=2.0, tolerance=0.1, candidates=16),
    folds=config.Folds(count=3, examples=200),
)


@pytest.fixture(scope="module")
def study() -> Study:
    return prepare(SEARCH)


def accuracies(networks: list[ScaledNetwork], noise: float) -> dict[str, dict[tuple[int, int], float]]:
    rng, table = np.random.default_rng(0), {}
    for network in networks:
        row = {"depth": network.depth, "width": network.width, "resolution": network.scale}
        away = shares([row])[0][:2] - PEAK
        mean = 0.7 - 0.2 * float(away @ away) + 0.1 * float(np.log(network.relative["macs"]))
        table[network.id] = {(fold, 0): mean + float(rng.normal(0, noise)) for fold in range(3)}
    return table


def test_the_highest_point_is_found_and_multiplies_to_the_cost(study: Study) -> None:
    networks = list(study.chosen)
    found = find(accuracies(networks, 0.0), networks)
    assert found is not None
    alpha, beta, gamma = found.coefficients
    np.testing.assert_allclose(found.shares[:2], PEAK, atol=1e-4)
    assert alpha * beta**2 * gamma**2 == pytest.approx(np.mean([network.nominal for network in networks]))
    assert found.verdict(alpha, beta, gamma) == "it contains"
    assert found.verdict(1.5, 1.05, 1.05) == "it excludes"


def test_the_sentence_says_what_the_region_contains(study: Study) -> None:
    networks = list(study.chosen)
    table = accuracies(networks, 0.005)
    found = find(table, networks)
    assert found is not None
    ranking = rank(table, {network.id: 1.0 for network in networks})
    winner = next(network for network in networks if network.id == ranking.chosen)
    text = found.sentence(winner, ranking, "accuracy")
    alpha, beta, gamma = found.coefficients
    assert f"α {alpha:.3f}, β {beta:.3f}, γ {gamma:.3f}" in text
    assert f"{found.verdict(1.2, 1.1, 1.15)} the proportions of EfficientNet" in text
    half = np.median([each.high - each.mean for each in ranking.differences.values()])
    assert f"from a difference of about {half:.3f} on" in text


def test_a_search_reports_the_surface_unless_candidates_were_eliminated(study: Study, tmp_path: Path) -> None:
    networks = list(study.chosen)
    table = accuracies(networks, 0.005)
    records = [
        Record(Job(name, *block, 4), "done", 0, None, 1.0, None, [{"epoch": 4, "validation_accuracy": value}])
        for name, row in table.items()
        for block, value in row.items()
    ]
    ranking = rank(table, {network.id: 1.0 for network in networks})
    winner = next(network for network in networks if network.id == ranking.chosen)
    family = family_of(study.baseline, winner)
    found = Findings(study, {}, ranking, winner, family, [], None, {})
    text = write_all(found, records, tmp_path, "python -m tfeff.search")
    written = json.loads((tmp_path / "result.json").read_text())["surface"]
    expected = find(table, networks)
    assert expected is not None
    assert (written["alpha"], written["beta"], written["gamma"]) == pytest.approx(expected.coefficients)
    assert "A quadratic surface through all 16 candidates" in (tmp_path / "report.html").read_text()
    assert text
    eliminated = dataclasses.replace(found, eliminated={networks[-1].id: Elimination("slow", 2, 6)})
    assert Result(eliminated, records).optimum is None


def test_few_candidates_have_no_surface(study: Study) -> None:
    networks = list(study.chosen)[:6]
    assert find(accuracies(networks, 0.01), networks) is None
