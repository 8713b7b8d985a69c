import dataclasses

import numpy as np
import pytest
from PIL import Image

from tfeff import config
from tfeff.errors import UserError
from tfeff.training import build

QUIET = lambda *_: None  # noqa: E731


def digits(**data):
    model = config.Model(width=2, stage_blocks=(1, 1, 1, 1), resolution=8)
    return config.Experiment(model=model, data=config.Data(**{"source": "embedded:digits", "channels": 1} | data))


def read(settings):
    """The dataset of an experiment with default settings."""
    return build.dataset(settings, build.stores(settings, QUIET))


def indices(store):
    return set(np.asarray(store.rows).tolist())


def test_held_out_images_are_disjoint_and_stratified():
    dataset = read(digits(validation_fraction=0.2))
    assert not indices(dataset.train) & indices(dataset.validation)
    counts = np.bincount(dataset.validation.source.labels)
    assert counts.max() - counts.min() <= 2
    assert dataset.record()["train_examples"] + dataset.record()["validation_examples"] == 1438


def test_folds_cover_the_training_split_once():
    held_out = [read(digits(folds=3, fold=fold)).validation for fold in range(3)]
    sizes = [len(store) for store in held_out]
    assert sum(sizes) == len(set().union(*map(indices, held_out))) == 1438
    assert max(sizes) - min(sizes) <= 10


def test_the_subset_is_drawn_before_the_hold_out():
    dataset = read(digits(train_examples=200, validation_fraction=0.25))
    assert (len(dataset.train), len(dataset.validation)) == (150, 50)


def test_validation_split_of_a_finished_run():
    settings = digits(validation_fraction=0.1)
    dataset = read(settings)
    again = build.split(settings, "validation", dataset.record(), QUIET)
    np.testing.assert_array_equal(again.rows, dataset.validation.rows)


def test_dataset_normalization_reaches_the_network():
    settings = digits(normalization="dataset")
    dataset = read(settings)
    images = next(dataset.train.chunks(len(dataset.train))).astype(np.float64)
    assert dataset.mean == pytest.approx([images.mean()], rel=1e-5)
    assert dataset.std == pytest.approx([images.std()], rel=1e-5)
    network = build.model(settings, dataset.record())
    rescaling = next(layer for layer in network.layers if type(layer).__name__ == "Rescaling")
    standardised = np.asarray(rescaling(images))
    assert standardised.mean() == pytest.approx(0, abs=1e-4)
    assert standardised.std() == pytest.approx(1, abs=1e-4)


def test_error_if_there_are_no_validation_images():
    settings = digits(validation_fraction=0.0)
    with pytest.raises(UserError, match="held no images out"):
        build.split(settings, "validation", read(settings).record(), QUIET)


def test_error_if_classes_differ():
    settings = digits()
    record = read(settings).record() | {"class_names": ["a", "b"]}
    with pytest.raises(UserError, match="not those that the network was trained on"):
        build.split(settings, "test", record, QUIET)


def test_independent_folds_are_disjoint_with_their_own_hold_outs():
    stores = build.stores(digits(), QUIET)
    folds = [
        build.dataset(digits(folds=3, fold=fold, fold_examples=400, validation_fraction=0.25), stores)
        for fold in range(3)
    ]
    assert [(len(fold.train), len(fold.validation)) for fold in folds] == [(300, 100)] * 3
    assert len(set().union(*(indices(part) for fold in folds for part in (fold.train, fold.validation)))) == 1200


def test_data_seed_determines_the_images():
    def drawn(**seeds):
        settings = digits(folds=2, fold_examples=300, validation_fraction=0.5, seed=seeds["data"])
        return indices(read(dataclasses.replace(settings, seed=seeds["run"])).train)

    assert drawn(run=1, data=7) == drawn(run=2, data=7) != drawn(run=1, data=8)
    assert drawn(run=7, data=None) == drawn(run=1, data=7)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (
            {"folds": 3, "fold_examples": 500},
            ["data.fold_examples", "embedded:digits/train", "need 1,500", "there are 1,438", "at most 479 a fold"],
        ),
        ({"folds": 100, "fold_examples": 12, "validation_fraction": 0.25}, ["fold 0 has", 'class "']),
        ({"folds": 200}, ["data.folds", "at least 200 images of each class", 'class "8" has 139']),
        ({"train_examples": 8}, ["data.train_examples", "8 images and none of class", "draw more"]),
    ],
)
def test_errors_of_too_few_images(data, words):
    with pytest.raises(UserError) as error:
        read(digits(**data))
    for word in words:
        assert word in str(error.value)


def test_stores_read_the_validation_split_unless_there_are_folds(tmp_path):
    rng = np.random.default_rng(0)
    for split, count in (("train", 12), ("validation", 5)):
        for name in ("a", "b"):
            (tmp_path / split / name).mkdir(parents=True)
            for index in range(count):
                Image.fromarray(rng.integers(0, 255, (8, 8), np.uint8)).save(tmp_path / split / name / f"{index}.png")
    settings = config.override(digits(source=f"folder:{tmp_path}", test_split=None), ["training.batch_size=8"])
    stores = build.stores(settings, QUIET)
    dataset = build.dataset(settings, stores)
    assert (len(dataset.train), len(dataset.validation)) == (24, 10)
    folded = config.override(settings, ["data.folds=2"])
    with pytest.raises(ValueError, match=r"data\.validation_split: 'validation' there, None now"):
        build.dataset(folded, stores)
    assert len(read(folded).validation) == 12


@pytest.mark.parametrize("split", ["test", "validation"])
@pytest.mark.parametrize("own", [False, True])
def test_error_if_images_changed_since_the_split_was_drawn(tmp_path, split, own):
    parts = [tmp_path / "train", tmp_path / "test"] if own else [tmp_path]
    for folder in (part / name for part in parts for name in "ab"):
        folder.mkdir(parents=True)
        for number in range(20):
            Image.new("RGB", (8, 8)).save(folder / f"{number}.png")
    changes = ["training.batch_size=8", "data.image_size=8", "data.validation_split=none"]
    changes += ["data.validation_fraction=0.25"] if own else []
    settings = config.override(digits(source=f"folder:{tmp_path}", channels=3), changes)
    record = read(settings).record()
    before = build.split(settings, split, record, QUIET).source.ids
    Image.new("RGB", (8, 8)).save(parts[0] / "a" / "new.png")
    if own and split == "test":  # independent of the training images
        assert build.split(settings, split, record, QUIET).source.ids == before
    else:
        with pytest.raises(UserError, match="have changed since this run began"):
            build.split(settings, split, record, QUIET)


def test_errors_of_too_few_images_name_the_key():
    with pytest.raises(UserError, match=r"config: training.batch_size: .*100 images .* one batch of 128"):
        read(digits(train_examples=100, validation_fraction=0.0))
    with pytest.raises(UserError, match=r"config: data.validation_fraction: embedded:digits/train: cannot hold out"):
        read(digits(train_examples=20, validation_fraction=0.01))
