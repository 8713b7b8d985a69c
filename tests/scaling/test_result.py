"""Rows of a search's findings, compared with SciPy's statistics on synthetic accuracies."""

import dataclasses

import numpy as np
import pytest
from scipy import stats

from tests.trials.tables import table_of
from tfeff import config
from tfeff.config.family import Family
from tfeff.scaling.choice import by_mean
from tfeff.scaling.latency import Latency
from tfeff.scaling.members import Point, points
from tfeff.scaling.result import Result
from tfeff.scaling.search import Findings
from tfeff.scaling.study import prepare
from tfeff.trials.allocation import Elimination
from tfeff.trials.intervals import summaries
from tfeff.trials.ranking import rank
from tfeff.trials.results import Job
from tfeff.trials.store import Record
from tfeff.trials.two_way import dunnett_quantile

SEARCH = config.Search(
    experiment=config.Experiment(
        model=config.architecture("resnet", width=4, stage_blocks=(1, 1), resolution=8),
        data=config.Data(source="embedded:digits", channels=1),
        training=config.Training(epochs=4, batch_size=64),
    ),
    choice="mean",
    budget=config.Budget(macs=2.0, tolerance=0.2, candidates=4),
    folds=config.Folds(count=3, examples=200, seeds=2),
    members=config.Members(phis=(2.0,)),
)
FOLDS, FRESH, SEEDS = range(3), range(3, 6), range(2)


@pytest.fixture(scope="module")
def findings():
    study = prepare(SEARCH)
    *finalists, eliminated = study.chosen
    rng = np.random.default_rng(0)
    family = Family(baseline=study.baseline.unscaled.model, alpha=1.2, beta=1.1, gamma=1.25)
    compared = points(study.baseline, family, SEARCH.members)
    accuracy = {}
    for networks, folds in ((finalists, FOLDS), ({p.network.id: p.network for p in compared}.values(), FRESH)):
        for network in networks:
            for fold in folds:
                for seed in SEEDS:
                    accuracy[Job(network.id, fold, seed, 4)] = rng.normal(0.6 + 0.01 * network.relative["macs"], 0.02)
    for fold in FOLDS:
        for seed in SEEDS:
            accuracy[Job(eliminated.id, fold, seed, 2)] = 0.3
    records = [
        Record(
            job,
            "done",
            0,
            None,
            10.0,
            5_000_000 + job.fold,
            [{"epoch": job.epochs, "train_loss": 1.0, "train_accuracy": value + 0.1, "validation_accuracy": value}],
        )
        for job, value in accuracy.items()
    ]
    table = {network.id: _folds(accuracy, network.id, 4) for network in finalists}
    ranking = rank(
        {name: {(fold, 0): row[fold] for fold in FOLDS} for name, row in table.items()}, dict.fromkeys(table, 1.0)
    )
    found = Findings(
        study=study,
        choice=by_mean(study.chosen, {eliminated.id: Elimination("slow", 2)}, ranking),
        family=family,
        points=compared,
        plain=None,
        latencies={point.network.id: Latency(9.0, 1 + index) for index, point in enumerate(compared)},
    )
    return Result(found, records), accuracy, eliminated


def _folds(accuracy, name, epochs, folds=FOLDS):
    """Returns the mean over the seeds of each fold."""
    return [np.mean([accuracy[Job(name, fold, seed, epochs)] for seed in SEEDS]) for fold in folds]


def test_candidates_share_a_variance_with_those_trained_as_long(findings):
    result, accuracy, eliminated = findings
    finished = [network.id for network in result.study.chosen if network.id != eliminated.id]
    values = np.array([_folds(accuracy, name, 4) for name in finished])
    expected = dict(zip(finished, summaries(table_of(values), bounded=True).values(), strict=True))
    for network, row in zip(result.study.chosen, result.candidates, strict=True):
        values = _folds(accuracy, network.id, 2 if network.id == eliminated.id else 4)
        assert row["mean"] == pytest.approx(np.mean(values))
        if network.id == eliminated.id:
            assert (row["standing"], row["reason"], row["epochs"]) == ("eliminated", "slow", 12)
            continue
        assert row["standard_error"] == pytest.approx(stats.sem(values))
        assert (row["low"], row["high"]) == (expected[network.id].low, expected[network.id].high)
        assert (row["epochs"], row["trials"]) == (24, 6)


