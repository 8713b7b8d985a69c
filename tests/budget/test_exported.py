"""Costs of networks of a budget search in the exported form."""

import dataclasses
import functools
import itertools
from pathlib import Path

import pytest

from tests.budget.test_candidates import BOXES, LITE0
from tfeff import models
from tfeff.budget import candidates, exported
from tfeff.budget.candidates import Start
from tfeff.budget.exported import Exports
from tfeff.budget.race import Stopwatch
from tfeff.budget.search import watch
from tfeff.config import BudgetSearch, Candidates, Data, Experiment, Limits
from tfeff.errors import UserError
from tfeff.serving.latencies import Latencies, TimedNetwork
from tfeff.serving.timing import Timing
from tfeff.trials.store import TrialStore

DETECTOR = Start("yolo efficientnet-lite0", "imagenet", LITE0.model, BOXES)


@functools.cache
def timed(described: models.Architecture | models.Detector) -> tuple[TimedNetwork, Timing]:
    """Returns the latency of a network on a device that does a gigaflop in a second, and nothing else."""
    seconds = models.estimate(described, num_classes=2).macs / 1e9
    timing = Timing((seconds,) * 5, (), 1234, "litert", "float32", 1, "litert 1.0")
    return TimedNetwork.of(described, 2, timing), timing


def latencies(*descriptions: models.Architecture | models.Detector) -> Latencies:
    networks, timings = zip(*map(timed, descriptions), strict=True)
    return Latencies.here(timings[0], networks)


def sizes(name: str, detector: str | None = None) -> list[models.Architecture | models.Detector]:
    """Returns a backbone, or a detector with it, at several sizes."""
    found: list[models.Architecture | models.Detector] = []
    for resolution, width in ((96, 1.0), (128, 0.7), (160, 0.5), (192, 1.0)):
        scaling = {"resolution": resolution, "width_coefficient": width}
        if detector is None:
            found.append(models.architecture(name, **scaling))
        else:
            found.append(models.detector(detector, backbone=name, **scaling))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("start", [LITE0, DETECTOR], ids=["classifier", "detector"])
