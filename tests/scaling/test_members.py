import math
from types import SimpleNamespace

import pytest

from tfeff import config
from tfeff.config.family import Family
from tfeff.errors import UserError
from tfeff.scaling import members
from tfeff.scaling.baseline import Baseline

BASELINE = Baseline(config.architecture("resnet", width=8, stage_blocks=(2, 2, 2, 2), resolution=16), 10, 3)
FAMILY = Family(baseline=BASELINE.unscaled.model, alpha=1.25, beta=1.125, gamma=1.125)


@pytest.mark.parametrize("dimension", ["depth", "width", "resolution"])
@pytest.mark.parametrize("ratio", [1.0, 1.9, 4.0, 7.7])
def test_a_single_dimension_is_as_close_as_possible(dimension, ratio):
    target = round(BASELINE.cost.macs * ratio)
    network = members.scaled(BASELINE, dimension, target)
    others = {"depth": network.depth, "width": network.width, "resolution": network.scale}
    assert [others[name] for name in others if name != dimension] == [1.0, 1.0]
    distance = abs(math.log(network.cost.macs / target))
    for step in range(400):
        factor = 1 + step / 50
        other = {
            "depth": lambda factor=factor: BASELINE.network(factor, 1.0, 16),
            "width": lambda factor=factor: BASELINE.network(1.0, factor, 16),
            "resolution": lambda factor=factor: BASELINE.network(1.0, 1.0, round(16 * factor)),
        }[dimension]()
        assert distance <= abs(math.log(other.cost.macs / target)) + 1e-12


@pytest.mark.parametrize("method", ["depth", "width", "resolution", "width+resolution"])
def test_large_members_are_compared_at_their_cost(method):
    target = 40 * BASELINE.cost.macs
    assert members.scaled(BASELINE, method, target).cost.macs == pytest.approx(target, rel=0.05)


def test_points_are_the_baseline_and_each_method_at_each_phi():
    points = members.points(BASELINE, FAMILY, config.Members(phis=(2.0, 1.0)))
    assert [(point.method, point.phi) for point in points] == [("baseline", 0.0)] + [
        (method, phi) for phi in (1.0, 2.0) for method in ("depth", "width", "resolution", "compound")
    ]
    by_key = {(point.method, point.phi): point.network for point in points}
    compound = by_key["compound", 2.0]
    assert compound.resolution == round(16 * 1.125**2)
    assert sum(compound.blocks) == math.floor(8 * 1.25**2 + 0.5)
    assert compound.model == FAMILY.member(2.0)
    for method in ("depth", "width", "resolution"):
        assert by_key[method, 2.0].cost.macs == pytest.approx(compound.cost.macs, rel=0.12)


@pytest.mark.parametrize("ratio", [1.5, 2.0, 4.0, 8.0])
def test_ratios_give_the_phi_of_the_closest_cost(ratio):
    phi = members.nearest_phi(BASELINE, FAMILY, ratio)
    distance = abs(math.log(BASELINE.network(*FAMILY.coefficients(phi)).relative["macs"] / ratio))
    for step in range(1, 201):
        other = BASELINE.network(*FAMILY.coefficients(step * members.PHI_STEP))
        assert distance <= abs(math.log(other.relative["macs"] / ratio)) + 1e-12
    points = members.points(BASELINE, FAMILY, config.Members(phis=(), ratios=(ratio,), methods=("compound",)))
    assert [(point.method, point.phi) for point in points] == [("baseline", 0.0), ("compound", phi)]


def test_ratios_that_no_member_has_are_refused():
    family = Family(baseline=BASELINE.unscaled.model, alpha=1.0, beta=1.0, gamma=1.05)  # at most about 1.05^20 = 2.65
    assert members.nearest_phi(BASELINE, family, 3.0) <= members.MAX_PHI
    with pytest.raises(UserError, match=r"members\.ratios: 8 times .* = 1, 1, 1\.05, members have at most [\d.]+ "):
        members.nearest_phi(BASELINE, family, 8.0)


@pytest.mark.parametrize("final_loss", [0.5, 0.1])
def test_intervals_of_gains_stay_in_their_range(final_loss):
    """Of a pooled variance, and of a member that failed to optimize."""
    networks = {name: SimpleNamespace(id=name) for name in ("baseline", "compound")}
    comparison = members.Comparison(
        [members.Point(name, float(name == "compound"), network) for name, network in networks.items()],
        {"baseline": {(0, 0): 0.60, (1, 0): 0.95}, "compound": {(0, 0): 0.99, (1, 0): 0.60}},
        {"baseline": [final_loss], "compound": [0.4]},
        (),
        minimized=False,
        bounded=True,
    )
    (row,) = comparison.gains
    assert row["gain"] == pytest.approx(0.02)
    assert (row["95 % from"], row["to"]) == (-1.0, 1.0)
