from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.thoroughness import THOROUGH, thorough
from tfeff.data.augment.policy import Augmentation
from tfeff.data.images import resizing
from tfeff.data.input.batches import Batches, rows_of_epochs
from tfeff.data.input.cache import ImageCache
from tfeff.data.input.image_transform import ImageTransform
from tfeff.data.input.order import ClassBalanced, InOrder, Shuffled
from tfeff.data.input.reader import Reader
from tfeff.data.sources import catalog
from tfeff.data.sources.source import Options
from tfeff.errors import UserError

MODERATE = Augmentation(
    horizontal_flip=True, vertical_flip=True, crop_padding=1, rotation=20, shift=0.1, brightness=0.2
)
EVERYTHING = replace(
    MODERATE,
    scale=0.1,
    shear=5,
    contrast=0.2,
    saturation=0.2,
    hue=0.05,
    randaugment_layers=1,
    # It has the operations of RandAugment and inversion; tracing both takes three times as long.
    autoaugment=bool(THOROUGH),
    random_erasing=0.3,
)
MIXED = Augmentation(horizontal_flip=True, mixup_alpha=0.4, cutmix_alpha=1.0)


@pytest.fixture(scope="module")
def cache():
    return ImageCache.open(
        catalog.open_labels("embedded:digits", Options(channels=3)).load("train").take(np.arange(100))
    )


def pipeline(cache, batch_size=16, *, size=(12, 12), seed=3, augmentation=MODERATE, plain_from=None, **options):
    transform = ImageTransform(Reader(cache), size, seed=seed, augmentation=augmentation, plain_from=plain_from)
    return Batches(transform, batch_size, **({"order": Shuffled(len(cache), seed)} | options))


def elements(dataset):
    return list(dataset.as_numpy_iterator())


def training(cache, *, epochs=2, start_step=0, **options):
    return elements(pipeline(cache, **options).training_batches(epochs, start_step))


def assert_same(left, right):
    assert len(left) == len(right)
    for a, b in zip(left, right, strict=True):
        assert a.keys() == b.keys()
        for key in a:
            np.testing.assert_array_equal(a[key], b[key], err_msg=key)


@pytest.fixture(scope="module")
def reference(cache):
    """Augmentation -> batches of three epochs, made by one thread."""
    return {
        augmentation: training(cache, epochs=3, augmentation=augmentation, parallelism=1)
        for augmentation in (MODERATE, EVERYTHING, MIXED)
    }


def test_shapes_dtypes_and_ranges(cache, reference):
    batches = pipeline(cache, size=(12, 10))
    assert batches.steps_per_epoch == 6
    training_batches = elements(batches.training_batches(2))
    assert len(training_batches) == 12
    for batch in training_batches:
        shapes = {key: (value.shape, value.dtype) for key, value in batch.items()}
        assert shapes == {
            "image": ((16, 12, 10, 3), np.float32),
            "label": ((16, 10), np.float32),
            "weight": ((16,), np.float32),
            "index": ((16,), np.int64),
        }
        assert batch["image"].min() >= 0
        assert batch["image"].max() <= 255
        np.testing.assert_array_equal(batch["label"].argmax(axis=1), cache.dataset.labels[batch["index"]])
        np.testing.assert_array_equal(batch["weight"], 1)
    for batch in reference[EVERYTHING]:
        assert batch["image"].min() >= 0
        assert batch["image"].max() <= 255
    for dataset in (batches.training_batches(1), batches.evaluation_batches()):
        assert dataset.element_spec["image"].shape == (16, 12, 10, 3)
        assert dataset.element_spec["label"].shape == (16, 10)


def test_an_epoch_takes_no_example_twice(reference):
    batches = reference[MODERATE]
    first, second = batches[:6], batches[6:12]
    for epoch in (first, second):
        assert len(np.unique(np.concatenate([batch["index"] for batch in epoch]))) == 96
    assert any((a["index"] != b["index"]).any() for a, b in zip(first, second, strict=True))


def test_without_augmentation_images_equal_the_cache(cache):
    pixels = np.concatenate(list(cache.chunks(100)))
    for batch in training(cache, augmentation=None, order=InOrder(100), size=(8, 8), epochs=1):
        np.testing.assert_array_equal(batch["image"], pixels[batch["index"]])
    np.testing.assert_array_equal(batch["index"], np.arange(80, 96))


@pytest.mark.parametrize(("augmentation", "side"), [(EVERYTHING, 12), (MODERATE, 6)])
def test_images_do_not_depend_on_the_batch_size(cache, reference, augmentation, side):
    size = (side, side)
    small = training(cache, batch_size=8, size=size, epochs=1, augmentation=augmentation)
    if side == 12:
        large = reference[augmentation][:6]
    else:
        large = training(cache, batch_size=32, size=size, epochs=1, augmentation=augmentation)
    for key in ("image", "index", "label"):
        whole = np.concatenate([batch[key] for batch in large])
        np.testing.assert_array_equal(np.concatenate([batch[key] for batch in small]), whole)


