import json

import numpy as np
import pytest
from PIL import Image

from tests.selection.digit_splits import FOLDERS, QUIET, digits, indices, planned, read
from tfeff import config, selection
from tfeff.data.input.cache import ImageCache
from tfeff.errors import UserError


def unused() -> selection.Fingerprint:
    raise AssertionError("no fingerprint is needed")


def test_the_validation_split_of_a_finished_run_has_its_held_out_images():
    settings = digits(validation_fraction=0.1)
    dataset = read(settings)
    again = selection.evaluation_images(
        selection.request(settings), "validation", dataset.record(), lambda: dataset.fingerprint, QUIET
    )
    assert again.dataset.ids == dataset.validation.dataset.ids


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["memory", "disk", "none"])
def test_only_the_images_of_a_part_are_decoded(image_folder, tmp_path, monkeypatch, kind):
    root = image_folder({"train/a": 20, "train/b": 20})
    sorted(root.rglob("*.png"))[0].write_bytes(b"no image")
    kept = {"cache": kind, "cache_directory": str(tmp_path / "cache"), "corrupt_images": "skip"}
    settings = digits(source=f"folder:{root}", channels=3, image_size=8, validation_fraction=0.25, **kept)
    settings = config.override(settings, ["training.batch_size=8"])
    wanted, dataset, decoded, opened = selection.request(settings), read(settings), [], ImageCache.open

    def counted(images, *arguments, **options):
        decoded.append(len(images))
        return opened(images, *arguments, **options)

    monkeypatch.setattr(ImageCache, "open", counted)
    again = selection.evaluation_images(wanted, "validation", dataset.record(), lambda: dataset.fingerprint, QUIET)
    train, places = selection.trained_part(wanted, selection.open_source(wanted))
    part = selection.cache_part(wanted, train, places, QUIET)
    assert decoded == ([40, 40] if kind == "disk" else [10, 30])
    for found, expected in ((again, dataset.validation), (part, dataset.train)):
        assert found.dataset.ids == expected.dataset.ids
        np.testing.assert_array_equal(next(found.chunks(99)), next(expected.chunks(99)))


def test_validation_on_a_subset_does_not_shrink_the_evaluation():
    settings = digits(validation_fraction=0.25)
    limited = digits(validation_fraction=0.25, validation_examples=60)
    whole, part = read(settings), read(limited)
    np.testing.assert_array_equal(part.train.rows, whole.train.rows)
    assert len(part.validation) == 60
    assert indices(part.validation) < indices(whole.validation)
    counts = np.bincount(part.validation.dataset.labels)
    assert counts.max() - counts.min() <= 1
    again = selection.evaluation_images(
        selection.request(limited), "validation", part.record(), lambda: part.fingerprint, QUIET
    )
    assert again.dataset.ids == whole.validation.dataset.ids


def test_a_run_without_validation_images_has_no_validation_split():
    settings = digits(validation_fraction=0.0)
    with pytest.raises(UserError, match="held out no images"):
        selection.evaluation_images(selection.request(settings), "validation", read(settings).record(), unused, QUIET)


def test_other_classes_are_refused():
    settings = digits()
    began, record = unused, read(settings).record() | {"class_names": ["a", "b"]}
    with pytest.raises(UserError, match="not those that the network was trained on"):
        selection.evaluation_images(selection.request(settings), "test", record, began, QUIET)


@pytest.mark.slow
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
    dataset = read(settings)
    record, began = dataset.record(), lambda: dataset.fingerprint
    before = selection.evaluation_images(selection.request(settings), split, record, began, QUIET).dataset.ids
    Image.new("RGB", (8, 8)).save(parts[0] / "a" / "new.png")
    if own and split == "test":  # whatever becomes of the training images
        assert (
            selection.evaluation_images(selection.request(settings), split, record, began, QUIET).dataset.ids == before
        )
    else:
        with pytest.raises(UserError, match="have changed since this run began"):
            selection.evaluation_images(selection.request(settings), split, record, began, QUIET)


def test_a_validation_folder_validates_and_is_evaluated_if_there_is_no_test_split(image_folder):
    settings, source, chosen = planned(image_folder(FOLDERS))
    assert (chosen.train, chosen.validation, chosen.test) == ("train", "validation", None)
    split, note = selection.final_split(selection.request(settings), {"validation_examples": 10}, source)
    assert split == "validation"
    assert "has no test split: evaluated on the validation images" in note


