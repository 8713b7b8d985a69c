import itertools
import math

import numpy as np
import pytest

from tests.thoroughness import thorough
from tfeff import config, models
from tfeff.errors import UserError
from tfeff.scaling import candidates
from tfeff.scaling.baseline import Baseline

SMALL = Baseline(config.architecture("resnet", width=6, stage_blocks=(1, 2, 1, 1), resolution=12), 10, 3)


def identity(network):
    return network.blocks, network.widths, network.resolution


def every_network(baseline, max_blocks, max_width, max_resolution):
    """Yields all networks at least as large as the baseline in blocks, channels and pixels, with their cost."""
    start = baseline.description
    blocks, width = sum(start.stage_blocks), start.width
    for total, channels, resolution in itertools.product(
        range(blocks, max_blocks + 1), range(width, max_width + 1), range(start.resolution, max_resolution + 1)
    ):
        architecture = models.architecture(
            "resnet",
            width=channels,
            stage_blocks=start.stage_blocks,
            depth_coefficient=total / blocks,
            resolution=resolution,
        )
        yield architecture, models.estimate(architecture, num_classes=10, channels=3)


@pytest.mark.slow
@pytest.mark.parametrize(
    "bounds",
    [
        {"macs": 2.0},
        {"macs": 1.5},
        {"macs": None, "memory": 1.8},
        {"macs": 2.0, "memory": 1.6},
        {"macs": 2.0, "params": 1.3},
    ],
)
def test_all_networks_within_the_budget_are_found(bounds):
    budget = config.Budget(**{"macs": 2.0, "tolerance": 0.06} | bounds)
    found = [identity(network) for network in candidates.within_budget(SMALL, budget)]
    expected = set()
    for architecture, cost in every_network(SMALL, 16, 12, 36):
        relative = {
            "macs": cost.macs / SMALL.cost.macs,
            "memory": cost.training_peak_bytes / SMALL.cost.training_peak_bytes,
            "params": cost.params / SMALL.cost.params,
        }
        share = max(relative[name] / bound for name, bound in budget.bounds.items())
        if 0.94 <= share <= 1.06:
            expected.add((architecture.blocks, architecture.widths, architecture.resolution))
    assert len(found) == len(set(found))
    assert set(found) == expected
    assert len(expected) >= 5


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [thorough("mobilenet-v1"), "mobilenet-v2", thorough("efficientnet-b0"), "convnext-tiny"]
)
def test_candidates_of_other_baselines_are_distinct(name):
    baseline = Baseline(config.architecture(name, resolution=32), 10, 3)
    networks = candidates.within_budget(baseline, config.Budget(macs=2.0, tolerance=0.02))
    assert len({network.id for network in networks}) == len(networks) > 10
    for network in networks[:: len(networks) // 5]:
        assert network.relative["macs"] == pytest.approx(2.0, rel=0.02)
        assert min(network.depth, network.width, network.scale) >= 1
        assert (
            models.architecture(
                name,
                depth_coefficient=network.model.depth_coefficient,
                width_coefficient=network.model.width_coefficient,
                resolution=network.resolution,
            ).blocks
            == network.blocks
        )


def test_coefficients_that_round_alike_give_the_same_id():
    first, second = SMALL.network(1.21, 1.0, 12), SMALL.network(1.19, 1.02, 12)
    assert first.id == second.id
    assert first.id != SMALL.network(1.21, 1.0, 13).id


def test_the_baseline_includes_the_coefficients_of_its_config():
    scaled = Baseline(config.architecture("resnet", width=6, width_coefficient=2.0, resolution=12), 10, 3)
    assert scaled.unscaled.widths == (12, 24, 48, 96)
    assert scaled.network(1.0, 1.5, 12).widths == (18, 36, 72, 144)
    assert scaled.network(1.0, 1.5, 12).relative["params"] > 2


def test_a_spread_subset_has_large_distances():
    networks = candidates.within_budget(SMALL, config.Budget(macs=2.0, tolerance=0.1))
    chosen = candidates.spread(networks, 6)
    assert len(chosen) == 6
    assert [network for network in networks if network in chosen] == chosen

    def gap(subset):
        points = np.log([[n.depth, n.width**2, n.scale**2] for n in subset])
        return min(np.linalg.norm(a - b) for a, b in itertools.combinations(points, 2))

    rng = np.random.default_rng(0)
    drawn = [gap([networks[i] for i in rng.choice(len(networks), 6, replace=False)]) for _ in range(200)]
    assert gap(chosen) >= np.quantile(drawn, 0.95)
    assert candidates.spread(networks, 10_000) == networks


def test_an_impossible_budget_names_the_closest_networks():
    coarse = Baseline(config.architecture("resnet", width=1, stage_blocks=(1, 1, 1, 1), resolution=8), 10, 3)
    with pytest.raises(UserError) as error:
        candidates.within_budget(coarse, config.Budget(macs=1.02, tolerance=0.001))
    for word in ("resnet", "1.02 times", "within 0.1 %;", "of the budget", "blocks", "pixels", "tolerance"):
        assert word in str(error.value)


def test_a_budget_of_parameters_alone_is_refused():
    with pytest.raises(UserError, match=r"budget\.macs or budget\.memory"):
        candidates.within_budget(SMALL, config.Budget(macs=None, params=2.0))


def test_a_large_budget_includes_depth_alone():
    shallow = Baseline(config.architecture("resnet", width=6, stage_blocks=(1, 1), resolution=12), 10, 3)
    found = candidates.within_budget(shallow, config.Budget(macs=40.0, tolerance=0.02))
    assert max(network.depth for network in found if network.width == network.scale == 1.0) > 38


def test_coefficients_are_the_middles_of_intervals_that_round_alike():
    found = list(candidates.coefficients(lambda c: (math.floor(3 * c + 0.5),), maximum=3.0))
    assert found[0] == 1.0
    assert found[1:-1] == pytest.approx([4 / 3, 5 / 3, 2, 7 / 3, 8 / 3], abs=2 * candidates.STEP)
    assert [math.floor(3 * c + 0.5) for c in found] == [3, 4, 5, 6, 7, 8, 9]
