import dataclasses

import numpy as np
import pytest
from PIL import Image

from tests.selection.digit_splits import FOLDERS, QUIET, digits, indices, read
from tests.tasks.digits_of_many_sizes import write_coco
from tfeff import config, selection
from tfeff.data.dataset import Dataset, Objects
from tfeff.data.folds import holdout
from tfeff.data.images.storage import EncodedImages
from tfeff.data.sources import catalog, placed_digits
from tfeff.errors import UserError


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


def test_independent_folds_are_disjoint_with_their_own_hold_outs():
    caches = selection.read(selection.request(digits()), QUIET)
    folds = [
        selection.choose(
            selection.request(digits(folds=3, fold=fold, fold_examples=400, validation_fraction=0.25)), caches
        )
        for fold in range(3)
    ]
    assert [(len(fold.train), len(fold.validation)) for fold in folds] == [(300, 100)] * 3
    assert len(set().union(*(indices(part) for fold in folds for part in (fold.train, fold.validation)))) == 1200


def test_a_fold_can_train_on_some_of_its_images():
    caches = selection.read(selection.request(digits()), QUIET)

    def chosen(**data):
        return selection.choose(selection.request(digits(folds=3, fold=1, **data)), caches)

    whole, part = chosen(), chosen(fold_train_examples=200)
    assert indices(part.train) < indices(whole.train)
    assert indices(part.validation) == indices(whole.validation)
    counts = np.bincount(part.train.dataset.labels)
    assert (counts.sum(), counts.max() - counts.min() <= 1) == (200, True)
    with pytest.raises(UserError, match=r"config: data\.fold_train_examples: .* a subset of 1000 images from 95"):
        chosen(fold_train_examples=1000)
    with pytest.raises(UserError, match=r"config: data\.fold_train_examples: .*: the subset has 9 images and none of"):
        chosen(fold_train_examples=9)
    with pytest.raises(UserError, match=r"data\.train_examples: .* a subset of 3500 images from 1438; use 1 to"):
        selection.choose(selection.request(digits(train_examples=3500)), caches)
    with pytest.raises(UserError, match=r"fold_train_examples requires data\.folds"):
        digits(fold_train_examples=100)


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
    caches = selection.read(selection.request(settings), QUIET)
    dataset = selection.choose(selection.request(settings), caches)
    assert (len(dataset.train), len(dataset.validation)) == (24, 10)
    named = config.override(settings, ["data.validation_split=valid"])
    assert (
        len(selection.choose(selection.request(named), selection.read(selection.request(named), QUIET)).validation)
        == 10
    )
    folded = config.override(settings, ["data.folds=2"])
    with pytest.raises(ValueError, match=r"data\.validation_split: 'validation' then, None now"):
        selection.choose(selection.request(folded), caches)
    assert len(read(folded).validation) == 12


def test_too_few_images_name_the_key():
    with pytest.raises(UserError, match=r"config: training.batch_size: .*100 training images .* one batch of 128"):
        read(digits(train_examples=100, validation_fraction=0.0))
    with pytest.raises(UserError, match=r"config: data.validation_fraction: embedded:digits/train: cannot hold out"):
        read(digits(train_examples=20, validation_fraction=0.01))


def test_caches_of_another_validation_split_are_refused(image_folder):
    root = image_folder({**FOLDERS, "test/a": 5, "test/b": 5})
    settings = config.override(digits(source=f"folder:{root}", channels=3), ["training.batch_size=8"])
    caches = selection.read(selection.request(settings), QUIET)
    other = config.override(settings, ["data.validation_split=test", "data.test_split=none"])
    with pytest.raises(ValueError, match=r"data\.validation_split"):
        selection.choose(selection.request(other), caches)