def test_the_table_of_members_has_means_over_their_own_folds(findings):
    result, accuracy, _ = findings
    assert [row["network"] for row in result.members][:2] == ["baseline", "depth alone"]
    for point, row in zip(result.findings.points, result.members, strict=True):
        mean = np.mean(_folds(accuracy, point.network.id, 4, FRESH))
        assert (row["validation accuracy"], row["training accuracy"]) == pytest.approx((mean, mean + 0.1))
        assert row["x baseline"] == pytest.approx(point.network.cost.macs / result.study.baseline.cost.macs)


def test_members_are_compared_on_their_own_folds_all_at_once(findings):
    result, accuracy, _ = findings
    points = {point.method: point.network.id for point in result.findings.points}
    values = np.array([_folds(accuracy, name, 4, FRESH) for name in points.values()])
    # The two-way layout of all networks and the folds, and Dunnett's quantile for three comparisons.
    residuals = values - values.mean(0) - values.mean(1, keepdims=True) + values.mean()
    degrees = (len(points) - 1) * 2
    error = np.sqrt((residuals**2).sum() / degrees * 2 / 3)
    assert [row["against"] for row in result.comparison.rows] == ["depth alone", "width alone", "resolution alone"]
    for row in result.comparison.rows:
        other = list(points).index(row["against"].removesuffix(" alone"))
        mean = values[list(points).index("compound")].mean() - values[other].mean()
        assert row["advantage"] == pytest.approx(mean)
        assert row["to"] == pytest.approx(mean + dunnett_quantile(3, degrees, 0.5) * error)
        assert row["lower bound"] == pytest.approx(mean - dunnett_quantile(3, degrees, 0.5, sides=1) * error)
        verdict = "better" if row["lower bound"] > 0 else "worse" if row["to"] < 0 else None
        assert row["verdict"] == (f"compound is {verdict}" if verdict else "not separable")
    assert [row["folds"] for row in result.comparison.power] == [2, 3, 4, 6, 8, 12, 16]


def test_compound_members_are_compared_with_the_baseline(findings):
    result, accuracy, _ = findings
    points = {point.method: point.network.id for point in result.findings.points}
    values = np.array([_folds(accuracy, name, 4, FRESH) for name in points.values()])
    residuals = values - values.mean(0) - values.mean(1, keepdims=True) + values.mean()
    degrees = (len(points) - 1) * 2
    half = stats.t.ppf(0.975, degrees) * np.sqrt((residuals**2).sum() / degrees * 2 / 3)
    compound, baseline = (values[list(points).index(name)].mean() for name in ("compound", "baseline"))
    (row,) = result.comparison.gains
    assert (row["φ"], row["gain"]) == (2.0, pytest.approx(compound - baseline))
    assert (row["95 % from"], row["to"]) == pytest.approx((row["gain"] - half, row["gain"] + half))


def test_width_and_resolution_together_are_compared_on_their_own(findings):
    """The declared comparisons keep their critical value for three."""
    result, *_ = findings
    network = next(point.network for point in result.findings.points if point.method == "depth")
    both = Point("width+resolution", 2.0, network)
    more = Result(dataclasses.replace(result.findings, points=[*result.findings.points, both]), result.records.all)
    assert more.comparison.rows[:3] == result.comparison.rows
    assert more.comparison.power == result.comparison.power
    alone, row = result.comparison.rows[0], more.comparison.rows[3]
    assert row["advantage"] == alone["advantage"]
    assert row["to"] - row["advantage"] < alone["to"] - alone["advantage"]


def test_a_comparison_without_results_is_not_decided(findings):
    result, *_ = findings
    depth = next(point.network.id for point in result.findings.points if point.method == "depth")
    records = [record for record in result.records.all if record.job.candidate != depth]
    rows = {row["against"]: row for row in Result(result.findings, records).comparison.rows}
    assert rows["depth alone"]["verdict"].startswith("not decided")
    assert "lower bound" in rows["width alone"]
    assert "lower bound" not in rows["depth alone"]


