import pytest

from tfeff import config
from tfeff.scaling.baseline import Baseline
from tfeff.scaling.latency import LatencyModel, samples

BASELINE = Baseline(config.Model(name="resnet", width=8, stage_blocks=(2, 2, 2, 2), resolution=16), 10, 3)


def test_a_law_of_this_form_is_recovered():
    timed = samples(BASELINE)
    law = [1e-3 + 2e-10 * network.cost.macs + 5e-5 * sum(network.blocks) for network in timed]
    model = LatencyModel.fit(list(zip(timed, law, strict=True)))
    other = BASELINE.network(1.5, 1.25, 20)
    assert model.seconds(other) == pytest.approx(1e-3 + 2e-10 * other.cost.macs + 5e-5 * sum(other.blocks), rel=1e-3)


def test_predictions_never_fall_as_a_network_grows():
    timed = samples(BASELINE)
    noisy = [(network, 1e-3 / (1 + index)) for index, network in enumerate(timed)]
    model = LatencyModel.fit(noisy)
    small = model.seconds(BASELINE.start)
    for network in (BASELINE.network(2.0, 1, 16), BASELINE.network(1, 1.5, 16), BASELINE.network(1, 1, 24)):
        assert model.seconds(network) >= small
