import itertools
import math

import numpy as np
import pytest

from tfeff import config, models
from tfeff.errors import UserError
from tfeff.scaling import candidates
from tfeff.scaling.baseline import Baseline

SMALL = Baseline(config.Model(name="resnet", width=6, stage_blocks=(1, 2, 1, 1), resolution=12), 10, 3)


def identity(network):
    return network.blocks, network.widths, network.resolution


def every_network(baseline, most_blocks, most_width, most_resolution):
    """All networks of whole blocks, channels and pixels above the baseline, with their multiply-adds."""
    start = baseline.architecture
    blocks, width = sum(start.stage_blocks), start.width
    for total, channels, resolution in itertools.product(
        range(blocks, most_blocks + 1), range(width, most_width + 1), range(start.resolution, most_resolution + 1)
    ):
        made = models.architecture(
            "resnet",
            width=channels,
            stage_blocks=start.stage_blocks,
            depth_coefficient=total / blocks,
            resolution=resolution,
        )
        yield made, models.estimate(made, num_classes=10, channels=3)


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
    for made, cost in every_network(SMALL, 16, 12, 36):
        relative = {
            "macs": cost.macs / SMALL.cost.macs,
            "memory": cost.training_peak_bytes / SMALL.cost.training_peak_bytes,
            "params": cost.params / SMALL.cost.params,
        }
        spent = max(relative[name] / bound for name, bound in budget.bounds.items())
        if 0.94 <= spent <= 1.06:
            expected.add((made.blocks, made.widths, made.resolution))
    assert len(found) == len(set(found))
    assert set(found) == expected
    assert len(expected) >= 5


@pytest.mark.parametrize("name", ["mobilenet-v1", "mobilenet-v2", "efficientnet-b0"])
def test_other_baselines_have_distinct_candidates_too(name):
    baseline = Baseline(config.Model(name=name, resolution=32), 10, 3)
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


def test_a_network_is_named_by_what_it_is():
    first, second = SMALL.network(1.21, 1.0, 12), SMALL.network(1.19, 1.02, 12)
    assert first.id == second.id
    assert first.id != SMALL.network(1.21, 1.0, 13).id


def test_the_baseline_keeps_the_coefficients_of_its_config():
    scaled = Baseline(config.Model(name="resnet", width=6, width_coefficient=2.0, resolution=12), 10, 3)
    assert scaled.start.widths == (12, 24, 48, 96)
    assert scaled.network(1.0, 1.5, 12).widths == (18, 36, 72, 144)
    assert scaled.network(1.0, 1.5, 12).relative["params"] > 2


def test_a_spread_subset_is_far_apart():
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


def test_an_impossible_budget_names_the_nearest_networks():
    coarse = Baseline(config.Model(name="resnet", width=1, stage_blocks=(1, 1, 1, 1), resolution=8), 10, 3)
    with pytest.raises(UserError) as error:
        candidates.within_budget(coarse, config.Budget(macs=1.02, tolerance=0.001))
    for word in ("resnet", "1.02 times", "of the budget", "blocks", "pixels", "tolerance"):
        assert word in str(error.value)


def test_parameters_alone_bound_no_resolution():
    with pytest.raises(UserError, match=r"budget\.macs or budget\.memory"):
        candidates.within_budget(SMALL, config.Budget(macs=None, params=2.0))


def test_coefficients_are_the_middles_of_what_rounds_alike():
    found = list(candidates.coefficients(lambda c: (math.floor(3 * c + 0.5),), most=3.0))
    assert found[0] == 1.0
    assert found[1:-1] == pytest.approx([4 / 3, 5 / 3, 2, 7 / 3, 8 / 3], abs=2 * candidates.STEP)
    assert [math.floor(3 * c + 0.5) for c in found] == [3, 4, 5, 6, 7, 8, 9]
