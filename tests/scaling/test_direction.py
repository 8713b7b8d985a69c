"""The best direction, on synthetic accuracies of real networks."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from scipy import special

from tests.scaling.test_choice import SEARCH as RANKED
from tfeff.config import Search, override
from tfeff.errors import UserError
from tfeff.scaling import direction
from tfeff.scaling.candidates import of_all_costs
from tfeff.scaling.choice import by_surface
from tfeff.scaling.direction import BestDirection, Trained, coefficients_in, find, limits, planner, shares_of
from tfeff.scaling.report import write_all
from tfeff.scaling.search import Findings
from tfeff.scaling.study import Study, prepare
from tfeff.trials.design import explore
from tfeff.trials.progress import Rate
from tfeff.trials.results import Job
from tfeff.trials.store import Record
from tfeff.trials.surface import plane, to_surface_scale

SEARCH = override(RANKED, ["choice=surface", "design.precision=0.1", "design.trainings=36"])
PEAK = np.array([0.35, 0.2, 0.45])
RATE = Rate(1.0, 1e-4, 1e-9)


@pytest.fixture(scope="module")
def study() -> Study:
    return prepare(SEARCH)


def accuracy(shares: tuple[float, float, float], phi: float, peak: np.ndarray, noise: float) -> float:
    away = plane(shares, peak)[0]
    return float(special.expit(0.2 * phi - 0.2 * phi**2 * float(away @ away) + noise))


VALIDATED = 10**6


def learned(study: Study, peak: np.ndarray = PEAK, noise: float = 0.01, search: Search = SEARCH) -> BestDirection:
    planned = planner(search, study.networks, RATE, study.examples)
    rng, values = np.random.default_rng(0), list[float]()

    def train(chosen, _):
        for place, _fold in chosen[len(values) :]:
            each = planned.places[place]
            values.append(accuracy(each.shares, each.phi, peak, noise * rng.normal()))
        return [to_surface_scale(value, bounded=True, count=10**6) for value in values]

    explored = explore(planned, limits(search.design), train)
    trained = [
        Trained(study.networks[place], planned.places[place].phi, (fold, 0), value)
        for (place, fold), value in zip(explored.chosen, values, strict=True)
    ]
    return find(search, study.baseline, explored, trained, "validation accuracy", bounded=True, validated=VALIDATED)


def test_networks_have_the_costs_of_all_phis(study: Study) -> None:
    ratios = np.array([network.relative["macs"] for network in study.networks])
    assert ratios[0] == 1.0
    assert study.networks[0].id == study.baseline.unscaled.id
    phis = np.log2(ratios[1:])
    assert set(phis.round()) == {1.0, 2.0, 3.0}
    assert abs(phis - phis.round()).max() <= -np.log2(1 - SEARCH.budget.tolerance) + 1e-9
    assert len({network.id for network in study.networks}) == len(study.networks)
    assert list(study.chosen) == []


def test_forecasts_follow_the_multiply_adds(study: Study) -> None:
    planned = planner(SEARCH, study.networks, RATE, (100, 30))
    for network, place in zip(study.networks, planned.places, strict=True):
        assert place.seconds == pytest.approx(1.0 + (4 * 100 + 4 * 30 / 3) * (1e-4 + 1e-9 * network.cost.macs))


def test_the_best_direction_gives_the_coefficients_and_is_reported(study: Study, tmp_path: Path) -> None:
    best = learned(study)
    assert best.shares == pytest.approx(PEAK, abs=0.06)
    assert shares_of(*best.coefficients) == pytest.approx(best.shares, abs=1e-9)
    first = study.baseline.member(study.baseline.family(best.coefficients), 1.0)
    assert first.relative["macs"] == pytest.approx(2.0, rel=0.2)  # of few whole blocks, channels and pixels

    choice = by_surface(best)
    records = [
        Record(
            Job(each.network.id, *each.block, 4),
            "done",
            0,
            None,
            1.0,
            None,
            [{"epoch": 4, "validation_accuracy": each.value}],
        )
        for each in best.trained
    ]
    found = Findings(study, choice, study.baseline.family(choice.coefficients, choice.sentence), [], None, {})
    assert write_all(found, records, tmp_path, "python -m tfeff.search")
    written = json.loads((tmp_path / "result.json").read_text())
    assert [written[key] for key in ("alpha", "beta", "gamma")] == pytest.approx(best.coefficients)
    surface = written["surface"]
    assert list(surface["shares"].values()) == pytest.approx(best.shares)
    assert surface["region_share"] == best.state.extent == surface["region_shares"][-1]
    assert surface["ended_by"] == "precision"
    assert [row["validation accuracy"] for row in surface["trainings"]] == [each.value for each in best.trained]
    page = (tmp_path / "report.html").read_text()
    assert "The best direction at the cost of φ = 3" in page
    assert (tmp_path / "figures" / "direction.svg").exists()


def test_the_sentences_say_how_sure_the_direction_is(study: Study) -> None:
    best = learned(study)
    text = " ".join(best.sentences)
    assert f"α {best.coefficients[0]:.3f}, β {best.coefficients[1]:.3f}, γ {best.coefficients[2]:.3f}" in text
    assert f"(posterior mean after {len(best.trained)} trainings of {len(best.trained)} networks)" in text
    assert "The probability that a single dimension is best is 0 %" in text
    assert f"covers {100 * best.state.extent:.0f} % of the plane of directions" in text
    assert "excludes every single dimension" in text
    assert "because the region is small enough (design.precision = 0.1)" in text
    inside = best.state.surface.contains(best.reference)
    assert f"it {'contains' if inside else 'excludes'} the published proportions (1.2, 1.1, 1.15)" in text


def test_directions_are_compared_at_equal_cost(study: Study) -> None:
    rows = {row["direction"]: row for row in learned(study, noise=1e-4).rows}
    assert list(rows) == ["answer", "published proportions", "depth alone", "width alone", "resolution alone"]
    for index, name in enumerate(("depth alone", "width alone", "resolution alone")):
        expected = accuracy(tuple(PEAK), 3.0, PEAK, 0.0) - accuracy(tuple(np.eye(3)[index]), 3.0, PEAK, 0.0)
        assert rows[name]["answer minus it"] == pytest.approx(expected, abs=0.01)
        assert rows[name]["95 % from"] < expected < rows[name]["to"]
        assert rows[name]["in the region"] == "no"


def test_a_single_dimension_is_the_answer_in_those_words(study: Study) -> None:
    best = learned(study, peak=np.array([-0.5, 2.0, -0.5]))
    assert best.single == "width"
    alpha, beta, gamma = best.coefficients
    assert (alpha, gamma) == (1.0, 1.0)
    assert beta > 1.3
    sentence = by_surface(best).sentence
    assert sentence.startswith("A single dimension is best at the cost of φ = 3: scale width alone (α 1.000, β ")
    assert "contains width alone" in sentence
    assert "does not scale" not in sentence


def test_few_trainings_determine_no_region(study: Study) -> None:
    best = learned(study, search=override(SEARCH, ["design.trainings=6"]))
    assert best.state.extent == 1.0
    assert best.region is None
    text = " ".join(best.sentences)
    assert "So few trainings determine no confidence region." in text
    assert "after design.trainings = 6 trainings" in text
    assert all("answer minus it" not in row for row in best.rows)


@pytest.mark.parametrize(("ratio", "phi"), [(2.0, 1.0), (4.0, 1.0), (2.0, 2.0), (2.0, 3.0)])
def test_the_member_has_the_cost_of_its_phi(study: Study, ratio: float, phi: float) -> None:
    coefficients = coefficients_in(PEAK, study.baseline, ratio, phi)
    assert shares_of(*coefficients) == pytest.approx(PEAK)
    member = study.baseline.member(study.baseline.family(coefficients), phi)
    assert member.relative["macs"] == pytest.approx(ratio**phi, rel=0.1)


def test_a_search_whose_trainings_all_failed_ends_with_a_message(study: Study) -> None:
    best = learned(study, search=override(SEARCH, ["design.trainings=6"]))
    failed = [Trained(each.network, each.phi, each.block, None) for each in best.trained]
    with pytest.raises(UserError, match="every training of the search failed"):
        find(SEARCH, study.baseline, best.explored, failed, "accuracy", bounded=True, validated=VALIDATED)
    some = [*failed[:1], *best.trained[1:]]
    (sentence, *_) = find(
        SEARCH, study.baseline, best.explored, some, "accuracy", bounded=True, validated=VALIDATED
    ).sentences
    assert "after 5 trainings of 5 networks, without 1 that failed" in sentence


def test_the_variance_that_validation_images_explain_is_said(study: Study) -> None:
    best = learned(study, noise=0.02)
    images = round(4 / 0.02**2)  # with them, accuracies near 0.5 have a standard deviation of 0.02 on the logit scale
    few, many = (dataclasses.replace(best, validated=count) for count in (images, 100 * images))
    assert 0.6 < few.sampling <= 1.0
    assert many.sampling == pytest.approx(few.sampling / 100, rel=0.5)
    assert f"due to its {images:,} validation images" in few.sentences[-1]
    assert "validation images" not in " ".join(many.sentences)


def test_a_search_without_time_for_a_training_says_so(study: Study) -> None:
    with pytest.raises(
        UserError, match=r"design.minutes is 0\.001; it should be more: the first training would exceed"
    ):
        learned(study, search=override(SEARCH, ["design.minutes=0.001"]))


def test_each_cost_needs_a_network(study: Study) -> None:
    budget = override(SEARCH, ["budget.macs=1.1", "budget.tolerance=0.0001"]).budget
    with pytest.raises(UserError, match=r"budget: no resnet costs 1\.1 times the baseline's macs"):
        of_all_costs(study.baseline, budget, (1.0,))


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["budget.memory=2"], r"budget\.macs is 2\.0; it should be the only bound, or set choice=mean"),
        (["allocation.name=halving"], r"allocation\.name is 'halving'; it should be full, or set choice=mean"),
        (["design.phis="], r"design\.phis is \(\); it should be one or more numbers above 0"),
        (["design.precision=1"], r"design\.precision is 1\.0; it should be 0 or more and below 1"),
        (["design.trainings=1"], r"design\.trainings is 1"),
        (["design.minutes=0"], r"design\.minutes is 0"),
    ],
)
def test_wrong_settings_end_with_a_message(overrides: list[str], words: str) -> None:
    with pytest.raises(UserError, match=words):
        override(SEARCH, overrides)


def test_the_directions_are_named_in_the_order_of_the_shares() -> None:
    assert direction.SINGLE == ("depth", "width", "resolution")
    assert shares_of(2.0, 1.0, 1.0) == (1.0, 0.0, 0.0)
