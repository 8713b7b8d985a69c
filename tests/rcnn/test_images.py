"""Which images a run trains on, holds out and is tested on."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from tests.rcnn.voc_digits import SOURCE, write_voc
from tfeff import config
from tfeff.data.dataset import Dataset
from tfeff.data.images.storage import EncodedImages
from tfeff.data.sources import catalog, placed_digits
from tfeff.errors import UserError
from tfeff.rcnn import images
from tfeff.rcnn.images import RunImages


@pytest.fixture(autouse=True)
def _small_splits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first images of each split; drawing all of them would take most of the time."""
    monkeypatch.setattr(placed_digits, "COUNTS", {"train": 60, "validation": 90, "test": 30})


def run_images(**data: object) -> RunImages:
    return RunImages(config.RCNN(data=config.DetectionData(source=SOURCE, **data)))


def test_validation_images_are_held_out_by_the_seed() -> None:
    options = {"train_split": "validation", "validation_fraction": 0.25, "train_examples": 80}
    run = run_images(**options)
    train, validation = run.training["train"], run.training["validation"]
    assert (len(train), len(validation)) == (60, 20)
    assert not set(train.ids) & set(validation.ids)
    assert list(run_images(**options).training["validation"].ids) == list(validation.ids)
    # Even if the source has a split of that name.
    assert run.split("validation") is run.split("val") is validation


def test_splits_that_share_images_are_refused() -> None:
    with pytest.raises(UserError, match=r"data\.validation_split: .* are also in"):
        run_images(train_split="all", validation_split="val").split("train")


def test_images_without_objects_are_refused(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    source = catalog.open_objects(SOURCE).load("validation")
    for number in range(20):
        (tmp_path / "images" / f"{number}.png").write_bytes(source.encoded(number))
    with pytest.raises(UserError, match="have no objects"):
        RunImages(config.RCNN(data=config.DetectionData(source=f"yolo:{tmp_path}"))).split("train")


@pytest.mark.parametrize("name", ["validation", "val"])
def test_any_split_of_the_source_can_be_the_test_split(name: str) -> None:
    run = run_images(test_split=name)
    assert run.test_split == "validation"
    for alias in ("validation", "val"):
        assert run.resolve(alias) == "validation"
        assert list(run.split(alias).ids) == list(run.load("validation").ids)
    assert not set(run.split(name).ids) & set(run.training["validation"].ids)
    assert run.resolve("training") == "train"


def test_some_images_must_be_left_to_train_on(tmp_path: Path) -> None:
    write_voc(tmp_path, {"train": range(2)})
    data = config.DetectionData(source=f"voc:{tmp_path}", validation_fraction=0.9)
    with pytest.raises(UserError, match=r"data\.validation_fraction: .*0\.9 of 2 images leaves none to train on"):
        RunImages(config.RCNN(data=data)).split("train")


def test_an_unknown_test_split_is_named_with_its_key() -> None:
    with pytest.raises(UserError, match=r'data\.test_split: .* no split "tset"; did you mean "test"'):
        run_images(test_split="tset").split("test")
    assert run_images(test_split=None).test_split is None


def test_the_validation_split_replaces_a_missing_test_split(tmp_path: Path) -> None:
    write_voc(tmp_path, {"train": range(6), "val": range(6, 8), "trainval": range(8)})
    expected = {"train": "validation", "all": None, "trainval": None, "val": None}
    for train_split, test_split in expected.items():
        data = config.DetectionData(source=f"voc:{tmp_path}", train_split=train_split)
        assert RunImages(config.RCNN(data=data)).test_split == test_split


def test_a_source_may_lack_a_test_split(tmp_path: Path) -> None:
    write_voc(tmp_path, {"train": range(6), "val": range(6, 8)})
    run = RunImages(config.RCNN(data=config.DetectionData(source=f"voc:{tmp_path}", validation_split="val")))
    assert run.test_split is None
    assert list(run.split("validation").ids) == ["006", "007"]
    with pytest.raises(UserError, match='no split "test"'):
        run.split("test")


@pytest.mark.parametrize("validation", [True, False])
def test_training_images_are_refused_for_testing(validation: bool) -> None:
    names = ("validation", "validation") if validation else ("all", "test")
    run = run_images(train_split=names[0], test_split=names[1])
    with pytest.raises(UserError, match=r"data\.test_split: .*Choose other splits"):
        run.split(names[1])


def test_corrupt_images_are_skipped_and_listed(tmp_path: Path) -> None:
    write_voc(tmp_path, {"train": range(6)}, annotations="annots", images="images", truncated=(2,))
    data = config.DetectionData(source=f"voc:{tmp_path}", corrupt_images="skip", validation_fraction=0.4)
    run = RunImages(config.RCNN(data=data))
    assert sorted(run.training["train"].ids + run.training["validation"].ids) == ["000", "001", "003", "004", "005"]
    assert list(run.skipped) == ["002"]
    assert "truncated" in run.skipped["002"]


def test_the_progress_of_checking_counts_every_image(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = list[int]()
    monkeypatch.setattr(images.Bar, "show", lambda _, done: shown.append(done))
    assert images.corrupt_images(part(("a",), [b"x", b"y", b"z"])).keys() == {0, 1, 2}
    assert shown == [1, 2, 3]


def part(class_names: tuple[str, ...], contents: list[bytes]) -> Dataset:
    """Images called 0, 1, ... with these contents."""
    dataset = catalog.open_objects(SOURCE).load("validation").take(np.arange(len(contents)))
    ids = [str(number) for number in range(len(contents))]
    return dataclasses.replace(dataset, class_names=class_names, ids=ids, images=EncodedImages(contents, "1"))


def test_images_of_one_name_may_differ_in_content() -> None:
    images.require_disjoint(part(("a",), [b"x", b"y"]), part(("a",), [b"y", b"x"]), "key")
    with pytest.raises(UserError, match=r"key: 1 images .* the first is 1"):
        images.require_disjoint(part(("a",), [b"x", b"y"]), part(("a",), [b"z", b"y"]), "key")


def test_splits_with_other_classes_are_refused() -> None:
    with pytest.raises(UserError, match="must have the same classes"):
        images.require_disjoint(part(("a", "b"), [b"x"]), part(("b",), [b"y"]), "key")


def test_changes_of_the_training_images_are_noticed(tmp_path: Path) -> None:
    path = tmp_path / "dataset.json"
    training = run_images(train_split="validation").training
    images.record(path, training)
    images.record(path, run_images(train_split="validation").training)
    train = training["train"]
    assert images.class_names(path) == train.class_names
    renamed = dataclasses.replace(train, class_names=("ant", *train.class_names))
    moved = [dataclasses.replace(objects, boxes_yxyx=objects.boxes_yxyx + 1) for objects in train.objects]
    for changed in (renamed, train.take(np.arange(len(train) - 1)), dataclasses.replace(train, objects=moved)):
        with pytest.raises(UserError, match="have changed since"):
            images.record(path, {**training, "train": changed})