def test_crops_of_one_photograph_are_not_split_between_training_and_validation():
    model = config.architecture("resnet", width=2, stage_blocks=(1, 1), resolution=8)
    dataset = catalog.open_labels("crops:embedded:placed_digits").load("validation")
    for data in ({"folds": 3}, {"folds": 2, "fold_examples": 3000}, {"train_examples": 300}):
        settings = config.Experiment(
            model=model, data=config.Data(source="crops:embedded:placed_digits", validation_fraction=0.4, **data)
        )
        fold = selection.fold(selection.request(settings), dataset, validates=False)
        train, validation = ({dataset.ids[i].split(" [")[0] for i in part} for part in (fold.train, fold.validation))
        assert validation
        assert train.isdisjoint(validation)


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"validation_examples": 7},
        {"train_examples": 30},
        {"folds": 3, "fold": 1},
        {"folds": 2, "fold_examples": 20},
        {"folds": 3, "fold_train_examples": 15},
        {"validation_fraction": 0.0},
        {"validation_split": "test", "validation_examples": 5},
    ],
)
def test_tiles_are_of_the_images_that_a_detector_trains_on_and_validates_on(data):
    def drawn(**tiles):
        given = {"source": "embedded:placed_digits:96", "channels": 1, "train_split": "validation"}
        settings = config.Experiment(
            task=config.YoloSettings(),
            model=config.architecture("resnet", width=2, stage_blocks=(1, 1, 1, 1), resolution=64),
            data=config.Data(**given | {"validation_fraction": 0.25} | data | tiles),
            training=config.Training(batch_size=4),
        )
        chosen = read(settings)
        return [[] if each is None else each.dataset for each in (chosen.train, chosen.validation)]

    for whole, parts in zip(drawn(), drawn(tile=64, tile_overlap=32), strict=True):
        if not len(whole):
            assert not len(parts)
            continue
        names = [name.partition(" [")[0] for name in parts.ids]
        assert set(names) == set(whole.ids)
        assert parts.cropped.take(np.unique(parts.owners)).ids == sorted(whole.ids)
    train, validation = drawn(tile=48, tile_overlap=0)
    if len(validation):
        assert len(validation) == 4 * len(np.unique(validation.owners))  # all tiles of an image are validated on
    empty = sum(not len(each) for each in train.objects)
    assert empty <= len(train) - empty


@pytest.mark.parametrize("data", [{}, {"train_examples": 30}, {"train_examples": 30, "validation_fraction": 0.0}])
def test_crops_are_of_the_images_that_a_detector_trains_on_and_holds_out(monkeypatch, data):
    monkeypatch.setattr(placed_digits, "COUNTS", {"train": 40, "validation": 10, "test": 5})
    options = {"validation_fraction": 0.25, "validation_split": None, **data}

    def parts(source, task):
        settings = config.Experiment(
            task=task,
            data=config.Data(source=source, image_size=16, train_split="train", test_split=None, **options),
            training=config.Training(batch_size=8),
        )
        request = selection.request(settings)
        dataset = selection.load(request, selection.open_source(request), "train")
        return dataset, selection.fold(request, dataset, validates=False)

    images, of_images = parts("embedded:placed_digits:64", config.YoloSettings())
    crops, of_crops = parts("crops:embedded:placed_digits:64", config.ClassificationSettings())
    if of_images is None or of_crops is None:
        pytest.fail("nothing is held out")
    for one, other in ((of_images.train, of_crops.train), (of_images.validation, of_crops.validation)):
        assert {images.ids[index] for index in one} == {crops.ids[index].partition(" [")[0] for index in other}


def films(root):
    """Twelve images of each of six films, with an object each; one image is corrupt, and another has no object, too."""
    for folder in ("images/train", "labels/train"):
        (root / folder).mkdir(parents=True)
    for number in range(72):
        noise = np.random.default_rng(number).integers(0, 256, (32, 32, 3), np.uint8)
        path = root / f"images/train/film{number % 6}_{number:02}.png"
        Image.fromarray(noise).save(path)
        (root / f"labels/train/{path.stem}.txt").write_text("0 0.5 0.5 0.4 0.4\n" if number != 40 else "")
        if number in (10, 40):
            path.write_bytes(path.read_bytes()[:400])
    return root


@pytest.mark.slow
@pytest.mark.parametrize("groups", [None, r"(film\d)_"])
@pytest.mark.parametrize("proposals", [False, True])
def test_crops_match_the_hold_out_of_a_detector_that_skips_corrupt_images(tmp_path, groups, proposals):
    root = films(tmp_path / "films")

    def parts(source, task):
        data = config.Data(
            source=source,
            image_size=16,
            train_split="train",
            test_split=None,
            validation_fraction=0.25,
            validation_split=None,
            corrupt_images="skip",
            groups=groups,
        )
        if proposals:
            data = config.override(data, {"proposals.directory": str(tmp_path / "proposals")})
        chosen = read(config.Experiment(task=task, data=data, training=config.Training(batch_size=8)))
        return [{name.partition(" [")[0] for name in each.dataset.ids} for each in (chosen.train, chosen.validation)]

    images = parts(f"yolo:{root}", config.YoloSettings())
    assert parts(f"crops:yolo:{root}", config.ClassificationSettings()) == images
    train, held_out = ({name.partition("_")[0] for name in side} for side in images)
    assert not groups or not train & held_out