FIVE = 12 * 12 * 3 * 4 * 5
"""Bytes of five images."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("limit", "cached"), [(1, "none"), (FIVE, "memory"), thorough(1, "memory"), thorough(FIVE, "none")]
)
def test_batches_made_in_parts_are_the_same(cache, reference, monkeypatch, limit, cached):
    monkeypatch.setattr("tfeff.data.input.batches._PART_BYTES", limit)  # of one image, or of up to five
    images = cache if cached == "memory" else ImageCache.open(cache.dataset, cache="none")
    augmentation = EVERYTHING if cached == "memory" and limit > 1 else MODERATE
    made = pipeline(images, augmentation=augmentation)
    assert made._parts(made.transform) == (16 if limit == 1 else 4)
    found = made.training_batches(2, 3)
    assert found.element_spec["image"].shape == (16, 12, 12, 3)
    assert_same(elements(found), reference[augmentation][3:12])
    assert_same(elements(made.evaluation_batches()), elements(pipeline(cache, parallelism=1).evaluation_batches()))


def test_batches_whose_images_mix_are_made_as_one(cache, monkeypatch):
    monkeypatch.setattr("tfeff.data.input.batches._PART_BYTES", 1)
    mixed = pipeline(cache, augmentation=MIXED)
    assert mixed._parts(mixed.transform) == 1


def test_the_seed_changes_order_and_images(cache, reference):
    first, second = reference[MODERATE], training(cache, seed=2)
    assert (first[0]["index"] != second[0]["index"]).any()
    images = [
        {index: image for batch in run[:6] for index, image in zip(batch["index"], batch["image"], strict=True)}
        for run in (first, second)
    ]
    both = images[0].keys() & images[1].keys()
    assert np.mean([(images[0][index] != images[1][index]).any() for index in both]) > 0.95


@pytest.mark.parametrize("start", [9, *map(thorough, (1, 6, 18))])
def test_a_restart_yields_the_same_batches(cache, reference, start):
    assert_same(training(cache, epochs=3, start_step=start), reference[MODERATE][start:])


def test_a_restart_with_balanced_classes_yields_the_same_batches(cache):
    options = {"augmentation": MIXED, "order": ClassBalanced(cache.dataset.labels, seed=3)}
    whole = training(cache, epochs=3, **options)
    for start in (1, 12):
        assert_same(training(cache, epochs=3, start_step=start, **options), whole[start:])


@pytest.mark.parametrize("augmentation", [thorough(EVERYTHING), MIXED], ids=["everything", "mixed"])
def test_two_workers_with_several_threads_share_the_batches_of_one(cache, reference, augmentation):
    shards = [training(cache, augmentation=augmentation, shard=(i, 2), parallelism=7) for i in range(2)]
    for step, batch in enumerate(reference[augmentation][:12]):
        for key in batch:
            joined = np.concatenate([shard[step][key] for shard in shards])
            np.testing.assert_array_equal(joined, batch[key], err_msg=key)


@pytest.mark.slow
@pytest.mark.parametrize(("augmentation", "shard"), [(None, (0, 1)), (MIXED, (1, 2))])
def test_batches_do_not_depend_on_the_cache(image_folder, tmp_path, augmentation, shard):
    dataset = catalog.open_labels(f"folder:{image_folder({'train/a': 9, 'train/b': 12})}").load("train")
    pipelines = [
        pipeline(
            ImageCache.open(dataset, (10, 11), cache=kind, directory=tmp_path / "cache").take(np.arange(1, 21)),
            batch_size=4,
            size=(9, 9),
            augmentation=augmentation,
            shard=shard,
        )
        for kind in ("memory", "disk", "none")
    ]
    (trained, evaluated), *others = (
        (elements(each.training_batches(2, 3)), elements(each.evaluation_batches())) for each in pipelines
    )
    for training_batches, evaluation_batches in others:
        assert_same(training_batches, trained)
        assert_same(evaluation_batches, evaluated)


@pytest.mark.slow
@pytest.mark.parametrize(("victim", "gone"), [(0, True), (7, False), (19, True)])
def test_an_image_lost_during_training_is_named(image_folder, victim, gone):
    dataset = catalog.open_labels(f"folder:{image_folder({'train/a': 9, 'train/b': 11})}").load("train")
    batches = pipeline(ImageCache.open(dataset, (10, 11), cache="none"), 4, size=(9, 9), augmentation=MIXED)
    path = Path(dataset.ids[victim])
    if gone:
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:300])
    for lost in (batches.training_batches(1), batches.evaluation_batches()):
        with pytest.raises(tf.errors.UnknownError, match=f"UserError: {path} can no longer be read: "):
            elements(lost)


def test_mixing_makes_labels_soft(reference):
    """Keras's MixUp and CutMix silently do nothing if they get one image at a time."""
    soft = np.concatenate([batch["label"] for batch in reference[MIXED]])
    np.testing.assert_allclose(soft.sum(axis=1), 1, atol=1e-5)
    assert (soft.max(axis=1) < 0.999).mean() > 0.5


def test_images_are_float32_under_a_float16_policy(cache, reference):
    """Keras's resizing and augmentation layers follow the policy and lose gray levels under float16."""
    keras.config.set_dtype_policy("mixed_float16")
    assert_same(training(cache, epochs=1, augmentation=EVERYTHING), reference[EVERYTHING][:6])


