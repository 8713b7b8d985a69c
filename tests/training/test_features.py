"""Training on stored features of the frozen part equals training the whole network, and repeats itself."""

import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.thoroughness import only_thorough
from tfeff import config, models, selection, training
from tfeff.errors import UserError
from tfeff.training import stored
from tfeff.training.features import FeatureBatches, split
from tfeff.training.freezing import freeze
from tfeff.training.stored import FeatureCache

FROZEN = ("stem*", "stage1*")
SETTINGS = config.Experiment(
    model=config.architecture("resnet", width=4, stage_blocks=(1, 1), resolution=8),
    data=config.Data(channels=1, train_examples=100),
    optimizer=config.Optimizer(learning_rate=0.05, frozen=FROZEN),
    training=config.Training(
        epochs=3, batch_size=24, precision="float32", deterministic=True, feature_variants=1, ema_decay=0.9
    ),
)


@pytest.fixture(scope="module")
def caches() -> selection.SplitCaches:
    return selection.read(selection.request(SETTINGS), lambda *_: None)


def run(directory: Path, caches: selection.SplitCaches, *changes: str, until: int | None = None) -> training.Workdir:
    settings = config.override(SETTINGS, changes)
    return training.train(settings, directory, until_epoch=until, caches=caches)


def weights(workdir: training.Workdir) -> dict[str, np.ndarray]:
    with np.load(workdir.final) as arrays:
        return {name: arrays[name] for name in arrays.files if name.startswith("model/")}


@pytest.mark.slow
def test_training_on_features_equals_training_the_whole_network(caches: selection.SplitCaches, tmp_path: Path) -> None:
    calibrated = ("task.temperature_scaling=true", "data.validation_fraction=0.4")
    on_features = run(tmp_path / "features", caches, *calibrated)
    on_images = run(tmp_path / "images", caches, "training.feature_variants=none", *calibrated)
    for key in ("train_loss", "validation_loss", "validation_accuracy", "validation_temperature"):
        values = [[row[key] for row in each.rows()] for each in (on_features, on_images)]
        np.testing.assert_allclose(*values, rtol=1e-4, err_msg=key)
    whole = weights(on_images)
    for name, value in weights(on_features).items():
        np.testing.assert_allclose(value, whole[name], rtol=1e-3, atol=1e-5, err_msg=name)


