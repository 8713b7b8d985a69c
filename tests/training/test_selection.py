import dataclasses

import numpy as np
import pytest
from PIL import Image

from tfeff import config
from tfeff.data.sources import catalog
from tfeff.errors import UserError
from tfeff.training import selection

QUIET = lambda *_: None  # noqa: E731


def digits(**data):
    model = config.Model(width=2, stage_blocks=(1, 1), resolution=8)
    return config.Experiment(model=model, data=config.Data(**{"source": "embedded:digits", "channels": 1} | data))


def read(settings):
    return selection.choose(settings, selection.read(settings, QUIET))


def indices(cache):
    return set(np.asarray(cache.rows).tolist())


def test_held_out_images_are_disjoint_and_stratified():
    dataset = read(digits(validation_fraction=0.2))
    assert not indices(dataset.train) & indices(dataset.validation)
    counts = np.bincount(dataset.validation.dataset.labels)
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


def test_the_validation_split_of_a_finished_run_is_what_it_held_out():
    settings = digits(validation_fraction=0.1)
    dataset = read(settings)
    again = selection.evaluation_images(settings, "validation", dataset.record(), QUIET)
    np.testing.assert_array_equal(again.rows, dataset.validation.rows)


def test_validation_on_a_subset_does_not_shrink_the_evaluation():
    settings = digits(validation_fraction=0.25)
    limited = digits(validation_fraction=0.25, validation_examples=60)
    whole, part = read(settings), read(limited)
    np.testing.assert_array_equal(part.train.rows, whole.train.rows)
    assert len(part.validation) == 60
    assert indices(part.validation) < indices(whole.validation)
    counts = np.bincount(part.validation.dataset.labels)
    assert counts.max() - counts.min() <= 1
    again = selection.evaluation_images(limited, "validation", part.record(), QUIET)
    np.testing.assert_array_equal(again.rows, whole.validation.rows)


def test_a_run_without_validation_images_has_no_validation_split():
    settings = digits(validation_fraction=0.0)
    with pytest.raises(UserError, match="held out no images"):
        selection.evaluation_images(settings, "validation", read(settings).record(), QUIET)


def test_other_classes_are_refused():
    settings = digits()
    record = read(settings).record() | {"class_names": ["a", "b"]}
    with pytest.raises(UserError, match="not those that the network was trained on"):
        selection.evaluation_images(settings, "test", record, QUIET)


def test_independent_folds_are_disjoint_with_their_own_hold_outs():
    caches = selection.read(digits(), QUIET)
    folds = [
        selection.choose(digits(folds=3, fold=fold, fold_examples=400, validation_fraction=0.25), caches)
        for fold in range(3)
    ]
    assert [(len(fold.train), len(fold.validation)) for fold in folds] == [(300, 100)] * 3
    assert len(set().union(*(indices(part) for fold in folds for part in (fold.train, fold.validation)))) == 1200


def test_the_data_seed_alone_decides_which_images_are_drawn():
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
            ["data.fold_examples", "embedded:digits/train", "need 1,500", "there are 1,438", "at most 479 per fold"],
        ),
        ({"folds": 100, "fold_examples": 12, "validation_fraction": 0.25}, ["fold 0 has", 'class "']),
        ({"folds": 200}, ["data.folds", "at least 200 images of each class", 'class "8" has 139']),
        ({"train_examples": 8}, ["data.train_examples", "8 images and none of class", "draw more"]),
    ],
)
def test_too_few_images_are_counted_in_the_message(data, words):
    with pytest.raises(UserError) as error:
        read(digits(**data))
    for word in words:
        assert word in str(error.value)


