"""`optimizer.transfer=auto` on digits, from weights whose information is known."""

import dataclasses
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from tests.thoroughness import only_thorough, thorough
from tfeff import config, models, selection, training
from tfeff.errors import UserError
from tfeff.execution import workers
from tfeff.recipes import rules
from tfeff.training import checks, transfer
from tfeff.training.freezing import matching
from tfeff.training.interruption import Interruption
from tfeff.training.progress import Reporter

# Levels: P1 is stage 2, the last is stage 3 with 64 features, for which 130 images are few.
SETTINGS = config.Experiment(
    model=config.architecture("resnet", width=16, stage_blocks=(1, 1, 1), resolution=8),
    data=config.Data(channels=1, train_examples=120),
    optimizer=config.Optimizer(learning_rate=0.05),
    training=config.Training(epochs=2, batch_size=24, precision="float32", deterministic=True),
)
WITHOUT_STAGE_3 = {"optimizer.frozen": ("stem*", "stage1*", "stage2*"), "training.feature_variants": 1}
WITHOUT_STAGE_3 |= {"optimizer.learning_rate_factors": ("*=0.1", "head_classifier*=1")}


@pytest.fixture(scope="module")
def caches() -> selection.SplitCaches:
    return selection.read(selection.request(SETTINGS), lambda *_: None)