def test_the_time_to_compute_features_counts_as_training(
    caches: selection.SplitCaches, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compute, clock, hours = FeatureBatches._computed, time.perf_counter, 0.0

    def slow(self: FeatureBatches, epoch: int | None, advance: Callable[[int], None]) -> dict[str, np.ndarray]:
        nonlocal hours
        hours += 1 if epoch is not None else 100  # validation images do not count
        return compute(self, epoch, advance)

    monkeypatch.setattr(FeatureBatches, "_computed", slow)
    monkeypatch.setattr(time, "perf_counter", lambda: clock() + 3600 * hours)
    first, second, _ = run(tmp_path, caches).rows()
    assert 1 <= first["seconds"] / 3600 < 2
    assert first["input_wait"] > 0.5
    assert second["seconds"] < 3600


@pytest.mark.slow
def test_other_crops_have_other_features(tmp_path: Path) -> None:
    """A sweep trains several runs in one process, which keeps features."""
    kept, losses = FeatureCache(), []
    for fraction in (1.0, 0.5):
        changes = ["data.image_size=16", "training.epochs=1", f"task.center_crop={fraction}"]
        settings = config.override(SETTINGS, changes)
        found = training.train(settings, tmp_path / f"{fraction}", features=kept)
        losses.append(found.rows()[-1]["train_loss"])
    assert losses[0] != losses[1]


def test_the_least_recently_used_features_are_dropped() -> None:
    cache, computed, made = FeatureCache(size=2 * 400), list[str](), list[weakref.ref[tf.Tensor]]()

    def get(key: str, numbers: int = 100) -> None:
        def compute() -> dict[str, tf.Tensor]:
            computed.append(key)
            kept = sum(each() is not None for each in made)
            assert not kept or 400 * kept + 4 * numbers <= 2 * 400  # there is room for them
            found = tf.zeros(numbers)
            made.append(weakref.ref(found))
            return {"image": found}

        assert cache.get(key, 4 * numbers, compute)["image"].shape == (numbers,)

    for key in ("a", "b", "a", "c", "a", "b"):  # c takes the place of b
        get(key)
    assert computed == ["a", "b", "c", "b"]
    for _ in range(2):
        get("larger than the cache", 300)
    assert computed[4:] == ["larger than the cache"]


@pytest.mark.slow
def test_features_are_computed_of_parts_of_batches(
    caches: selection.SplitCaches, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed, sizes = stored.computed, list[int]()

    def recorded(batches: tf.data.Dataset, *others: Any) -> dict[str, np.ndarray]:
        sizes.append(batches.element_spec["image"].shape[0])
        return computed(batches, *others)

    monkeypatch.setattr(stored, "computed", recorded)
    run(tmp_path / "parts", caches, "training.accumulation_steps=4", "training.epochs=1")
    assert sizes == [6, 6]  # of training and validation images
    sizes.clear()
    run(tmp_path / "whole", caches, "training.epochs=1")
    assert sizes == [24, 24]


def test_frozen_variables_are_bit_identical_after_training(caches: selection.SplitCaches, tmp_path: Path) -> None:
    first = weights(run(tmp_path / "one", caches, "training.epochs=1"))
    last = weights(run(tmp_path / "three", caches))
    for name, value in last.items():
        frozen = name.startswith(("model/stem", "model/stage1"))
        assert np.array_equal(value, first[name]) == frozen, name


@only_thorough
def test_a_run_in_several_calls_equals_a_run_in_one_call(caches: selection.SplitCaches, tmp_path: Path) -> None:
    changes = ("training.feature_variants=2", "task.augmentation.shift=0.2")
    once = weights(run(tmp_path / "once", caches, *changes))
    for epoch in (1, 2, None):
        several = run(tmp_path / "several", caches, *changes, until=epoch)
    for name, value in weights(several).items():
        np.testing.assert_array_equal(value, once[name], err_msg=name)


@only_thorough
def test_variants_are_augmented_also_with_gradual_unfreezing(caches: selection.SplitCaches, tmp_path: Path) -> None:
    changes = ("training.feature_variants=2", "optimizer.unfreeze=1=stage1*,2=stem*")
    plain, shifted = (
        [row["train_loss"] for row in run(tmp_path / name, caches, *changes, *more).rows()]
        for name, more in (("plain", ()), ("shifted", ("task.augmentation.shift=0.3",)))
    )
    assert len(plain) == 3
    assert plain[0] != shifted[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "frozen", "shape"),
    [
        ("efficientnet-lite0", ("stem*", "stage*", "head_conv*"), (1280,)),
        ("efficientnet-b0", ("stem*", "stage*"), (2, 2, 320)),
        ("mobilenet-v2", ("stem*", "stage[1234]*"), (4, 4, 64)),
        ("resnet", ("stem*",), None),
    ],
)
def test_the_frozen_part_ends_before_what_is_trained(
    name: str, frozen: tuple[str, ...], shape: tuple[int, ...] | None
) -> None:
    network = models.build(name, resolution=64, num_classes=3)
    freeze(network, frozen)
    parts = split(network)
    assert parts is not None
    frozen_part, rest = parts
    if shape is not None:
        assert frozen_part.output.shape[1:] == shape
    assert not frozen_part.trainable_variables
    assert {each.path for each in rest.trainable_variables} == {each.path for each in network.trainable_variables}
    image = np.random.default_rng(0).uniform(0, 255, (2, 64, 64, 3)).astype(np.float32)
    np.testing.assert_allclose(rest(frozen_part(image)), network(image), rtol=1e-5, atol=1e-6)
    dropout = [layer for layer in network.layers if isinstance(layer, keras.layers.Dropout) and layer.rate]
    assert all(layer in rest.layers for layer in dropout)


@pytest.mark.parametrize("frozen", ["()", "stage*"])
def test_a_trained_stem_is_an_error(frozen: str, caches: selection.SplitCaches, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the first layers of the network are trained"):
        run(tmp_path, caches, f"optimizer.frozen={frozen}")


def test_detectors_are_refused() -> None:
    with pytest.raises(UserError, match="only classification, embedding and localization"):
        config.override(SETTINGS, ["task.name=yolo"])


def test_mixing_is_an_error(caches: selection.SplitCaches, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="MixUp"):
        run(tmp_path, caches, "task.augmentation.mixup_alpha=0.2")


def test_validation_images_need_memory_for_one_variant_only(
    caches: selection.SplitCaches, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = ("training.feature_variants=2", "data.validation_fraction=0.6", "training.epochs=1")
    size = 8 * 8 * 4 * 4  # bytes of the features of an image; 40 images are trained on, 60 validate
    monkeypatch.setattr(stored, "LIMIT", 80 * size - 1)
    with pytest.raises(UserError, match=r"feature_variants: .* \(40 images, 2 of each\) .*; lower it, or freeze more"):
        run(tmp_path / "too_large", caches, *changes)
    monkeypatch.setattr(stored, "LIMIT", 80 * size)
    assert run(tmp_path / "fits", caches, *changes).final.is_file()