def test_a_validation_split_is_read_unless_there_are_folds(tmp_path):
    rng = np.random.default_rng(0)
    for split, count in (("train", 12), ("validation", 5)):
        for name in ("a", "b"):
            (tmp_path / split / name).mkdir(parents=True)
            for index in range(count):
                Image.fromarray(rng.integers(0, 255, (8, 8), np.uint8)).save(tmp_path / split / name / f"{index}.png")
    settings = config.override(digits(source=f"folder:{tmp_path}", test_split=None), ["training.batch_size=8"])
    caches = selection.read(settings, QUIET)
    dataset = selection.choose(settings, caches)
    assert (len(dataset.train), len(dataset.validation)) == (24, 10)
    folded = config.override(settings, ["data.folds=2"])
    with pytest.raises(ValueError, match=r"data\.validation_split: 'validation' then, None now"):
        selection.choose(folded, caches)
    assert len(read(folded).validation) == 12


@pytest.mark.parametrize("split", ["test", "validation"])
@pytest.mark.parametrize("own", [False, True])
def test_splits_drawn_from_changed_images_are_refused(tmp_path, split, own):
    parts = [tmp_path / "train", tmp_path / "test"] if own else [tmp_path]
    for folder in (part / name for part in parts for name in "ab"):
        folder.mkdir(parents=True)
        for number in range(20):
            Image.new("RGB", (8, 8)).save(folder / f"{number}.png")
    changes = ["training.batch_size=8", "data.image_size=8", "data.validation_split=none"]
    changes += ["data.validation_fraction=0.25"] if own else []
    settings = config.override(digits(source=f"folder:{tmp_path}", channels=3), changes)
    record = read(settings).record()
    before = selection.evaluation_images(settings, split, record, QUIET).dataset.ids
    Image.new("RGB", (8, 8)).save(parts[0] / "a" / "new.png")
    if own and split == "test":  # whatever becomes of the training images
        assert selection.evaluation_images(settings, split, record, QUIET).dataset.ids == before
    else:
        with pytest.raises(UserError, match="have changed since this run began"):
            selection.evaluation_images(settings, split, record, QUIET)


def test_too_few_images_name_the_key():
    with pytest.raises(UserError, match=r"config: training.batch_size: .*100 training images .* one batch of 128"):
        read(digits(train_examples=100, validation_fraction=0.0))
    with pytest.raises(UserError, match=r"config: data.validation_fraction: embedded:digits/train: cannot hold out"):
        read(digits(train_examples=20, validation_fraction=0.01))


def plan(root, **data):
    settings = digits(source=f"folder:{root}", channels=3, **data)
    settings = config.override(settings, ["training.batch_size=8"])
    source = selection.open_source(settings)
    selection.check(settings, source)
    return settings, source, selection.plan(settings, source)


FOLDERS = {"train/a": 12, "train/b": 12, "val/a": 5, "val/b": 5}


def test_a_validation_folder_validates_and_is_evaluated_if_there_is_no_test_split(image_folder):
    settings, source, chosen = plan(image_folder(FOLDERS))
    assert (chosen.train, chosen.validation, chosen.test) == ("train", "validation", None)
    split, note = selection.final_split(settings, {"validation_examples": 10}, source)
    assert split == "validation"
    assert "has no test split: evaluated on the validation images" in note


@pytest.mark.parametrize("name", ["val", "valid", "dev", "validation"])
def test_a_validation_folder_can_be_the_test_split(image_folder, name):
    settings, source, chosen = plan(image_folder(FOLDERS), test_split=name)
    assert (chosen.validation, chosen.test) == (None, "validation")
    assert selection.final_split(settings, {"validation_examples": 2}, source) == ("validation", "")
    record = read(settings).record()
    assert record["validation_examples"] == 2  # held out of the training split
    assert len(selection.evaluation_images(settings, name, record, QUIET, source)) == 10


def test_without_held_out_images_a_validation_folder_still_validates(image_folder):
    _, _, chosen = plan(image_folder(FOLDERS), validation_fraction=0.0)
    assert chosen.validation == "validation"


