"""Whole detectors as the networks of a search: backbone, neck and heads are scaled."""

import dataclasses
import itertools

import pytest

from tests.thoroughness import only_thorough
from tfeff import config, models, tasks
from tfeff.config.family import Family
from tfeff.errors import UserError
from tfeff.scaling import candidates
from tfeff.scaling.baseline import Baseline
from tfeff.scaling.choice import coefficients_of

TASK = config.Yolo(neck=config.Neck(name="fpn", levels=("P2", "P3"), channels=8, repeats=1), head_repeats=1)
MODEL = config.Model(name="resnet", width=4, stage_blocks=(1, 1, 1, 1), resolution=16)
BASELINE = Baseline(MODEL, 3, 3, TASK)


def test_the_cost_is_that_of_the_built_detector() -> None:
    network = BASELINE.network(2.0, 1.5, 20, neck_depth=2.0, neck_width=2.0)
    assert network.neck == (16, 2, 2)
    options = network.model.options() | {"resolution": network.model.resolution}
    built = tasks.create(network.task).network(network.model.name, num_classes=3, channels=3, **options)
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
    model = config.Model(family=str(tmp_path), phi=1.0)
    detector = dataclasses.replace(TASK, neck=config.Neck(), head_repeats=None)
    settings = config.resolve_family(config.Experiment(model=model, task=detector))
    described = tasks.create(settings.task).describe(
        settings.model.name, resolution=settings.model.resolution, **settings.model.options()
    )
    assert models.estimate(described, num_classes=3) == winner.cost
    assert described.neck_sizes == winner.neck == (16, 2, 2)
    assert Family.load(tmp_path).neck_coefficients(2.0) == {"neck_depth": 4.0, "neck_width": 2.25}

    with pytest.raises(UserError, match=r"task\.neck\.name: model\.family determines it"):
        config.resolve_family(config.Experiment(model=model, task=TASK))
    with pytest.raises(UserError, match="a family of detectors"):
        config.resolve_family(config.Experiment(model=model))