@pytest.mark.slow
@pytest.mark.parametrize(
    "data",
    [
        {"validation_fraction": 0.25},
        {"train_examples": 20, "validation_fraction": 0.25},
        {"folds": 3},
        {"folds": 3, "fold": 1, "fold_train_examples": 12},
        {"folds": 2, "fold_examples": 14, "validation_fraction": 0.3},
        {"validation_fraction": 0.5, "validation_examples": 6},
        {"validation_split": "val", "validation_examples": 6},
    ],
)
def test_corrupt_images_do_not_change_how_the_others_are_drawn(image_folder, data):
    root = image_folder({"train/a": 15, "train/b": 15, "val/a": 5, "val/b": 5})
    settings = digits(source=f"folder:{root}", channels=3, corrupt_images="skip", **{"validation_split": None} | data)
    settings = config.override(settings, ["training.batch_size=4", "data.max_lost=1"])
    whole = read(settings)
    corrupt = [*sorted(root.glob("train/*/*"))[::4], root / "val/a/000.png"]
    for path in corrupt:
        path.write_bytes(b"no image")
    left = read(settings)
    assert len(left.train) < len(whole.train)
    for one, other in ((whole.train, left.train), (whole.validation, left.validation)):
        assert other.dataset.ids == [each for each in one.dataset.ids if each not in map(str, corrupt)]


def test_a_class_without_readable_training_images_is_refused(image_folder):
    root = image_folder({"train/a": 15, "train/b": 4})
    settings = digits(source=f"folder:{root}", channels=3, corrupt_images="skip", test_split=None, folds=2)
    settings = config.override(settings, ["training.batch_size=4", "data.max_lost=1"])
    for name in read(settings).train.dataset.ids:
        if "/b/" in name:
            (root / name).write_bytes(b"no image")
    with pytest.raises(UserError, match=r'without corrupt images, the training part .* none of class "b"'):
        read(settings)


def test_the_record_of_a_detector_has_no_counts_of_labeled_images(monkeypatch):
    labeled = read(digits())
    assert sum(labeled.record()["train_class_counts"]) == len(labeled.train)
    monkeypatch.setattr(placed_digits, "COUNTS", {"train": 16, "validation": 8, "test": 5})
    settings = config.Experiment(
        task=config.YoloSettings(),
        data=config.Data(source="embedded:placed_digits:64", image_size=16),
        training=config.Training(batch_size=8),
    )
    record = read(settings).record()
    assert "train_class_counts" not in record
    assert record["train_examples"] == 16


def test_reduced_decoding_reaches_the_images(tmp_path):
    for name in "ab":
        (tmp_path / f"train/{name}").mkdir(parents=True)
        noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
        for number in range(3):
            Image.fromarray(noise).save(tmp_path / f"train/{name}/{number}.jpg")
    kept = []
    for reduced in (False, True):
        settings = digits(source=f"folder:{tmp_path}", channels=3, image_size=8, reduced_decoding=reduced)
        wanted = selection.request(config.override(settings, ["training.batch_size=2"]))
        images = selection.read(wanted, QUIET)
        assert images.settings["data.reduced_decoding"] == reduced
        assert not any("data.reduced_decoding" in note for note in images.notes)
        kept.append(images.train)
    assert [each.reduced for each in kept] == [False, True]
    assert (kept[0].pixels != kept[1].pixels).any()


@pytest.mark.parametrize(("values", "effect"), [({}, False), ({"image_size": 9}, False), ({"image_size": 4}, True)])
def test_reduced_decoding_without_effect_is_a_note(values, effect):
    wanted = selection.request(digits(reduced_decoding=True, **values))
    notes = [note for note in selection.read(wanted, QUIET).notes if "data.reduced_decoding has no effect" in note]
    assert not notes if effect else "images have 8x8 pixels" in notes[0]


@pytest.mark.slow
@pytest.mark.parametrize(("augmentation", "noted"), [("hue=0.1", False), ("mosaic=0.5", True), ("mixup=0.5", True)])
def test_images_that_augmentation_joins_can_have_more_objects_than_the_task_uses(tmp_path, augmentation, noted):
    source = write_coco(tmp_path, 6)
    images = {"data.source": f"coco:{source}", "training.batch_size": 4, "model.resolution": 64}
    settings = config.replaced(config.Experiment(), {"task.name": "yolo", **images})
    most = max(map(len, selection.open_source(selection.request(settings)).load("train").objects))
    settings = config.override(settings, [f"task.augmentation.{augmentation}", f"task.max_objects={most}"])
    notes = selection.read(selection.request(settings), QUIET).notes
    found = [note for note in notes if f"more than task.max_objects={most}, the smallest ones are dropped" in note]
    assert len(found) == noted
    settings = config.override(settings, [f"task.max_objects={4 * most}"])
    assert not any("task.max_objects" in note for note in selection.read(selection.request(settings), QUIET).notes)