@pytest.fixture(scope="module")
def trained(caches: selection.SplitCaches, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The weights of a network for digits."""
    whole = config.override(SETTINGS, ["data.train_examples=none", "training.epochs=3"])
    return training.train(whole, tmp_path_factory.mktemp("trained") / "run", caches=caches).final


@pytest.fixture(scope="module")
def damaged(trained: Path) -> Path:
    """The same weights without the classifier. With these statistics, stage 3 outputs zeros; training replaces them."""
    path = trained.with_name("damaged.npz")
    with np.load(trained) as arrays:
        weights = {name: arrays[name] for name in arrays.files if name.startswith("model/")}
    kept = {name: value for name, value in weights.items() if "classifier" not in name}
    lost = {name: value + 1e3 for name, value in kept.items() if "stage3" in name and name.endswith("moving_mean")}
    np.savez(path, **(kept | lost))
    return path


@pytest.fixture
def choose(caches: selection.SplitCaches, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """`choose(weights, "key=value", ...)`: what is chosen, and the lines that say it under "said".

    Probes are shared with calls that have the same `probes`.
    """

    def chosen(
        weights: Path, *changes: str, probes: dict[str, Any] | None = None, groups: np.ndarray | None = None
    ) -> dict[str, Any]:
        monkeypatch.setattr(transfer, "_PROBES", {} if probes is None else probes)
        settings = config.override(SETTINGS, ["optimizer.transfer=auto", f"model.weights={weights}", *changes])
        said = io.StringIO()
        dataset = dataclasses.replace(caches.train.dataset, groups=groups)
        grouped = dataclasses.replace(caches, train=dataclasses.replace(caches.train, dataset=dataset))
        images = selection.choose(selection.request(settings), grouped)
        plan = training.Plan.of(settings)
        found = transfer.choose(
            plan.learned(plan.measured(images)[0]),
            images,
            Reporter(Console(file=said)),
            Interruption(),
        )
        return found | {"said": said.getvalue()}

    return chosen


def test_the_classifier_alone_is_trained_if_its_features_suffice(
    choose: Callable[..., dict[str, Any]], trained: Path
) -> None:
    found = choose(trained)
    frozen = ("stem*", "stage1*", "stage2*", "stage3*")
    assert found["chosen"] == {"optimizer.frozen": frozen, "training.feature_variants": 1}
    assert [probe["level"] for probe in found["transfer"]["probes"]] == ["P1", "last"]
    assert "trains the classifier alone: 108 training images (10 to 11 per class) are few for 64" in found["said"]
    assert "optimizer.frozen=stem*,stage1*,stage2*,stage3*" in found["said"]


def test_inherited_weights_are_no_images_that_are_read(choose: Callable[..., dict[str, Any]], trained: Path) -> None:
    assert "inherited weights" not in choose(trained, "model.width=18")["said"]


def test_layers_with_worse_features_than_earlier_ones_are_trained(
    choose: Callable[..., dict[str, Any]], damaged: Path
) -> None:
    found = choose(damaged)
    assert found["chosen"] == WITHOUT_STAGE_3
    first, last = found["transfer"]["probes"]
    assert first["accuracy"] > 0.5 > last["accuracy"]
    assert last["excess"] > last["margin"] > 0 == first["excess"]


@pytest.mark.slow
def test_a_network_of_one_level_is_probed(choose: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    shallow = config.override(SETTINGS, ["model.stage_blocks=1,1", "data.train_examples=none", "training.epochs=1"])
    weights = training.train(shallow, tmp_path / "run").final
    found = choose(weights, "model.stage_blocks=1,1", "data.train_examples=60")
    assert [probe["level"] for probe in found["transfer"]["probes"]] == ["last"]
    assert found["chosen"]["optimizer.frozen"] == ("stem*", "stage1*", "stage2*")


def test_the_probed_network_knows_the_classes(
    caches: selection.SplitCaches, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise it would start without the outputs of shared classes, and an inheritance would be computed twice."""
    seen: list[training.Plan] = []
    monkeypatch.setattr(transfer, "choose", lambda plan, *_: seen.append(plan) or 1 / 0)
    settings = config.override(SETTINGS, ["optimizer.transfer=auto", f"model.weights={trained}"])
    for call in (
        lambda: training.train(settings, tmp_path, caches=caches),
        lambda: training.range_test(training.Plan.of(settings), caches),
    ):
        with pytest.raises(ZeroDivisionError):
            call()
    assert [len(plan.class_names) for plan in seen] == [10, 10]


@pytest.mark.slow
def test_runs_on_the_same_images_share_their_probes(
    choose: Callable[..., dict[str, Any]], trained: Path, damaged: Path
) -> None:
    shared = dict[str, Any]()

    def probes(weights: Path, *changes: str) -> bool:
        """Returns whether a run probes features, where others have; it chooses what it would choose alone."""
        found, alone = choose(weights, *changes, probes=shared), choose(weights, *changes)
        assert {key: found[key] for key in ("chosen", "transfer")} == {
            key: alone[key] for key in ("chosen", "transfer")
        }
        return "probing" in found["said"]

    assert probes(damaged)
    assert not probes(damaged, "optimizer.learning_rate=0.1", "model.dropout=0.5", "data.seed=0", "seed=7")
    assert probes(trained), "other weights"
    assert probes(damaged, "data.seed=1"), "other images"


def test_probes_depend_on_the_groups_that_they_keep_together(
    choose: Callable[..., dict[str, Any]], caches: selection.SplitCaches, damaged: Path
) -> None:
    shared, images = dict[str, Any](), np.arange(len(caches.train))
    for groups in (images // 2, images // 20):
        found = choose(damaged, "data.validation_fraction=0", probes=shared, groups=groups)
        assert "probing" in found["said"]


def test_many_images_train_all_layers_without_probes(choose: Callable[..., dict[str, Any]], damaged: Path) -> None:
    found = choose(damaged, "data.train_examples=160", "training.feature_variants=2")
    assert found["transfer"]["probes"] == []
    assert "are many for 64 features" in found["said"]
    assert found["chosen"]["optimizer.frozen"] == ()
    assert found["chosen"]["training.feature_variants"] is None


def test_values_that_the_config_sets_are_kept(choose: Callable[..., dict[str, Any]], damaged: Path) -> None:
    factors = "optimizer.learning_rate_factors=stem*=0.01,stage[23]*=0.3"
    found = choose(damaged, "training.feature_variants=3", factors)
    assert "training.feature_variants" not in found["chosen"]
    assert found["chosen"]["optimizer.learning_rate_factors"] == ("stage[23]*=0.3",)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "limit", "variants"),
    [
        (("task.augmentation.rotation=5",), 1e9, 2),
        (("task.augmentation.rotation=5", "training.epochs=9"), 1e9, 4),
        (("task.augmentation.mixup_alpha=0.2",), 1e9, None),
        (("training.resolution_factors=0.75,1",), 1e9, None),
        (("data.augment=test_transfer",), 1e9, 2),
        # A map of stage 2 is 4x4x32, in float32; 108 images.
        ((), 108 * 4 * 4 * 32 * 4, 1),
        ((), 108 * 4 * 4 * 32 * 4 - 1, None),
    ],
)
def test_features_are_stored_unless_mixing_or_memory_prevents_it(
    changes: tuple[str, ...],
    limit: float,
    variants: int | None,
    choose: Callable[..., dict[str, Any]],
    damaged: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rules, "MEMORY_BYTES", limit)
    assert choose(damaged, *changes)["chosen"].get("training.feature_variants") == variants


