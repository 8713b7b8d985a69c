import numpy as np
import pytest

from tfeff import config
from tfeff.errors import UserError
from tfeff.training import build

QUIET = lambda *_: None  # noqa: E731


def digits(**data):
    model = config.Model(width=2, stage_blocks=(1, 1, 1, 1), resolution=8)
    return config.Experiment(model=model, data=config.Data(source="embedded:digits", channels=1, **data))


def indices(store):
    return set(np.asarray(store.rows).tolist())


def test_held_out_images_are_apart_and_stratified():
    dataset = build.dataset(digits(validation_fraction=0.2), QUIET)
    assert not indices(dataset.train) & indices(dataset.validation)
    counts = np.bincount(dataset.validation.source.labels)
    assert counts.max() - counts.min() <= 2
    assert dataset.record()["train_examples"] + dataset.record()["validation_examples"] == 1438


def test_folds_cover_the_training_split_once():
    held_out = [build.dataset(digits(folds=3, fold=fold), QUIET).validation for fold in range(3)]
    sizes = [len(store) for store in held_out]
    assert sum(sizes) == len(set().union(*map(indices, held_out))) == 1438
    assert max(sizes) - min(sizes) <= 10


def test_subset_comes_before_the_hold_out():
    dataset = build.dataset(digits(train_examples=200, validation_fraction=0.25), QUIET)
    assert (len(dataset.train), len(dataset.validation)) == (150, 50)


def test_validation_split_of_a_finished_run_is_the_one_it_held_out():
    settings = digits(validation_fraction=0.1)
    dataset = build.dataset(settings, QUIET)
    again = build.split(settings, "validation", dataset.record(), QUIET)
    np.testing.assert_array_equal(again.rows, dataset.validation.rows)


def test_dataset_normalization_reaches_the_network():
    settings = digits(normalization="dataset")
    dataset = build.dataset(settings, QUIET)
    images = next(dataset.train.chunks(len(dataset.train))).astype(np.float64)
    assert dataset.mean == pytest.approx([images.mean()], rel=1e-5)
    assert dataset.std == pytest.approx([images.std()], rel=1e-5)
    network = build.model(settings, dataset.record())
    rescaling = next(layer for layer in network.layers if type(layer).__name__ == "Rescaling")
    standardised = np.asarray(rescaling(images))
    assert standardised.mean() == pytest.approx(0, abs=1e-4)
    assert standardised.std() == pytest.approx(1, abs=1e-4)


def test_no_validation_images_to_evaluate_is_explained():
    settings = digits(validation_fraction=0.0)
    with pytest.raises(UserError, match="held no images out"):
        build.split(settings, "validation", build.dataset(settings, QUIET).record(), QUIET)


def test_another_sets_classes_are_refused():
    settings = digits()
    record = build.dataset(settings, QUIET).record() | {"class_names": ["a", "b"]}
    with pytest.raises(UserError, match="not those that the network was trained on"):
        build.split(settings, "test", record, QUIET)
