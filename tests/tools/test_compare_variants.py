"""The table and the figure of variants."""

import argparse
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from tfeff import config
from tfeff.errors import UserError


@pytest.fixture
def tool(import_tool: Callable[[str], ModuleType]) -> ModuleType:
    return import_tool("compare_variants")


def group(*values: float) -> dict:
    mean = sum(values) / len(values)
    scores = {"accuracy": {"mean": mean, "interval": [mean - 0.1, mean + 0.1], "runs": list(values)}}
    return {"runs": [str(seed) for seed in range(len(values))], "scores": scores}


def reported(directory: Path) -> argparse.Namespace:
    """Returns flags that report the finished runs of a directory and train none."""
    return argparse.Namespace(
        variants=None,
        config=str(directory / "config.py"),
        workdir=directory / "runs",
        out=directory / "results",
        seeds=0,
        only=None,
        processes=1,
        override=[],
    )


def test_variants_are_compared_with_the_reference_over_seeds(tool: ModuleType) -> None:
    groups = {"scratch": group(0.5, 0.6), "frozen": group(0.9, 0.98)}
    tool.compare(groups, "scratch")
    assert "minus_reference" not in groups["scratch"]
    assert groups["frozen"]["minus_reference"]["accuracy"]["mean"] == pytest.approx(0.39)
    half = 12.7062047 * 0.014142136 / 2**0.5  # Student's t, 1 degree of freedom; differences .4 and .38
    low, high = groups["frozen"]["minus_reference"]["accuracy"]["interval"]
    assert (low, high) == (pytest.approx(0.39 - half, rel=1e-4), pytest.approx(0.39 + half, rel=1e-4))


def test_runs_with_other_settings_are_refused(tool: ModuleType, tmp_path: Path) -> None:
    variant = config.Experiment(training=config.Training(epochs=3))
    for name, experiment in {"10": variant, "2": variant, "old": config.Experiment()}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "result.json").write_text("{}")
        seeded = dataclasses.replace(experiment, seed=int(name) if name.isdigit() else 0)
        (tmp_path / name / "config.json").write_text(config.to_json(seeded))
    assert tool.finished_runs(tmp_path, variant) == [tmp_path / "2", tmp_path / "10"]
    (tmp_path / "old").rename(tmp_path / "0")
    with pytest.raises(UserError, match=r"0: this run differs in training\.epochs"):
        tool.finished_runs(tmp_path, variant)


def test_only_common_seeds_are_paired(tool: ModuleType) -> None:
    groups = {"scratch": group(0.5, 0.6, 0.55), "frozen": group(0.9)}
    tool.compare(groups, "scratch")
    assert groups["frozen"]["minus_reference"]["accuracy"] == {"mean": pytest.approx(0.4), "interval": None}
    assert [row["label"] for row in tool.drawn(groups, "accuracy")] == ["frozen", "scratch"]


def test_another_reference_replaces_the_differences(tool: ModuleType) -> None:
    groups = {"scratch": group(0.5, 0.6), "frozen": group(0.9, 0.98)}
    for reference in ("scratch", "frozen"):
        tool.compare(groups, reference)
    assert "minus_reference" not in groups["frozen"]
    assert groups["scratch"]["minus_reference"]["accuracy"]["mean"] == pytest.approx(-0.39)


def test_the_best_variant_is_drawn_first(tool: ModuleType) -> None:
    rows = tool.drawn({"scratch": group(0.5, 0.6, 0.55), "frozen": group(0.9, 0.98, 0.95)}, "accuracy")
    assert [(row["label"], row["standing"]) for row in rows] == [("frozen", "winner"), ("scratch", "beaten")]
    assert rows[0]["values"] == [0.9, 0.98, 0.95]


@pytest.mark.parametrize(
    ("defined", "message"),
    [
        ("VARIANTS = {'a': []}", "no REFERENCE; define VARIANTS"),
        ("VARIANTS, REFERENCE = {'scratch': [], 'frozen': []}, 'scrach'", 'did you mean "scratch"'),
    ],
)
def test_configs_without_variants_are_refused_before_training(
    tool: ModuleType, tmp_path: Path, defined: str, message: str
) -> None:
    (tmp_path / "config.py").write_text(defined)
    with pytest.raises(UserError, match=message):
        tool.variants_of(str(tmp_path / "config.py"))


