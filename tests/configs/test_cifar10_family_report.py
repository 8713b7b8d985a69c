"""The members that the config's header lists."""

import pytest

from tests.verbs import ROOT
from tfeff import config, models

PATH = ROOT / "configs" / "cifar10_family_report.py"


@pytest.mark.parametrize("phi", range(4))
def test_members_have_the_stated_coefficients_and_the_listed_cost(phi: int) -> None:
    """About 2^φ times the multiply-adds of the baseline: 1.17 x 1.09² x 1.21² is 2.04."""
    settings = config.resolve_member(config.override(config.load(PATH, config.Experiment), [f"member.phi={phi}"]))
    described = settings.description
    assert isinstance(described, models.Architecture)
    assert described.depth_coefficient == pytest.approx(1.17**phi)
    assert described.width_coefficient == pytest.approx(1.09**phi)
    assert described.resolution == round(95 * 1.21**phi)
    cost = models.estimate(described, num_classes=10)
    lines = [line.split() for line in PATH.read_text().splitlines()]
    (listed,) = [words for words in lines if words[:2] == [str(phi), str(described.resolution)]]
    assert listed[2:] == [
        "-".join(map(str, described.blocks)),
        "-".join(map(str, described.widths)),
        f"{cost.params:,}",
        f"{cost.macs:,}",
        f"{cost.macs / 177_112_644:.2f}",
    ]
    assert cost.macs / 177_112_644 == pytest.approx((1.17 * 1.09**2 * 1.21**2) ** phi, rel=0.12)
    assert settings.data.image_size == 32
