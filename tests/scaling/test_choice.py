"""The choice of coefficients, on synthetic accuracies of real candidates."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pytest

from tests.scaling.synthetic import SEARCH, accuracies
from tfeff.scaling.choice import Choice, choose, coefficients_of, ranking_rule
from tfeff.scaling.optimum import find
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


@pytest.mark.parametrize("rule", ["surface", "mean", "cheapest"])
def test_other_rules_choose_a_candidate(study: Study, rule: str) -> None:
    table = accuracies(list(study.chosen), 0.02)
    last = study.chosen[-1].id
    kept = {name: row for name, row in table.items() if name != last}
    # Without all candidates there is no surface.
    choice = chosen(study, rule, kept, {last: Elimination("slow", 2, 6)})
    ranking = choice.ranking
    costs = {network.id: network.cost.macs for network in study.chosen}
    name = min((ranking.best, *ranking.tied), key=lambda name: costs[name]) if rule == "cheapest" else ranking.best
    assert choice.coefficients == coefficients_of(next(each for each in study.chosen if each.id == name))
    assert choice.optimum is None
    assert ("No surface could be fitted" in choice.sentence) == (rule == "surface")


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
) -> Choice:
    costs = {network.id: network.cost.macs for network in study.chosen}
    ranking = rank(table, costs, rule=ranking_rule(rule))
    search = replace(SEARCH, choice=rule)
    return choose(search, study.baseline, study.chosen, eliminated, ranking, table, "accuracy")
