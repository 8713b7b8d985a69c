from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfeff.data.augment.policy import Augmentation
from tfeff.data.images import preprocess
from tfeff.data.images.cache import Store
from tfeff.data.input.pipeline import Pipeline
from tfeff.data.sources import catalog
from tfeff.errors import UserError

VARIED = Augmentation(horizontal_flip=True, vertical_flip=True, crop_padding=1, rotation=20, shift=0.1, brightness=0.2)
EVERYTHING = replace(
    VARIED,
    scale=0.1,
    shear=5,
    contrast=0.2,
    saturation=0.2,
    hue=0.05,
    randaugment_layers=1,
    autoaugment=True,
    random_erasing=0.3,
)
MIXED = Augmentation(horizontal_flip=True, mixup_alpha=0.4, cutmix_alpha=1.0)


@pytest.fixture(scope="module")
def store():
    source = catalog.load("embedded:digits", "train", channels=3)
    return Store.open(source.take(np.arange(100)))


def batches(dataset):
    return list(dataset.as_numpy_iterator())


def training(store, *, epochs=2, start_step=0, **options):
    options = {"batch_size": 16, "resolution": 12, "seed": 3, "augmentation": VARIED} | options
    return batches(Pipeline(store, **options).training_batches(epochs, start_step))


def same(left, right):
    assert len(left) == len(right)
    for a, b in zip(left, right, strict=True):
        assert a.keys() == b.keys()
        for key in a:
            np.testing.assert_array_equal(a[key], b[key], err_msg=key)


def test_what_a_batch_holds(store):
    pipeline = Pipeline(store, batch_size=16, resolution=12, augmentation=EVERYTHING, num_classes=11)
    assert pipeline.steps_per_epoch == 6
    elements = batches(pipeline.training_batches(2))
    assert len(elements) == 12
    for batch in elements:
        shapes = {key: (value.shape, value.dtype) for key, value in batch.items()}
        assert shapes == {
            "image": ((16, 12, 12, 3), np.float32),
            "label": ((16, 11), np.float32),
            "weight": ((16,), np.float32),
            "index": ((16,), np.int64),
        }
        assert batch["image"].min() >= 0
        assert batch["image"].max() <= 255
        np.testing.assert_array_equal(batch["label"].argmax(axis=1), store.source.labels[batch["index"]])
        np.testing.assert_array_equal(batch["weight"], 1)
    spec = pipeline.training_batches(1).element_spec
    assert spec["image"].shape == (16, 12, 12, 3)
    assert spec["label"].shape == (16, 11)


def test_an_epoch_takes_no_example_twice(store):
    elements = training(store)
    for epoch in (elements[:6], elements[6:]):
        assert len(np.unique(np.concatenate([batch["index"] for batch in epoch]))) == 96
    assert any((a["index"] != b["index"]).any() for a, b in zip(elements[:6], elements[6:], strict=True))


def test_without_augmentation_images_are_the_stores(store):
    pixels = np.concatenate(list(store.chunks(100)))
    for batch in training(store, augmentation=None, shuffle=False, resolution=8, epochs=1):
        np.testing.assert_array_equal(batch["image"], pixels[batch["index"]])
    np.testing.assert_array_equal(batch["index"], np.arange(80, 96))


@pytest.mark.parametrize("augmentation", [EVERYTHING, MIXED], ids=["everything", "mixed"])
def test_threads_change_nothing(store, augmentation):
    reference = training(store, augmentation=augmentation, parallelism=1)
    same(training(store, augmentation=augmentation, parallelism=7), reference)


@pytest.mark.parametrize("resolution", [6, 12])
def test_the_batch_size_changes_no_image(store, resolution):
    small, large = (
        training(store, batch_size=size, resolution=resolution, epochs=1, augmentation=EVERYTHING) for size in (8, 32)
    )
    for key in ("image", "index", "label"):
        whole = np.concatenate([batch[key] for batch in large])
        np.testing.assert_array_equal(np.concatenate([batch[key] for batch in small]), whole)