def test_balanced_classes_repeat_examples_with_different_augmentation():
    dataset = catalog.open_labels("embedded:digits", Options(channels=1)).load("train")
    rare = np.concatenate([np.flatnonzero(dataset.labels == 0)[:3], np.flatnonzero(dataset.labels == 1)[:61]])
    cache = ImageCache.open(dataset).take(rare)
    epoch = training(
        cache,
        batch_size=32,
        size=(16, 16),
        augmentation=Augmentation(rotation=30, shift=0.2),
        order=ClassBalanced(cache.dataset.labels, seed=0),
        epochs=1,
    )
    labels = np.concatenate([batch["label"] for batch in epoch]).argmax(axis=1)
    np.testing.assert_array_equal(np.bincount(labels), [32, 32])
    images = np.concatenate([batch["image"] for batch in epoch])[labels == 0]
    assert len(np.unique(images.reshape(32, -1), axis=0)) == 32


@pytest.mark.parametrize("shards", [1, 2])
def test_evaluation_takes_each_image_once_in_order_without_augmentation(cache, shards):
    pipelines = [pipeline(cache, augmentation=MIXED, shard=(i, shards)) for i in range(shards)]
    assert pipelines[0].evaluation_steps == 7
    steps = list(zip(*(elements(each.evaluation_batches()) for each in pipelines), strict=True))
    assert len(steps) == 7
    joined = {key: np.concatenate([part[key] for step in steps for part in step]) for key in steps[0][0]}
    real = joined["weight"] == 1
    np.testing.assert_array_equal(joined["index"][real], np.arange(100))
    np.testing.assert_array_equal(joined["index"][~real], -1)
    assert joined["weight"].sum() == 100
    expected = resizing.resize(np.concatenate(list(cache.chunks(100))), (12, 12))
    np.testing.assert_array_equal(joined["image"][real], expected)
    np.testing.assert_array_equal(joined["label"][real].argmax(axis=1), cache.dataset.labels)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, r"batch_size \(0\)"),
        ({"size": (8, 0)}, r"image size \(8, 0\)"),
        ({"seed": -1}, r"seed \(-1\)"),
        ({"shard": (2, 2)}, r"shard \(2, 2\)"),
        ({"batch_size": 15, "shard": (0, 2)}, "batch_size 15 is not a multiple of the 2 workers"),
        ({"batch_size": 101}, "100 images do not fill one batch of 101"),
        ({"augmentation": Augmentation(crop_padding=8)}, "crop_padding: 8 must be below"),
    ],
)
def test_invalid_arguments_are_reported(cache, options, message):
    with pytest.raises(UserError, match=message):
        training(cache, **options)


def test_the_dataset_can_be_distributed(cache):
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    batches = pipeline(cache, augmentation=MIXED).training_batches(1)
    distributed = strategy.experimental_distribute_dataset(batches)
    assert len([batch["image"].shape for batch in distributed]) == 6


@pytest.mark.slow
def test_real_photos_and_small_images(dataset):
    for name, size in (("cifar10", (32, 32)), ("hymenoptera", (48, 48))):
        cache = ImageCache.open(catalog.open_labels(f"folder:{dataset(name, per_folder=12)}").load("train"), size)
        single = training(cache, augmentation=MIXED, parallelism=1)
        assert_same(training(cache, augmentation=MIXED, parallelism=4), single)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("augmentation", "shard"), [(replace(MIXED, rotation=20, brightness=0.2), (1, 2)), thorough(MODERATE, (0, 1))]
)
def test_the_last_epochs_use_crops_and_flips_alone(cache, augmentation, shard):
    options = {"epochs": 3, "shard": shard}
    ending = training(cache, augmentation=augmentation, plain_from=2, **options)
    varied = training(cache, augmentation=augmentation, **options)
    plain = training(cache, augmentation=augmentation.plain, **options)
    steps = len(ending) // 3
    assert_same(ending[: 2 * steps], varied[: 2 * steps])
    assert_same(ending[2 * steps :], plain[2 * steps :])
    assert not np.array_equal(varied[-1]["image"], plain[-1]["image"])
    resumed = training(cache, augmentation=augmentation, plain_from=2, start_step=2 * steps - 1, **options)
    assert_same(resumed, ending[2 * steps - 1 :])


@pytest.mark.parametrize("shape", [(4,), (2, 4)])
@pytest.mark.parametrize("start_step", [0, 1, 2, 3, 5, 6, 9])
def test_a_start_at_any_step_gives_the_rest_of_the_batches(start_step: int, shape: tuple[int, ...]) -> None:
    def rows(epoch: int) -> np.ndarray:
        return np.random.default_rng(epoch).integers(0, 100, (3, *shape))

    whole = np.concatenate([rows(epoch) for epoch in range(3)])
    found = list(rows_of_epochs(rows, shape, 3, 3, start_step).as_numpy_iterator())
    np.testing.assert_array_equal(np.reshape(found, (-1, *shape)), whole[start_step:])