@pytest.mark.slow
def test_a_run_applies_its_choice_and_resumes_with_it(
    caches: selection.SplitCaches, damaged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = config.override(SETTINGS, ["optimizer.transfer=auto", f"model.weights={damaged}"])
    whole = training.train(settings, tmp_path / "whole", caches=caches)
    training.train(settings, tmp_path / "parts", caches=caches, until_epoch=1)

    def again(*_: object) -> None:
        raise AssertionError("a resumed run does not choose again")

    monkeypatch.setattr(transfer, "choose", again)
    parts = training.train(settings, tmp_path / "parts", caches=caches)
    assert config.saved(parts.path, config.Experiment) == settings
    resumed = config.flatten(parts.config())
    assert {key: resumed[key] for key in WITHOUT_STAGE_3} == WITHOUT_STAGE_3
    assert json.loads((parts.path / "dataset.json").read_text())["transfer"]["trained"] == "the layers after P1"
    with np.load(whole.final) as first, np.load(parts.final) as second, np.load(damaged) as initial:
        for name in (each for each in first.files if each.startswith("model/")):
            np.testing.assert_array_equal(second[name], first[name], err_msg=name)
            if name in initial.files:
                frozen = name.startswith(("model/stem", "model/stage1", "model/stage2"))
                assert np.array_equal(first[name], initial[name]) == frozen, name
    assert training.trained_model(parts).count_params()


@only_thorough
def test_a_range_test_trains_the_chosen_layers(caches: selection.SplitCaches, damaged: Path) -> None:
    start = config.override(SETTINGS, [f"model.weights={damaged}"])
    chosen = config.replaced(start, {**WITHOUT_STAGE_3, "training.feature_variants": None})
    auto = config.override(start, ["optimizer.transfer=auto"])
    losses = [training.range_test(training.Plan.of(each), caches).losses for each in (auto, chosen)]
    assert losses[0] == losses[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        *("resnet", "efficientnet-lite0", "mobilenet-v1", "mobilenet-v2", "convnext-tiny"),
        *(thorough("resnet50"), thorough("efficientnet-b1"), thorough("efficientnet-lite4")),
    ],
)
def test_patterns_match_each_level_and_all_layers_before_it(name: str) -> None:
    network = models.build(name, resolution=32, num_classes=3)
    paths = [variable.path for variable in network.trainable_variables]  # in the order of the layers
    frozen = list[int]()
    for tensor in transfer.levels(network).values():
        patterns = transfer.patterns_before(network, tensor)
        matched = set[str]().union(*(matching(pattern, paths, "") for pattern in patterns))
        assert matched == set(paths[: len(matched)])
        parts = {path.partition("_")[0] for path in matched}  # stem, stage1, ...
        assert parts.isdisjoint({path.partition("_")[0] for path in paths[len(matched) :]} - {"head"})
        frozen.append(len(matched))
    assert frozen == sorted(set(frozen))
    assert paths[frozen[-1] :] == ["head_classifier/kernel", "head_classifier/bias"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (("model.weights=none",), "optimizer.transfer requires model.weights"),
        (("task.name=localization",), "only classification supports it"),
        (("task.name=yolo",), "only classification supports it"),
        (("optimizer.unfreeze=1=stage3*",), "optimizer.unfreeze requires optimizer.frozen"),
        (("optimizer.transfer=always",), 'it should be "auto" or none'),
    ],
)
def test_unsupported_settings_are_errors(changes: tuple[str, ...], words: str) -> None:
    with pytest.raises(UserError, match=words):
        config.override(SETTINGS, ["model.weights=imagenet", "optimizer.transfer=auto", *changes])


def test_several_workers_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "worker_count", lambda: 2)
    settings = config.override(
        SETTINGS, ["model.name=efficientnet-b0", "model.weights=imagenet", "optimizer.transfer=auto"]
    )
    with pytest.raises(UserError, match=r"optimizer.transfer: several workers are not supported"):
        checks.check(training.Plan.of(settings), 1, new_run=True)


def test_frozen_layers_are_chosen_or_set_and_not_both() -> None:
    settings = config.override(
        SETTINGS,
        [
            "model.name=efficientnet-b0",
            *("model.weights=imagenet", "optimizer.transfer=auto", "optimizer.frozen=stem*"),
        ],
    )
    with pytest.raises(UserError, match=r"optimizer.frozen, which is set"):
        checks.check(training.Plan.of(settings), 1, new_run=True)


def test_searches_refuse_an_automatic_choice_of_layers() -> None:
    changes = ["model.weights=imagenet", "optimizer.transfer=auto", "data.train_examples=none"]
    settings = config.override(SETTINGS, changes)
    with pytest.raises(UserError, match="every network starts from random weights"):
        config.Search(experiment=settings)