def test_the_seed_changes_all(store):
    first, second = training(store, seed=1), training(store, seed=2)
    assert (first[0]["index"] != second[0]["index"]).any()
    by_index = {i: image for batch in first[:6] for i, image in zip(batch["index"], batch["image"], strict=True)}
    again = {i: image for batch in second[:6] for i, image in zip(batch["index"], batch["image"], strict=True)}
    both = by_index.keys() & again.keys()
    assert np.mean([(by_index[i] != again[i]).any() for i in both]) > 0.95


@pytest.mark.parametrize("options", [{"augmentation": VARIED}, {"augmentation": MIXED, "class_balanced": True}])
def test_a_restart_goes_on_with_the_very_batches(store, options):
    whole = training(store, epochs=3, **options)
    for start in (0, 1, 6, 9, 18):
        same(training(store, epochs=3, start_step=start, **options), whole[start:])


@pytest.mark.parametrize("augmentation", [EVERYTHING, MIXED], ids=["everything", "mixed"])
def test_the_shards_of_two_workers_are_one_workers_batches(store, augmentation):
    whole = training(store, augmentation=augmentation)
    shards = [training(store, augmentation=augmentation, shard=(i, 2)) for i in range(2)]
    for step, batch in enumerate(whole):
        for key in batch:
            joined = np.concatenate([shard[step][key] for shard in shards])
            np.testing.assert_array_equal(joined, batch[key], err_msg=key)


@pytest.mark.parametrize(("augmentation", "shard"), [(None, (0, 1)), (VARIED, (1, 2)), (MIXED, (1, 2))])
def test_a_cache_changes_nothing(image_folder, tmp_path, augmentation, shard):
    source = catalog.load(f"folder:{image_folder({'train/a': 9, 'train/b': 12})}", "train")
    pipelines = [
        Pipeline(
            Store.open(source, (10, 11), cache=cache, directory=tmp_path / "cache").take(np.arange(1, 21)),
            batch_size=4,
            resolution=9,
            augmentation=augmentation,
            shard=shard,
        )
        for cache in ("memory", "disk", "none")
    ]
    for other in pipelines[1:]:
        same(batches(other.training_batches(2, 3)), batches(pipelines[0].training_batches(2, 3)))
        same(batches(other.evaluation_batches()), batches(pipelines[0].evaluation_batches()))


@pytest.mark.parametrize("victim", [0, 7, 19])
@pytest.mark.parametrize("gone", [True, False], ids=["gone", "damaged"])
def test_an_image_lost_during_training_is_named(image_folder, victim, gone):
    source = catalog.load(f"folder:{image_folder({'train/a': 9, 'train/b': 11})}", "train")
    pipeline = Pipeline(Store.open(source, (10, 11), cache="none"), batch_size=4, resolution=9, augmentation=MIXED)
    path = Path(source.ids[victim])
    if gone:
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:300])
    for dataset in (pipeline.training_batches(1), pipeline.evaluation_batches()):
        with pytest.raises(tf.errors.UnknownError, match=f"UserError: {path} cannot be read any more: "):
            batches(dataset)


def test_mixing_happens(store):
    """Keras's MixUp and CutMix do nothing, without a word, where they are given one image at a time."""
    soft = np.concatenate([batch["label"] for batch in training(store, augmentation=MIXED)])
    np.testing.assert_allclose(soft.sum(axis=1), 1, atol=1e-5)
    assert (soft.max(axis=1) < 0.999).mean() > 0.5


def test_images_are_float32_under_a_float16_policy(store):
    """Keras's resizing and augmenting layers follow the policy, and lose levels of gray under float16."""
    reference = training(store, epochs=1, augmentation=EVERYTHING)
    keras.config.set_dtype_policy("mixed_float16")
    same(training(store, epochs=1, augmentation=EVERYTHING), reference)


def test_classes_are_balanced_and_repeated_examples_augmented_anew():
    source = catalog.load("embedded:digits", "train", channels=1)
    rare = np.concatenate([np.flatnonzero(source.labels == 0)[:3], np.flatnonzero(source.labels == 1)[:61]])
    pipeline = Pipeline(
        Store.open(source).take(rare),
        batch_size=32,
        resolution=16,
        augmentation=Augmentation(rotation=30, shift=0.2),
        class_balanced=True,
    )
    epoch = batches(pipeline.training_batches(1))
    labels = np.concatenate([batch["label"] for batch in epoch]).argmax(axis=1)
    np.testing.assert_array_equal(np.bincount(labels), [32, 32])
    images = np.concatenate([batch["image"] for batch in epoch])[labels == 0]
    assert len(np.unique(images.reshape(32, -1), axis=0)) == 32