def test_an_unused_fraction_is_noted(image_folder):
    _, _, chosen = plan(image_folder(FOLDERS), validation_fraction=0.3)
    assert 'data.validation_fraction is not used, since the source has a split "validation"' in chosen.notes[0]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"test_split": "tset"}, r'data.test_split: .* has no split "tset"'),
        ({"validation_split": "held"}, r'data.validation_split: .* has no split "held"'),
        ({"train_split": "trian"}, r'data.train_split: .* has no split "trian"; did you mean "train"'),
        ({"test_split": "train"}, r"data.test_split: .* shares images with data.train_split"),
        ({"validation_split": "train"}, r"data.validation_split: .* shares images"),
        ({"train_split": "all"}, r'data.train_split: .* has no split "all"'),
        ({"validation_split": "all"}, r'data.validation_split: .* has no split "all"'),
        ({"test_split": "all"}, r'data.test_split: .* has no split "all"'),
    ],
)
def test_mistakes_in_splits_are_reported_before_reading(image_folder, data, message):
    with pytest.raises(UserError, match=message):
        plan(image_folder(FOLDERS), **data)


def test_a_single_class_is_refused(image_folder):
    with pytest.raises(UserError, match='has a single class, "a"; a classifier needs at least two'):
        plan(image_folder({"train/a": 12, "val/a": 5}))


def test_lists_that_overlap_the_training_split_do_not_validate(dataset):
    settings = config.override(digits(source=f"voc:{dataset('bccd') / 'BCCD'}"), ["task.name=localization"])
    source = selection.open_source(settings)
    assert selection.plan(settings, source).validation == "validation"
    joined = config.override(settings, ["data.train_split=trainval"])
    assert selection.plan(joined, source).validation is None
    with pytest.raises(UserError, match="shares images with"):
        selection.plan(config.override(joined, ["data.validation_split=val"]), source)


def test_an_overlapping_validation_list_is_not_evaluated(dataset):
    changes = [
        "task.name=localization",
        "data.train_split=trainval",
        "data.test_split=none",
        "data.validation_fraction=0",
    ]
    settings = config.override(digits(source=f"voc:{dataset('bccd') / 'BCCD'}"), changes)
    source = selection.open_source(settings)
    assert selection.final_split(settings, {"validation_examples": 0}, source) is None
    with pytest.raises(UserError, match="no validation split apart from the training images"):
        selection.evaluation_images(settings, "val", {"validation_examples": 0}, QUIET, source)


def test_a_run_on_given_datasets_is_evaluated_on_splits_of_its_source(dataset):
    changes = ["data.train_split=trainval", "data.validation_split=validation", "data.image_size=8"]
    settings = config.override(digits(source=f"crops:voc:{dataset('bccd') / 'BCCD'}", channels=3), changes)
    record = {"given": True, "validation_examples": 3, "fingerprint": "x", "image_size": [8, 8]}
    record["class_names"] = ["Platelets", "RBC", "WBC", "background"]
    images = selection.evaluation_images(settings, "test", record, QUIET)
    assert images.dataset.name.endswith("/test")


def test_caches_of_another_validation_split_are_refused(image_folder):
    root = image_folder({**FOLDERS, "test/a": 5, "test/b": 5})
    settings = config.override(digits(source=f"folder:{root}", channels=3), ["training.batch_size=8"])
    caches = selection.read(settings, QUIET)
    other = config.override(settings, ["data.validation_split=test", "data.test_split=none"])
    with pytest.raises(ValueError, match=r"data\.validation_split"):
        selection.choose(other, caches)


def test_fingerprints_of_the_previous_version_are_accepted_if_they_cannot_be_compared():
    assert selection.unchanged("ab" * 32, "cd" * 16)
    assert not selection.unchanged("ab" * 32, "cd" * 32)


def test_crops_of_one_photograph_are_not_split_between_training_and_validation():
    model = config.Model(width=2, stage_blocks=(1, 1), resolution=8)
    dataset = catalog.open_labels("crops:embedded:placed_digits").load("validation")
    for data in ({"folds": 3}, {"folds": 2, "fold_examples": 3000}, {"train_examples": 5000}):
        settings = config.Experiment(
            model=model, data=config.Data(source="crops:embedded:placed_digits", validation_fraction=0.4, **data)
        )
        fold = selection.fold(settings, dataset, validates=False)
        train, validation = ({dataset.ids[i].split(" [")[0] for i in part} for part in (fold.train, fold.validation))
        assert validation
        assert train.isdisjoint(validation)