def test_latencies_of_another_device_are_those_of_the_same_family(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if start.detects:  # that the format can be written is tried with a real network only for the classifier
        monkeypatch.setattr(exported, "_costs", lambda process, call, name: {"latency": 1.0, "size": 1e6})
    file = tmp_path / "latencies.json"
    detector = "yolo" if start.detects else None
    settings = BudgetSearch(
        experiment=Experiment(
            task=start.task, model=LITE0.model, data=Data(source="voc:a" if detector else "folder:a")
        ),
        budget=Limits(latency="20ms", latencies=str(file), format="litert", threads=1),
    )
    networks = candidates.scaled(
        Candidates(widths=(1.0, 0.5), depths=(1.0,), resolutions=(1.0, 0.5), scratch=False),
        [start],
        side=1000,
        channels=3,
        num_classes=2,
    )
    with TrialStore(tmp_path / "trials.sqlite", settings) as store:
        exports = Exports(settings, store, tmp_path / "log", lambda line: None, watch(store))
        other_kind = None if detector else "yolo"
        others = [*sizes("mobilenet-v2", detector)[:1], *sizes("efficientnet-lite0", other_kind)[:1]]
        latencies(*others, *sizes("efficientnet-lite0", detector)[:3]).write(file)
        flag = "--detector=yolo " if detector else ""
        words = f"3 {'yolo ' if detector else ''}efficientnet-lite networks; .* {flag}--family=efficientnet-lite "
        words += "--latency --format=litert --threads=1 --out="
        with pytest.raises(UserError, match=words):
            exports.estimated(networks, 2)
        found = latencies(*others, *sizes("efficientnet-lite0", detector))
        dataclasses.replace(found, precision="int8").write(file)
        words = "measured with precision=int8; use another file for --format=litert --threads=1,"
        with pytest.raises(UserError, match=words):
            exports.estimated(networks, 2)
        found.write(file)
        estimates = exports.estimated(networks, 2)
    for network, costs in zip(networks, estimates.costs, strict=True):
        assert costs["latency"] == pytest.approx(network.cost.macs / 1e9, rel=1e-3)


def test_a_measured_latency_counts_only_if_the_budget_bounds_that_of_this_machine(tmp_path, monkeypatch):
    """The budget may change when a search resumes."""
    calls = []

    def measured(process, call, name):
        calls.append(name)
        return {"latency": 0.021, "size": 5e6}

    monkeypatch.setattr(exported, "_costs", measured)
    here = BudgetSearch(budget=Limits(latency="20ms", format="litert", threads=1))
    phone = BudgetSearch(budget=Limits(latency="20ms", latencies="phone.json", format="litert", threads=1))
    with TrialStore(tmp_path / "trials.sqlite", here) as store:
        one, other = (Exports(each, store, tmp_path / "log", lambda line: None, watch(store)) for each in (here, phone))
        assert one.known("network") is None
        assert other.exported(tmp_path / "model", "network") == {"size": 5e6}
        assert one.exported(tmp_path / "model", "network") == one.known("network") == {"latency": 0.021, "size": 5e6}
        assert other.known("network") == {"size": 5e6}
    assert len(calls) == 1


def disturbed(monkeypatch) -> tuple[list[candidates.Network], dict[str, float], list[str]]:
    """Returns networks, their seconds, and the calls that time them so far; the second one is slowed down."""
    section = Candidates(widths=(1.0, 0.7, 0.5), depths=(1.0,), resolutions=(1.0, 0.7, 0.5), scratch=False)
    networks = candidates.scaled(section, [LITE0], side=1000, channels=3, num_classes=2)
    seconds, calls = {each.label: each.cost.macs / 1e9 for each in networks}, list[str]()

    def measured(process, call, name):
        calls.append(name)
        return {"latency": seconds[name] * (3.0 if len(calls) == 2 else 1.0), "size": 1e6}

    monkeypatch.setattr(exported, "_costs", measured)
    return networks, seconds, calls


DISTURBED = BudgetSearch(
    experiment=Experiment(model=LITE0.model), budget=Limits(latency="20ms", format="litert", threads=1, minutes=10)
)


def test_times_that_do_not_fit_are_taken_again(tmp_path, monkeypatch):
    """Another program may have slowed down some calls."""
    (networks, seconds, calls), said = disturbed(monkeypatch), []
    for _ in range(2):
        with TrialStore(tmp_path / "trials.sqlite", DISTURBED) as store:
            exports = Exports(DISTURBED, store, tmp_path / "log", said.append, watch(store))
            found = exports.estimated(networks, 2)
            timed = [each for each in networks if each.label in calls]
            for network, costs in zip(timed, exports.networks(timed, 2), strict=True):
                assert costs["latency"] == seconds[network.label]
        assert len(calls) == 2 * len(timed)  # what is stored is not timed again
        for network, costs in zip(networks, found.costs, strict=True):
            assert costs["latency"] == pytest.approx(seconds[network.label], rel=1e-3)
    assert sum("timing them again" in line for line in said) == 1


def test_times_are_not_taken_again_if_the_search_has_little_time(tmp_path, monkeypatch):
    """Nor when it resumes with more, which would change its candidates."""
    (networks, _, calls), said = disturbed(monkeypatch), []
    for late in (100.0, 0.0):
        with TrialStore(tmp_path / "trials.sqlite", DISTURBED) as store:
            clock = Stopwatch(late, lambda seconds: None)
            Exports(DISTURBED, store, tmp_path / "log", said.append, clock).estimated(networks, 2)
    assert len(calls) == len(set(calls))
    assert sum("budget.minutes=10 leaves no time to time them again" in line for line in said) == 2
    with TrialStore(tmp_path / "trials.sqlite", DISTURBED) as store:
        longer = dataclasses.replace(DISTURBED, budget=dataclasses.replace(DISTURBED.budget, minutes=None))
        exports = Exports(longer, store, tmp_path / "log", said.append, Stopwatch(100.0, lambda seconds: None))
        exports.estimated(networks, 2)
    assert any("timing them again" in line for line in said)


def test_networks_that_were_timed_have_their_measured_costs(tmp_path, monkeypatch):
    """The baseline meets a budget of its own costs, although the fit to the others makes it slower."""
    settings = BudgetSearch(
        experiment=Experiment(model=LITE0.model), budget=Limits(latency="1x", size="1x", format="litert", threads=1)
    )
    networks = candidates.scaled(
        Candidates(widths=(1.0, 0.7, 0.5), depths=(1.0, 0.5), resolutions=(1.0, 0.7, 0.5)),
        [LITE0],
        side=1000,
        channels=3,
        num_classes=2,
    )
    seconds = {each.label: each.cost.macs / 1e9 * (0.9 if index % 2 else 1.1) for index, each in enumerate(networks)}
    baseline = candidates.baseline(settings.experiment.task, LITE0.model, channels=3, num_classes=2)
    seconds[baseline.label] = baseline.cost.macs / 2e9
    calls = []

    def measured(process, call, name):
        calls.append(name)
        return {"latency": seconds[name], "size": 1.01e6}

    monkeypatch.setattr(exported, "_costs", measured)
    busy, said = itertools.chain([0.1, 1.5], itertools.repeat(0.0)), []
    monkeypatch.setattr(exported.resources, "cores_in_use", lambda: next(busy))
    with TrialStore(tmp_path / "trials.sqlite", settings) as store:
        exports = Exports(settings, store, tmp_path / "log", said.append, watch(store))
        bounds = exports.baseline(baseline, 2)
        found = exports.estimated(networks, 2)
        exports.estimated(networks, 2)  # all is stored
    assert [line.partition(" of ")[0] for line in said if " cores: " in line] == ["other programs use 1.5"]
    exact = [network.label for network, errors in zip(networks, found.errors, strict=True) if not errors]
    assert set(exact) == set(calls)
    assert len(exact) < len(networks)
    for network, costs in zip(networks, found.costs, strict=True):
        if network.label in exact:
            assert costs == {"latency": seconds[network.label], "size": 1.01e6}
    own = next(costs for each, costs in zip(networks, found.costs, strict=True) if each.cost == baseline.cost)
    assert own == bounds


def test_a_format_that_cannot_be_written_is_reported_before_any_training(tmp_path, monkeypatch):
    def measured(process, call, name):
        raise UserError(f'{name} failed: requires tf2onnx: pip install "tfeff[onnx]"')

    monkeypatch.setattr(exported, "_costs", measured)
    networks = candidates.scaled(Candidates(scratch=False), [LITE0], side=1000, channels=3, num_classes=2)
    for number, (form, fails) in enumerate((("onnx", True), ("saved_model", False))):
        settings = BudgetSearch(experiment=Experiment(model=LITE0.model), budget=Limits(macs="100M", format=form))
        with TrialStore(tmp_path / f"{number}.sqlite", settings) as store:
            exports = Exports(settings, store, tmp_path / "log", lambda line: None, watch(store))
            if fails:
                with pytest.raises(UserError, match=r"config: budget\.format=onnx: efficientnet-lite0.* tf2onnx"):
                    exports.estimated(networks, 2)
            else:
                assert exports.estimated(networks, 2).costs[0] == {}


def test_a_baseline_of_another_family_than_the_file_has_its_own_advice(tmp_path, monkeypatch):
    monkeypatch.setattr(exported, "_costs", lambda process, call, name: {"latency": 0.02, "size": 1e6})
    file = tmp_path / "latencies.json"
    latencies(*sizes("mobilenet-v2")).write(file)
    budget = Limits(latency="0.5x", latencies=str(file), format="litert", threads=1)
    settings = BudgetSearch(experiment=Experiment(model=LITE0.model), budget=budget)
    (network,) = candidates.scaled(
        Candidates(widths=(1.0,), depths=(1.0,), resolutions=(1.0,)), [LITE0], side=1000, channels=3, num_classes=2
    )
    with TrialStore(tmp_path / "trials.sqlite", settings) as store:
        exports = Exports(settings, store, tmp_path / "log", lambda line: None, watch(store))
        with pytest.raises(
            UserError, match=r"0 efficientnet-lite networks.* or set another baseline \(experiment\.model"
        ):
            exports.baseline(network, 2)