@pytest.mark.parametrize("shards", [1, 2])
def test_evaluation_takes_each_image_once_in_order(store, shards):
    pipelines = [
        Pipeline(store, batch_size=16, resolution=12, augmentation=EVERYTHING, shard=(i, shards)) for i in range(shards)
    ]
    assert pipelines[0].evaluation_steps == 7
    steps = list(zip(*(batches(pipeline.evaluation_batches()) for pipeline in pipelines), strict=True))
    assert len(steps) == 7
    joined = {key: np.concatenate([part[key] for step in steps for part in step]) for key in steps[0][0]}
    real = joined["weight"] == 1
    np.testing.assert_array_equal(joined["index"][real], np.arange(100))
    np.testing.assert_array_equal(joined["index"][~real], -1)
    assert joined["weight"].sum() == 100
    expected = preprocess.resize(np.concatenate(list(store.chunks(100))), (12, 12))
    np.testing.assert_array_equal(joined["image"][real], expected)
    np.testing.assert_array_equal(joined["label"][real].argmax(axis=1), store.source.labels)


def test_a_source_of_one_size_needs_no_store():
    source = catalog.load("embedded:digits", "test", channels=1)
    batch = batches(Pipeline(source, batch_size=359, resolution=8).evaluation_batches())[0]
    assert batch["image"].shape == (359, 8, 8, 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, r"batch_size \(0\)"),
        ({"resolution": 0}, r"resolution \(0\)"),
        ({"seed": -1}, r"seed \(-1\)"),
        ({"shard": (2, 2)}, r"shard \(2, 2\)"),
        ({"batch_size": 15, "shard": (0, 2)}, "batch_size 15 is not a multiple of the 2 workers"),
        ({"num_classes": 5}, "label 9 does not fit num_classes = 5"),
        ({"batch_size": 101}, "100 images are less than one batch of 101"),
        ({"augmentation": Augmentation(crop_padding=8)}, "crop_padding: 8 must be below"),
    ],
)
def test_what_makes_no_batches_is_said(store, options, message):
    with pytest.raises(UserError, match=message):
        training(store, **options)


def test_the_dataset_can_be_distributed(store):
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    pipeline = Pipeline(store, batch_size=16, resolution=12, augmentation=MIXED)
    distributed = strategy.experimental_distribute_dataset(pipeline.training_batches(1))
    assert len([batch["image"].shape for batch in distributed]) == 6


def test_photos_and_small_images_of_the_real_sets(dataset):
    for name, size in (("cifar10", (32, 32)), ("hymenoptera", (48, 48))):
        source = catalog.load(f"folder:{dataset(name, per_folder=12)}", "train")
        store = Store.open(source, size)
        same(training(store, augmentation=MIXED, parallelism=1), training(store, augmentation=MIXED, parallelism=4))


@pytest.mark.parametrize("augmentation", [EVERYTHING, MIXED], ids=["everything", "mixed"])
@pytest.mark.parametrize("shard", [(0, 1), (1, 2)])
def test_the_last_epochs_are_cropped_and_flipped_alone(store, augmentation, shard):
    options = {"epochs": 3, "shard": shard}
    ending = training(store, augmentation=augmentation, plain_from=2, **options)
    varied = training(store, augmentation=augmentation, **options)
    plain = training(store, augmentation=augmentation.plain, **options)
    steps = len(ending) // 3
    same(ending[: 2 * steps], varied[: 2 * steps])
    same(ending[2 * steps :], plain[2 * steps :])
    assert not np.array_equal(varied[-1]["image"], plain[-1]["image"])
    same(
        training(store, augmentation=augmentation, plain_from=2, start_step=2 * steps - 1, **options),
        ending[2 * steps - 1 :],
    )
