from tfeff import config
from tfeff.scaling.baseline import Baseline
from tfeff.scaling.latency import samples

BASELINE = Baseline(config.architecture("resnet", width=8, stage_blocks=(2, 2, 2, 2), resolution=16), 10, 3)


def test_each_dimension_is_timed_alone() -> None:
    start, *others = samples(BASELINE)
    assert start == BASELINE.unscaled
    changed = [
        (network.blocks != start.blocks, network.widths != start.widths, network.resolution != start.resolution)
        for network in others
    ]
    assert sorted(changed) == sorted(3 * [(True, False, False), (False, True, False), (False, False, True)])