def shown(dataset):
    return set().union(*(each.labels[~each.ignored].tolist() for each in dataset.objects))


def objects_of_rare_classes(tmp_path, **data):
    source = write_coco(tmp_path, 12)
    values = {"task.name": "yolo", "data.source": f"coco:{source}", "training.batch_size": 2, "model.resolution": 64}
    values |= {f"data.{key}": value for key, value in data.items()}
    wanted = selection.request(config.replaced(config.Experiment(), values))
    return wanted, selection.open_source(wanted).load("train")


@pytest.mark.parametrize("grouped", [False, True])
def test_a_hold_out_leaves_objects_of_every_class_to_train_on(tmp_path, grouped):
    wanted, whole = objects_of_rare_classes(tmp_path, validation_fraction=0.3)
    if grouped:
        whole = dataclasses.replace(whole, groups=np.arange(len(whole)) // 2)
    sizes = []
    for seed in range(20):
        part = selection.fold(dataclasses.replace(wanted, seed=seed), whole, validates=False)
        assert shown(whole.take(part.train)) == shown(whole)
        assert sorted([*part.train, *part.validation]) == list(range(len(whole)))
        if grouped:
            assert not set(whole.groups[part.train]) & set(whole.groups[part.validation])
        sizes.append(len(part.validation))
    assert min(sizes) < 4  # in some draws, an image had to move
    assert max(sizes) == 4


def sparse(showing, count=40, classes=1):
    """Images of which the first ones have an object each, of one class after the other."""
    flags = [np.zeros(int(index < showing), bool) for index in range(count)]
    objects = [
        Objects(np.tile(np.float32([0, 0, 8, 8]), (len(none), 1)), np.full(len(none), index % classes), none, none)
        for index, none in enumerate(flags)
    ]
    names = tuple(map(str, range(classes)))
    return Dataset("sparse", names, list(map(str, range(count))), EncodedImages([b""] * count, ""), objects=objects)


@pytest.mark.parametrize(
    ("showing", "classes", "grouped"),
    [(2, 1, False), (5, 1, False), (5, 2, False), (38, 3, False), (2, 1, True), (5, 2, True)],
)
def test_both_parts_of_a_hold_out_show_objects(showing, classes, grouped):
    settings = config.Experiment(task=config.YoloSettings(), data=config.Data(validation_fraction=0.15))
    dataset = sparse(showing, classes=classes)
    if grouped:
        dataset = dataclasses.replace(dataset, groups=np.arange(40))
    for seed in range(20):
        wanted = dataclasses.replace(selection.request(settings), seed=seed)
        part = selection.fold(wanted, dataset, validates=False)
        assert shown(dataset.take(part.train))
        assert shown(dataset.take(part.validation))
        assert sorted([*part.train, *part.validation]) == list(range(40))
        assert len(part.validation) == 6 + ((showing, grouped) == (2, True))


def test_held_out_images_whose_classes_are_trained_are_not_compared_with_all_others(monkeypatch):
    """The time would grow with the square of the images."""
    settings = config.Experiment(task=config.YoloSettings(), data=config.Data(validation_fraction=0.15))
    calls, setdiff1d = [], np.setdiff1d
    monkeypatch.setattr(np, "setdiff1d", lambda *args: calls.append(len(args)) or setdiff1d(*args))
    counts = []
    for count in (40, 400):
        selection.fold(selection.request(settings), sparse(count, count), validates=False)
        counts.append(len(calls))
        calls.clear()
    assert counts[0] == counts[1]


def test_images_that_all_show_objects_are_drawn_as_others():
    settings = config.Experiment(task=config.YoloSettings(), data=config.Data(validation_fraction=0.15))
    part = selection.fold(selection.request(settings), sparse(40), validates=False)
    expected = holdout(np.zeros(40), 0.15, settings.seed)
    np.testing.assert_array_equal(part.validation, expected.validation)


@pytest.mark.slow
def test_folds_say_which_classes_are_not_trained(tmp_path):
    said = []
    for fold in range(4):
        wanted, whole = objects_of_rare_classes(tmp_path / str(fold), folds=4, fold=fold)
        images = selection.choose(wanted, selection.read(wanted, QUIET))
        missing = shown(whole) - shown(images.train.dataset)
        notes = [note for note in images.notes if "no image to train on shows" in note]
        assert len(notes) == bool(missing)
        assert all(f'"{whole.class_names[label]}"' in notes[0] for label in missing)
        said += notes
    assert said