def test_without_held_out_images_there_is_nothing_to_evaluate(image_folder):
    settings, source, _ = planned(image_folder(FOLDERS), validation_split=None, validation_fraction=0.0)
    assert selection.final_split(selection.request(settings), {"validation_examples": 0}, source) is None


@pytest.mark.parametrize("name", ["val", "valid", "dev", "validation"])
def test_a_validation_folder_can_be_the_test_split(image_folder, name):
    settings, source, chosen = planned(image_folder(FOLDERS), test_split=name)
    assert (chosen.validation, chosen.test) == (None, "validation")
    assert selection.final_split(selection.request(settings), {"validation_examples": 2}, source) == ("validation", "")
    dataset = read(settings)
    record, began = dataset.record(), lambda: dataset.fingerprint
    assert record["validation_examples"] == 2  # held out of the training split
    assert len(selection.evaluation_images(selection.request(settings), name, record, began, QUIET, source)) == 10


def test_a_split_that_the_source_names_exactly_is_not_what_the_run_validated_on(tmp_path):
    annotations = tmp_path / "annotations"
    annotations.mkdir()
    for split, count in {"train2017": 20, "val2014": 6, "val2017": 10}.items():
        (tmp_path / split).mkdir()
        images = [{"id": n, "file_name": f"{split}_{n}.png", "height": 12, "width": 16} for n in range(1, count + 1)]
        for image in images:
            Image.new("RGB", (16, 12), (image["id"], 0, count)).save(tmp_path / split / image["file_name"])
        objects = [{"id": n, "image_id": n, "category_id": n % 2, "bbox": [2, 2, 6, 6]} for n in range(1, count + 1)]
        content = {
            "images": images,
            "annotations": objects,
            "categories": [{"id": 0, "name": "a"}, {"id": 1, "name": "b"}],
        }
        (annotations / f"instances_{split}.json").write_text(json.dumps(content))
    changes = ["task.name=localization", "training.batch_size=8", "data.validation_split=val2014"]
    settings = config.override(digits(source=f"coco:{tmp_path}", channels=3, test_split=None), changes)
    wanted, run = selection.request(settings), read(settings)
    source, record, began = selection.open_source(wanted), run.record(), lambda: run.fingerprint
    assert record["validation_examples"] == 6

    def images(split):
        return selection.evaluation_images(wanted, split, record, began, QUIET, source).dataset.ids

    assert all("val2017_" in each for each in images("val2017"))
    assert [len(images(split)) for split in ("val2017", "val2014", "validation", "val")] == [10, 6, 6, 6]
    parts = [selection.role(wanted, record, source, split) for split in ("val2017", "val2014", "val")]
    assert parts == ["other", "validation", "validation"]
    assert selection.final_split(wanted, record, source)[0] == "validation"


def test_the_validation_split_of_the_source_is_evaluated_if_another_one_validates(image_folder):
    counts = {"train/a": 12, "train/b": 12, "validation/a": 3, "validation/b": 3, "test/a": 5, "test/b": 5}
    settings, source, _ = planned(image_folder(counts), validation_split="test", test_split=None)
    wanted, run = selection.request(settings), read(settings)
    record, began = run.record(), lambda: run.fingerprint
    assert selection.role(wanted, record, source, "validation") == "other"
    images = selection.evaluation_images(wanted, "validation", record, began, QUIET, source)
    assert len(images) == 6
    assert selection.final_split(wanted, record, source)[0] == "test"


def test_the_part_that_a_fold_holds_out_is_called_validation_and_this_is_said(image_folder):
    settings, source, chosen = planned(image_folder(FOLDERS), folds=3, test_split=None)
    wanted, run = selection.request(settings), read(settings)
    record, began = run.record(), lambda: run.fingerprint
    assert (chosen.validation, record["validation_examples"]) == (None, 8)
    images = selection.evaluation_images(wanted, "validation", record, began, QUIET, source).dataset
    assert images.ids == run.validation.dataset.ids
    assert any('held out of the split "train", not the split "validation"' in note for note in images.notes)


def test_a_split_has_one_name(image_folder):
    counts = {f"{split}/{name}": 8 for split in ("training", "testing") for name in "ab"}
    settings, source, _ = planned(image_folder(counts))
    wanted, record = selection.request(settings), {"validation_examples": 2}
    names = {split: selection.split_name(wanted, split, record, source) for split in ("test", "testing", "val")}
    assert names["test"] == names["testing"] == selection.final_split(wanted, record, source)[0]
    assert names["val"] == "validation"


