import dataclasses

import numpy as np
import pytest
from PIL import Image

from tests.selection.digit_splits import FOLDERS, QUIET, digits, planned
from tfeff import config, selection
from tfeff.data.dataset import Dataset
from tfeff.data.images.storage import EncodedImages
from tfeff.data.sources import catalog, given
from tfeff.data.sources.given import Images
from tfeff.data.sources.source import Options, Source
from tfeff.errors import UserError


def test_without_held_out_images_a_validation_folder_still_validates(image_folder):
    _, _, chosen = planned(image_folder(FOLDERS), validation_fraction=0.0)
    assert chosen.validation == "validation"


def test_an_unused_fraction_is_noted(image_folder):
    _, _, chosen = planned(image_folder(FOLDERS), validation_fraction=0.3)
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
        planned(image_folder(FOLDERS), **data)


def test_a_single_class_is_refused(image_folder):
    with pytest.raises(UserError, match='has a single class, "a"; a classifier needs at least two'):
        planned(image_folder({"train/a": 12, "val/a": 5}))


def test_images_without_objects_are_refused(tmp_path):
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    for number in range(20):
        Image.new("RGB", (32, 32), (number, 0, 0)).save(tmp_path / "images" / f"{number}.png")
        (tmp_path / "labels" / f"{number}.txt").touch()
    settings = config.Experiment(task=config.YoloSettings(), data=config.Data(source=f"yolo:{tmp_path}", image_size=32))
    wanted = selection.request(config.override(settings, ["training.batch_size=2", "data.test_split=none"]))
    with pytest.raises(UserError, match="the 16 images to train on have no objects"):
        selection.choose(wanted, selection.read(wanted, QUIET))


def test_classes_in_another_order_are_refused():
    dataset = catalog.open_objects("embedded:placed_digits").load("validation").take(np.arange(3))
    turned = dataclasses.replace(dataset, class_names=dataset.class_names[::-1])
    with pytest.raises(UserError, match="must have the same classes in the same order"):
        selection.splits.require_same_classes(dataset, turned)


@pytest.mark.parametrize("copied", [True, False])
def test_images_are_shared_only_if_their_content_is_the_same(copied):
    class Lists(Source):
        splits = ("train", "test")
        disjoint = False

        def _load(self, split):
            contents = [b"x", b"y"] if split == "train" else [b"z", b"y" if copied else b"x"]
            return Dataset(split, ("a",), ["0", "1"], EncodedImages(contents, "1"))

    assert Lists("lists", Options()).overlap("train", "test") == copied


def test_lists_that_overlap_the_training_split_do_not_validate(dataset):
    settings = config.override(digits(source=f"voc:{dataset('bccd') / 'BCCD'}"), ["task.name=localization"])
    source = selection.open_source(selection.request(settings))
    assert selection.assign(selection.request(settings), source).validation == "validation"
    joined = config.override(settings, ["data.train_split=trainval"])
    assert selection.assign(selection.request(joined), source).validation is None
    with pytest.raises(UserError, match="shares images with"):
        selection.assign(selection.request(config.override(joined, ["data.validation_split=val"])), source)


