import pytest

from tfeff import config
from tfeff.scaling.baseline import Baseline
from tfeff.scaling.latency import LatencyModel, samples

BASELINE = Baseline(config.architecture("resnet", width=8, stage_blocks=(2, 2, 2, 2), resolution=16), 10, 3)


def test_a_fit_recovers_a_law_of_its_form():
    timed = samples(BASELINE)
    law = [0.2 + 2e-7 * network.cost.macs + 0.05 * sum(network.blocks) for network in timed]
    model = LatencyModel.fit(list(zip(timed, law, strict=True)))
    other = BASELINE.network(1.5, 1.25, 20)
    assert model.relative(other) == pytest.approx(0.2 + 2e-7 * other.cost.macs + 0.05 * sum(other.blocks), rel=1e-3)


def test_estimates_never_fall_as_a_network_grows():
    timed = samples(BASELINE)
    noisy = [(network, 1e-3 / (1 + index)) for index, network in enumerate(timed)]
    model = LatencyModel.fit(noisy)
    small = model.relative(BASELINE.unscaled)
    for network in (BASELINE.network(2.0, 1, 16), BASELINE.network(1, 1.5, 16), BASELINE.network(1, 1, 24)):
        assert model.relative(network) >= small
