"""Scaled networks: whole detectors, with their necks and heads; and the experiments that train networks."""

import dataclasses
import itertools

import pytest

from tests.thoroughness import only_thorough
from tfeff import config, models, tasks
from tfeff.config.family import Family
from tfeff.errors import UserError
from tfeff.scaling import candidates
from tfeff.scaling.baseline import Baseline, batch_size, candidate, experiment, stored_networks
from tfeff.scaling.choice import coefficients_of
from tfeff.scaling.search import open_store

NETWORK = config.detector("yolo", neck="fpn", levels=("P2", "P3"), neck_channels=8, head_repeats=1)
TASK = config.YoloSettings(network=NETWORK)
MODEL = config.architecture("resnet", width=4, stage_blocks=(1, 1, 1, 1), resolution=16)
BASELINE = Baseline(MODEL, 3, 3, TASK)


def test_the_cost_is_that_of_the_built_detector() -> None:
    network = BASELINE.network(2.0, 1.5, 20, neck_depth=2.0, neck_width=2.0)
    assert network.neck == (16, 2, 2)
    described = network.task.describe(network.model)
    built = tasks.create(network.task).network(described, num_classes=3, channels=3)
    counted = models.complexity.count(built)
    assert (counted.macs, counted.params) == (network.cost.macs, network.cost.params)
    assert network.label == "d 2.00 w 1.50 r 1.25 neck d 2.00 w 2.00"


@only_thorough
def test_all_detectors_within_a_budget_are_found() -> None:
    budget = config.Budget(macs=1.25, tolerance=0.05)
    networks = candidates.within_budget(BASELINE, budget)
    # Every combination on a grid that holds each rounding once and extends beyond the budget.
    expected = set()
    quarters = [1 + 0.25 * step for step in range(12)]
    for depth, width, neck_depth, neck_width in itertools.product(quarters, quarters, range(1, 6), range(1, 6)):
        factors = {"neck_depth": float(neck_depth), "neck_width": float(neck_width)}
        for resolution in range(16, 32):
            network = BASELINE.network(depth, width, resolution, **factors)
            if network.relative["macs"] > 1.25 * 1.05:
                break
            if network.relative["macs"] >= 1.25 * 0.95:
                expected.add(network.id)
    assert {network.id for network in networks} == expected
    assert len({network.neck for network in networks}) > 1


def test_candidates_differ_in_every_dimension() -> None:
    found = candidates.within_budget(BASELINE, config.Budget(macs=1.6, tolerance=0.05))
    chosen = candidates.spread(found, 12)
    for dimension in ("depth", "width", "resolution", "neck_depth", "neck_width"):
        assert len({getattr(network, dimension) for network in chosen}) > 1, dimension


def test_a_member_of_a_family_is_the_scaled_detector(tmp_path) -> None:
    winner = BASELINE.network(1.25, 1.5, 20, neck_depth=2.0, neck_width=1.5)
    (tmp_path / "coefficients.json").write_text(BASELINE.family(coefficients_of(winner)).to_json())
    member = config.Member(family=str(tmp_path), phi=1.0)
    settings = config.resolve_member(config.Experiment(member=member, task=config.YoloSettings()))
    described = settings.description
    assert models.estimate(described, num_classes=3) == winner.cost
    assert described.neck_sizes == winner.neck == (16, 2, 2)
    assert Family.load(tmp_path).neck_coefficients(2.0) == {"neck_depth": 4.0, "neck_width": 2.25}

    assert config.resolve_member(config.Experiment(member=member, task=TASK)) == settings
    other = config.YoloSettings(network=dataclasses.replace(NETWORK, neck_channels=16))
    with pytest.raises(UserError, match=r"task\.network\.neck_channels: member\.family determines it"):
        config.resolve_member(config.Experiment(member=member, task=other))
    with pytest.raises(UserError, match="a family of detectors"):
        config.resolve_member(config.Experiment(member=member))


SEARCH = config.Search(
    experiment=config.Experiment(
        seed=5,
        model=config.architecture("resnet", width=8, resolution=16),
        optimizer=config.Optimizer(learning_rate=0.2),
        training=config.Training(batch_size=220),
    ),
)
CLASSIFIER = Baseline(SEARCH.experiment.model, 10, 3)
TWICE = CLASSIFIER.network(1.25, 1.125, 18)  # 1.25 · 1.265625 · 1.265625 = 2.00226


def test_an_experiment_has_the_network_and_its_batch_size_and_learning_rate():
    scaled = experiment(SEARCH, CLASSIFIER, TWICE)
    assert scaled.model == TWICE.model
    assert scaled.training.batch_size == 110
    assert scaled.optimizer.learning_rate == pytest.approx(0.1)
    assert (scaled.seed, scaled.data) == (5, SEARCH.experiment.data)


@pytest.mark.parametrize(("rule", "size"), [("product", 110), ("fixed", 220), ("memory", None)])
def test_batch_size_rules(rule, size):
    search = config.override(SEARCH, [f"trials.batch_size={rule}"])
    scaled = batch_size(search, CLASSIFIER, TWICE)
    if size is None:
        baseline_bytes = 220 * CLASSIFIER.cost.training_peak_bytes
        assert scaled * TWICE.cost.training_peak_bytes == pytest.approx(baseline_bytes, rel=0.01)
    else:
        assert scaled == size
    assert batch_size(search, CLASSIFIER, CLASSIFIER.unscaled) == 220


@pytest.mark.parametrize(
    ("rule", "rate"), [("linear", 0.1), ("sqrt", 0.2 / 2**0.5), ("fixed", 0.2), ("range_test", 0.2)]
)
def test_learning_rate_rules(rule, rate):
    search = config.override(SEARCH, [f"trials.learning_rate={rule}"])
    assert experiment(search, CLASSIFIER, TWICE).optimizer.learning_rate == pytest.approx(rate)


def test_batch_sizes_are_multiples_of_the_accumulation_steps():
    search = config.override(SEARCH, ["experiment.training.accumulation_steps=4"])
    assert batch_size(search, CLASSIFIER, TWICE) % 4 == 0


def test_an_empty_batch_is_refused():
    search = config.override(SEARCH, ["experiment.training.batch_size=1"])
    with pytest.raises(UserError, match=r"training\.batch_size"):
        batch_size(search, CLASSIFIER, CLASSIFIER.network(4.0, 1.0, 16))


def test_stored_networks_keep_the_coefficients_they_were_trained_with(tmp_path):
    first, same = CLASSIFIER.network(1.2, 1.0, 20), CLASSIFIER.network(1.22, 1.0, 20)
    other = Baseline(config.architecture("resnet", width=8, resolution=16, batch_norm=False), 10, 3)
    assert first.id == same.id
    with open_store(tmp_path, SEARCH) as store:
        store.add_candidates([candidate(SEARCH, CLASSIFIER, first)])
        store.add_candidates([candidate(SEARCH, other, other.unscaled)])
        assert stored_networks(store, CLASSIFIER) == {first.id: first}