def test_an_overlapping_validation_list_is_not_evaluated(dataset):
    changes = [
        "task.name=localization",
        "data.train_split=trainval",
        "data.test_split=none",
        "data.validation_fraction=0",
    ]
    settings = config.override(digits(source=f"voc:{dataset('bccd') / 'BCCD'}"), changes)
    source = selection.open_source(selection.request(settings))
    assert selection.final_split(selection.request(settings), {"validation_examples": 0}, source) is None
    with pytest.raises(UserError, match="no validation split apart from the training images"):
        selection.evaluation_images(
            selection.request(settings), "val", {"validation_examples": 0}, unused, QUIET, source
        )


@pytest.mark.slow
def test_a_run_on_given_datasets_is_evaluated_on_splits_of_its_source(dataset):
    changes = ["data.train_split=trainval", "data.validation_split=validation", "data.image_size=8"]
    settings = config.override(digits(source=f"crops:voc:{dataset('bccd') / 'BCCD'}", channels=3), changes)
    record = {"given": True, "validation_examples": 3, "image_size": [8, 8]}
    record["class_names"] = ["Platelets", "RBC", "WBC", "background"]
    images = selection.evaluation_images(selection.request(settings), "test", record, unused, QUIET)
    assert images.dataset.name.endswith("/test")


def test_the_part_of_a_split_in_a_run(image_folder):
    wanted, source = (lambda each: (selection.request(each[0]), each[1]))(planned(image_folder(FOLDERS)))
    record = {"validation_examples": 10}
    assert [selection.role(wanted, record, source, name) for name in ("train", "val", "all")] == [
        "train",
        "validation",
        "other",
    ]
    wanted, source = (lambda each: (selection.request(each[0]), each[1]))(
        planned(image_folder(FOLDERS), test_split="val")
    )
    assert selection.role(wanted, record, source, "validation") == "test"
    both = planned(image_folder(FOLDERS), test_split="val", validation_split="val")
    assert selection.role(selection.request(both[0]), record, both[1], "val") == "validation"


def test_a_split_within_the_training_split_is_a_training_split(dataset):
    changes = ["data.train_split=trainval", "data.validation_split=test", "data.image_size=8"]
    settings = config.override(digits(source=f"crops:voc:{dataset('bccd') / 'BCCD'}", channels=3), changes)
    wanted, record = selection.request(settings), {"validation_examples": 3}
    source = selection.open_source(wanted)
    assert [selection.role(wanted, record, source, name) for name in ("train", "validation", "test")] == [
        *("train", "train", "validation")
    ]


def test_how_the_splits_were_drawn_is_said(image_folder, tmp_path):
    settings, source, _ = planned(image_folder(FOLDERS))
    record = {"train_examples": 20, "validation_examples": 10}
    assert selection.how_drawn(selection.request(settings), record, source) == (
        'Trained on 20 images (split "train"), validated on 10 (split "validation"); there are no test images.'
    )
    settings = digits(train_examples=100, validation_fraction=0.25)
    source = selection.open_source(selection.request(settings))
    assert selection.how_drawn(selection.request(settings), record, source).startswith(
        'Trained on 20 images (split "train"), validated on 10 that were drawn from the same split (25 %, seed 0); '
        'tested on the split "test".'
    )


@pytest.mark.parametrize("boxes", [False, True])
def test_splits_are_drawn_class_by_class_only_from_images_with_labels(image_folder, tmp_path, boxes):
    root = image_folder({"a": 10, "b": 10})
    settings = digits(source=f"folder:{root}")
    if boxes:
        rows = [f"{path},1,1,4,4,x" for path in sorted(root.rglob("*.png"))]
        (tmp_path / "boxes.csv").write_text("\n".join(rows))
        settings = config.override(settings, ["task.name=yolo", f"data.source=csv:{tmp_path}/boxes.csv"])
    source = selection.open_source(selection.request(settings))
    said = selection.how_drawn(selection.request(settings), {"train_examples": 16, "validation_examples": 2}, source)
    drawn = "drawn with" if boxes else "drawn class by class with"
    assert f"so they were {drawn} seed 0: train 80 %, validation 10 %, test 10 %." in said