def test_published_runs_are_not_repeated(tool: ModuleType, tmp_path: Path) -> None:
    variants = {"frozen": config.Experiment(seed=3, training=config.Training(epochs=3, precision="float32"))}
    published = {"frozen": {"settings": {"training.epochs": 3, "training.precision": "float32"}}}
    file = tmp_path / "results.json"
    assert tool.known_runs(file, variants) == {}
    file.write_text(json.dumps({"variants": published}))
    assert tool.known_runs(file, variants) == {"frozen": published["frozen"]}
    with pytest.raises(UserError, match=r"the runs of frozen differ in training\.epochs, training\.precision"):
        tool.known_runs(file, {"frozen": config.Experiment()})
    with pytest.raises(UserError, match='runs of "frozen", which the config no longer defines'):
        tool.known_runs(file, {"thawed": config.Experiment()})


def test_each_seed_may_have_its_own_fold(tool: ModuleType, tmp_path: Path) -> None:
    folds = config.override(config.Experiment(), ["data.source=voc:folds/{seed}"])
    assert tool.of_seed(folds, 3).data.source == "voc:folds/3"
    file = tmp_path / "results.json"
    published = {"half": {"settings": {}}}  # what the folds have in common
    file.write_text(json.dumps({"variants": published}))
    assert tool.known_runs(file, {"half": folds}) == published


def test_variants_without_common_seeds_have_no_difference(tool: ModuleType) -> None:
    groups = {"scratch": group(0.5), "frozen": {**group(0.9), "runs": ["3"]}}
    tool.compare(groups, "scratch")
    assert groups["frozen"]["minus_reference"] == {}


@pytest.mark.parametrize(("published", "kept"), [(("scratch", "frozen"), True), (("scratch",), False)])
def test_times_of_predictions_are_kept_unless_a_variant_was_not_timed_with_the_others(
    tool: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    published: tuple[str, ...],
    kept: bool,
) -> None:
    (tmp_path / "config.py").write_text(
        "from tfeff.config import Experiment as get_config\n"
        "VARIANTS, REFERENCE = {'scratch': [], 'frozen': ['model.width=8']}, 'scratch'"
    )
    cost = {"params": 1, "macs": 1, "training_seconds": [1.0]}
    new = {**group(0.95), **cost, "runs": ["7"], "settings": {"model.width": 8}}
    monkeypatch.setattr(tool, "finished_runs", lambda folder, variant: [Path("7")] if folder.name == "frozen" else [])
    monkeypatch.setattr(tool, "summarize", lambda runs: new)
    known = {name: {**group(0.9), **cost, "settings": {}, "prediction_seconds": 0.1} for name in published}
    if "frozen" in known:
        known["frozen"]["settings"] = {"model.width": 8}
    (tmp_path / "results.json").write_text(json.dumps({"reference": "scratch", "variants": known}))
    tool.run(reported(tmp_path))
    stored = len(published)  # one run each
    origin = f"{stored} runs of {tmp_path}/results.json, 1 of {tmp_path}/runs, 0 of these trained now"
    assert capsys.readouterr().out.startswith(origin)
    groups = json.loads((tmp_path / "results.json").read_text())["variants"]
    assert len(groups["frozen"]["runs"]) == len(published)
    times = [each.get("prediction_seconds") for each in groups.values()]
    assert times == [0.1 if kept else None] * 2


def test_a_reference_without_runs_is_named(tool: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "config.py").write_text(
        "from tfeff.config import Experiment as get_config\nVARIANTS, REFERENCE = {'scratch': []}, 'scratch'"
    )
    with pytest.raises(UserError, match='"scratch", which the others are compared with, has no finished run'):
        tool.run(reported(tmp_path))


def test_variants_of_a_config_that_comes_with_the_package(tool: ModuleType) -> None:
    variants, reference = tool.variants_of("bccd_detectors")
    assert reference in variants