def listed_images(root, train, validation, test=""):
    for folder in ("images", "labels"):
        (root / folder).mkdir()
    for name in sorted({*train, *validation, *test}):
        Image.new("RGB", (32, 32), (ord(name), 0, 0)).save(root / "images" / f"{name}.png")
        (root / "labels" / f"{name}.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    for split, names in (("train", train), ("val", validation), ("test", test)):
        if names:
            (root / f"{split}.txt").write_text("".join(f"images/{name}.png\n" for name in names))
    settings = config.Experiment(task=config.YoloSettings(), data=config.Data(source=f"yolo:{root}", image_size=32))
    return selection.request(settings)


def test_images_that_train_and_validation_share_are_left_out_of_validation(tmp_path):
    wanted = listed_images(tmp_path, "abcd", "dcefghijklmnopqrstuvwxyz")
    source = selection.open_source(wanted)
    found = selection.check(wanted, source)
    assert selection.assign(wanted, source).validation == "validation"
    assert list(source.load("val").ids) == [f"{name}.png" for name in "efghijklmnopqrstuvwxyz"]
    assert (found["train"].images, found["validation"].images) == (4, 22)
    assert found["validation"].defects.counts == {'image that is also in "train" and left out': 2}
    assert found["validation"].defects.lost("images") == 2


def test_shared_images_are_counted_as_whole_images_if_they_are_cut_into_tiles(tmp_path):
    wanted = listed_images(tmp_path, "abcd", "dcefghijklmnopqrstuvwxyz")
    wanted = dataclasses.replace(wanted, data=dataclasses.replace(wanted.data, tile=16))
    source = selection.open_source(wanted)
    validation = selection.check(wanted, source)["validation"]
    assert source.load("val").uncut.ids == [f"{name}.png" for name in "efghijklmnopqrstuvwxyz"]
    assert validation.images == 22 * 9
    assert validation.uncut[0] == 22
    assert validation.defects.counts == {'image that is also in "train" and left out': 2}
    assert validation.lost("images") == 2 / 24


def test_images_that_validation_and_test_share_are_left_out_of_validation(tmp_path):
    wanted = listed_images(tmp_path, "abcd", "defghijklmnopqrstuvwxyz", "fA")
    source = selection.open_source(wanted)
    found = selection.check(wanted, source)
    assert list(source.load("val").ids) == [f"{name}.png" for name in "eghijklmnopqrstuvwxyz"]
    assert found["validation"].defects.counts == {
        'image that is also in "train" and left out': 1,
        'image that is also in "test" and left out': 1,
    }
    assert found["test"].images == 2


def test_a_validation_split_within_the_test_split_is_not_used_unless_it_is_named(tmp_path):
    wanted = listed_images(tmp_path, "abcd", "ef", "efg")
    chosen = selection.assign(wanted, selection.open_source(wanted))
    assert chosen.validation is None
    assert chosen.notes == (
        f'yolo:{tmp_path}: all 2 images of the split "validation" are also in "test"; it is not validated on',
    )
    wanted = dataclasses.replace(wanted, data=dataclasses.replace(wanted.data, validation_split="val"))
    chosen = selection.assign(wanted, selection.open_source(wanted))
    assert chosen.validation == "validation"
    where = 'images of the validation split "validation" are also in the test split "test"'
    assert chosen.notes == (f"yolo:{tmp_path}: 2 {where}, first: e.png",)


def test_many_shared_images_are_too_many_lost_ones(tmp_path):
    wanted = listed_images(tmp_path, "abcd", "defg")
    with pytest.raises(UserError, match=r"1 of 4 images are lost \(25 %\)"):
        selection.check(wanted, selection.open_source(wanted))


def test_a_validation_split_within_the_training_split_is_not_used_and_that_is_said(tmp_path):
    wanted = listed_images(tmp_path, "abcd", "bc")
    source = selection.open_source(wanted)
    chosen = selection.assign(wanted, source)
    assert chosen.validation is None
    note = f'yolo:{tmp_path}: all 2 images of the split "validation" are also in "train"; it is not validated on'
    assert chosen.notes == (note,)


def test_images_that_train_and_test_share_are_named(tmp_path):
    wanted = listed_images(tmp_path, "abcde", "f", "xedcb")
    with pytest.raises(UserError, match=r'"test" shares images with .*: e.png, d.png, c.png and 1 more; choose'):
        selection.assign(wanted, selection.open_source(wanted))


OPEN = {"train/b": 9, "train/d": 9, "val/a": 3, "val/d": 2, "test/a": 2, "test/c": 2}


def open_set(root, scheme="folder"):
    settings = config.override(digits(source=f"{scheme}:{root}", channels=3), ["task.name=embedding"])
    wanted = selection.request(settings)
    return wanted, selection.open_source(wanted)


@pytest.mark.parametrize("scheme", ["folder", "csv"])
def test_classes_that_are_not_trained_on_have_the_last_numbers(image_folder, scheme):
    root = image_folder(OPEN)
    if scheme == "csv":
        rows = [
            f"{path.relative_to(root)},{path.parent.name},{path.parent.parent.name}"
            for path in sorted(root.rglob("*.png"))
        ]
        root = root / "list.csv"
        root.write_text("\n".join(["image,label,split", *rows]))
    wanted, source = open_set(root, scheme)
    selection.check(wanted, source)
    train, validation, test = (selection.load(wanted, source, split) for split in ("train", "val", "test"))
    assert train.class_names == ("b", "d")
    assert validation.class_names == test.class_names == ("b", "d", "a", "c")
    for split in (train, validation, test):
        named = [split.class_names[label] for label in split.labels]
        assert named == [path.split("/")[-2] for path in split.ids]
    assert "3 of 5 images are of classes that are not trained on: a" in validation.notes[-1]
    assert "4 of 4 images are of classes that are not trained on: a, c" in test.notes[-1]
    assert not any("not trained on" in note for note in train.notes)


def test_other_tasks_refuse_them(image_folder):
    with pytest.raises(UserError, match='class "a" is not among the classes of'):
        planned(image_folder(OPEN))


def test_splits_of_the_same_classes_stay_as_they_are(image_folder):
    wanted, source = open_set(image_folder(FOLDERS))
    assert selection.load(wanted, source, "val") is source.load("val")


def test_other_tasks_refuse_given_images_of_classes_that_are_not_trained_on():
    pixels = np.zeros((6, 8, 8, 3), np.uint8)
    for split in ("validation", "test"):
        images = Images({"train": (pixels, list("bdbdbd")), split: (pixels[:4], list("aadd"))}, name="letters")
        wanted = selection.request(digits(source=given.offer(images), channels=3))
        with pytest.raises(UserError, match=rf"/train has no images of a, which .*/{split} has; add images of them"):
            selection.check(wanted, selection.open_source(wanted))


def test_given_images_may_have_further_classes():
    pixels = np.zeros((6, 8, 8, 3), np.uint8)
    images = Images({"train": (pixels, list("bdbdbd")), "validation": (pixels[:4], list("aadd"))}, name="letters")
    settings = config.override(digits(source=given.offer(images), channels=3), ["task.name=embedding"])
    wanted = selection.request(settings)
    source = selection.open_source(wanted)
    selection.check(wanted, source)
    assert selection.load(wanted, source, "train").class_names == ("b", "d")
    validation = selection.load(wanted, source, "validation")
    assert [validation.class_names[label] for label in validation.labels] == list("aadd")
    assert validation.labels.tolist() == [2, 2, 1, 1]


def test_a_split_that_could_be_several_is_not_ignored():
    class Published(Source):
        splits = ("train2017", "val2014", "val2017", "test2014", "test2015")

        def _load(self, split: str) -> Dataset:
            return Dataset(split, ("a",), [split], EncodedImages([b""], "1"), labels=np.zeros(1, np.int32))

    source = Published("coco:x", Options())

    def assigned(**data):
        return selection.assign(selection.request(digits(**data)), source)

    with pytest.raises(UserError, match='test_split: "test" could be test2014 or test2015 of coco:x; name one'):
        assigned()
    with pytest.raises(UserError, match='validation_split: "validation" could be val2014 or val2017 of coco:x'):
        assigned(test_split=None)
    named = assigned(test_split="test2015", validation_split="val2014")
    assert (named.train, named.validation, named.test) == ("train2017", "val2014", "test2015")