def test_slopes_are_lines_through_each_fold(findings):
    result, accuracy, _ = findings
    points = {point.method: point.network for point in result.findings.points}
    rows = {row["method"]: row for row in result.comparison.slopes}
    lines = {}
    for method in ("width", "compound"):
        ends = [_folds(accuracy, points[name].id, 4, FRESH) for name in ("baseline", method)]
        lines[method] = np.diff(ends, axis=0)[0] / np.log2(points[method].relative["macs"])
    test = stats.ttest_rel(lines["compound"], lines["width"])
    assert rows["compound"]["growth per doubling"] == pytest.approx(lines["compound"].mean())
    row = rows["width alone"]
    assert (row["from"], row["up to"]) == pytest.approx(tuple(test.confidence_interval(0.95)))


def test_networks_that_train_worse_than_the_baseline_are_marked_as_not_optimized(findings):
    result, *_ = findings
    depth = next(point.network.id for point in result.findings.points if point.method == "depth")
    records = [
        dataclasses.replace(
            record, rows=[{**row, "train_loss": 2.0 if record.job.candidate == depth else 1.0} for row in record.rows]
        )
        for record in result.records.all
    ]
    rows = {row["against"]: row for row in Result(result.findings, records).comparison.rows}
    assert "not both optimized" in rows["depth alone"]["verdict"]
    assert [rows[name]["optimized"] for name in ("depth alone", "width alone")] == [False, True]


def test_networks_with_a_failed_trial_are_marked_as_not_optimized(findings):
    result, *_ = findings
    depth = next(point.network.id for point in result.findings.points if point.method == "depth")
    records = [
        dataclasses.replace(record, state="failed")
        if record.job.block == (3, 0) and record.job.candidate == depth
        else record
        for record in result.records.all
    ]
    rows = {row["against"]: row for row in Result(result.findings, records).comparison.rows}
    assert [rows[name]["optimized"] for name in ("depth alone", "width alone")] == [False, True]


def test_a_failed_trial_of_another_length_does_not_count_for_the_member(findings):
    result, *_ = findings
    depth = next(point.network.id for point in result.findings.points if point.method == "depth")
    short = Record(Job(depth, 3, 0, 2), "failed", 3, "lost", None, None, [])
    more = Result(result.findings, [*result.records.all, short])
    assert more.comparison.rows == result.comparison.rows


def test_networks_without_a_common_fold_are_not_compared(findings):
    result, *_ = findings
    kept = {"depth": {3}, "compound": {4, 5}}
    folds = {point.network.id: kept[point.method] for point in result.findings.points if point.method in kept}
    records = [
        record
        if record.job.fold in folds.get(record.job.candidate, FRESH)
        else dataclasses.replace(record, state="failed")
        for record in result.records.all
    ]
    found = Result(result.findings, records).to_json()
    rows = {row["against"]: row for row in found["comparisons"]}
    assert rows["depth alone"]["verdict"].startswith("not decided")
    assert "lower bound" in rows["width alone"]
    compared = {row["method"]: "compound minus it" in row for row in found["slopes"]}
    assert compared == {"depth alone": False, "width alone": True, "resolution alone": True, "compound": False}


def test_trainings_of_an_earlier_search_in_the_workdir_do_not_count(findings):
    result, *_ = findings
    foreign = dataclasses.replace(result.records.all[0], job=Job("b9-p999-r99", 0, 0, 4), state="failed", seconds=1e6)
    again = Result(result.findings, [*result.records.all, foreign])
    assert again.to_json() == result.to_json()


def test_learning_rates_of_range_tests_are_listed_with_the_networks(findings):
    result, *_ = findings
    rates = {point.network.id: 0.125 for point in result.findings.points}
    again = Result(dataclasses.replace(result.findings, learning_rates=rates), result.records.all)
    assert {row["learning rate"] for row in again.members} == {"0.125"}
    assert again.rates == []


def test_the_family_always_has_the_baseline_and_the_member_at_phi_1(findings):
    result, *_ = findings
    assert [row["φ"] for row in result.family] == ["0", "1", "2"]
    # Latency is the ratio times the baseline's seconds.
    index = [point.method for point in result.findings.points].index("compound")
    assert result.family[2]["latency, ms"] == pytest.approx(9000.0 * (1 + index))
    assert result.family[1]["latency, ms"] is None


def test_memory_is_estimated_and_measured(findings):
    result, *_ = findings
    row = result.memory[0]
    network = result.study.chosen[0]
    assert row["estimated, MB"] == pytest.approx(network.cost.training_peak_bytes * row["batch"] / 1e6)
    assert row["measured, MB"] == pytest.approx(5.0)
