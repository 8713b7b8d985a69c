"""The images of a diagnosis are those that the run trained and validated on."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from tfeff import config, selection
from tfeff.analysis import diagnosis
from tfeff.training import Workdir


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three splits; one training image is corrupt."""
    rng, root = np.random.default_rng(0), tmp_path_factory.mktemp("images")
    for split, count in (("train", 12), ("val", 6), ("test", 6)):
        for name in ("a", "b"):
            (root / split / name).mkdir(parents=True)
            for index in range(count):
                image = rng.integers(0, 255, (8, 8, 3), np.uint8)
                cv2.imwrite(str(root / split / name / f"{split}{index}.png"), image)
    (root / "train" / "a" / "train3.png").write_bytes(b"no image")
    return root


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"train_examples": 10},
        {"folds": 3, "fold": 1},
        {"validation_split": "test", "test_split": "val"},
        {"validation_examples": 3, "folds": 2},
    ],
)
def test_images_of_a_run(data: dict, folder: Path, tmp_path: Path) -> None:
    settings = config.Experiment(
        model=config.architecture("resnet", width=2, stage_blocks=(1, 1), resolution=8),
        data=config.Data(source=f"folder:{folder}", corrupt_images="skip", **data),
        training=config.Training(batch_size=4),
    )
    chosen = selection.choose(selection.request(settings), selection.read(selection.request(settings), lambda *_: None))
    (tmp_path / "config.json").write_text(config.to_json(settings))
    workdir = Workdir(tmp_path)
    workdir.write_dataset(chosen.record())
    workdir.append_row({"epoch": 1, "step": 1})
    splits = diagnosis.open_run(tmp_path).splits
    corrupt = {str(folder / "train" / "a" / "train3.png")}
    trained, validated = (set(map(str, splits[role].ids)) for role in ("train", "validation"))
    assert trained - corrupt == set(map(str, chosen.train.dataset.ids))
    expected = set(map(str, chosen.validation.dataset.ids))
    assert validated >= expected if "validation_examples" in data else validated == expected
    assert not trained & validated


def test_a_split_for_validation_may_be_the_test_split(folder: Path) -> None:
    subject = diagnosis.open_dataset(f"folder:{folder}", ["data.test_split=val"])
    assert {role: len(images) for role, images in subject.splits.items()} == {"train": 24, "test": 12}
    asked = {split: subject.asked(split) for split in ("test", "val", "train")}
    # The folder also has a split of that name, which the run does not use.
    assert asked == {"test": ("test", "test"), "val": ("test", "val"), "train": ("train", "train")}


def test_the_test_images_have_that_role_whatever_the_name_of_their_split(folder: Path, tmp_path: Path) -> None:
    for split in ("train", "val"):
        (tmp_path / split).symlink_to(folder / split)
    subject = diagnosis.open_dataset(f"folder:{tmp_path}", ["data.test_split=val"])
    assert (subject.asked("test"), subject.asked("validation")) == (("test", "val"), ("test", "validation"))
    plain = diagnosis.open_dataset(f"folder:{tmp_path}", [])
    assert (plain.asked("validation"), plain.asked("val")) == (("validation", "validation"), ("validation", "val"))


def test_a_split_that_validates_and_tests_is_examined_once(folder: Path) -> None:
    subject = diagnosis.open_dataset(f"folder:{folder}", ["data.validation_split=test"])
    assert {role: len(images) for role, images in subject.splits.items()} == {"train": 24, "test": 12}
    assert any("is also the test split" in note for note in subject.train.notes)
    assert subject.asked("test") == ("test", "test")
    assert subject.asked("validation") == ("validation", "validation")  # the folder has an unused split of this name


@pytest.mark.parametrize(
    ("validation", "test", "left"), [("dcef", "g", 2), ("dcef", "eg", 1), ("bc", "g", None), ("ef", "efg", None)]
)
def test_shared_images_are_left_out_as_in_training(
    validation: str, test: str, left: int | None, tmp_path: Path
) -> None:
    for split, names in (("train", "abcd"), ("val", validation), ("test", test)):
        (tmp_path / f"{split}.txt").write_text("".join(f"images/{name}.png\n" for name in names))
        for name in names:
            for folder in ("images", "labels"):
                (tmp_path / folder).mkdir(exist_ok=True)
            Image.new("RGB", (32, 32), (ord(name), 0, 0)).save(tmp_path / "images" / f"{name}.png")
            (tmp_path / "labels" / f"{name}.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    splits = diagnosis.open_dataset(f"yolo:{tmp_path}", []).splits
    assert {role: len(images) for role, images in splits.items()} == {"train": 4, "test": len(test)} | (
        {} if left is None else {"validation": left}
    )
    said = [note for note in splits["train"].notes if "it is not validated on" in note]
    assert len(said) == (left is None)
