import dataclasses
from types import SimpleNamespace

from tfeff import config
from tfeff.scaling import latency
from tfeff.scaling.baseline import Baseline
from tfeff.scaling.latency import samples
from tfeff.trials.store import TrialStore

BASELINE = Baseline(config.architecture("resnet", width=8, stage_blocks=(2, 2, 2, 2), resolution=16), 10, 3)


def test_each_dimension_is_timed_alone() -> None:
    start, *others = samples(BASELINE)
    assert start == BASELINE.unscaled
    changed = [
        (network.blocks != start.blocks, network.widths != start.widths, network.resolution != start.resolution)
        for network in others
    ]
    assert sorted(changed) == sorted(3 * [(True, False, False), (False, True, False), (False, False, True)])


def test_the_length_of_trainings_does_not_matter(tmp_path, monkeypatch) -> None:
    augmentation = config.Augmentation(brightness=0.1)
    task = config.ClassificationSettings(plain_epochs=15, augmentation=augmentation)  # more than the default's epochs
    monkeypatch.setattr(latency, "collect", lambda executor, calls, check: dict.fromkeys(calls, (0.002, 1.5)))
    baseline = dataclasses.replace(BASELINE, task=task)
    with TrialStore(tmp_path / "trials.sqlite", config.Search()) as store:
        found = latency.Clock(store, SimpleNamespace(local_slots=1))(baseline, baseline.unscaled)
    assert found == latency.Latency(0.002, 1.5)


def test_networks_are_timed_again_elsewhere(tmp_path, monkeypatch) -> None:
    calls = []
    monkeypatch.setattr(latency, "collect", lambda _, each, check: calls.append(1) or dict.fromkeys(each, (0.1, 1.0)))
    environments = {"cores": 2}, {"cores": 2}, {"cores": 4}
    with TrialStore(tmp_path / "trials.sqlite", config.Search()) as store:
        for slots in (1, 2):
            for found in environments:
                monkeypatch.setattr(latency, "environment", lambda found=found: found)
                latency.Clock(store, SimpleNamespace(local_slots=slots))(BASELINE, BASELINE.unscaled)
    assert len(calls) == 4
