"""The images of a diagnosis are those that the run trained and validated on."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.analysis.diagnosis.drawn_objects import drawings, write_coco, write_yolo
from tfeff import config, selection
from tfeff.analysis import diagnosis
from tfeff.analysis.diagnosis import chain
from tfeff.analysis.quality import examine, survey
from tfeff.data.dataset import Dataset
from tfeff.errors import UserError
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


def begin(settings: config.Experiment, directory: Path) -> selection.TrainingData:
    """Writes what a run in the directory has after its first epoch, and returns its images."""
    wanted, workdir = selection.request(settings), Workdir(directory)
    chosen = selection.choose(wanted, selection.read(wanted, lambda *_: None))
    (directory / "config.json").write_text(config.to_json(settings))
    workdir.write_dataset(chosen.record())
    workdir.write_fingerprint(replace(chosen.fingerprint, trained=chosen.train.dataset.origins))
    workdir.append_row({"epoch": 1, "step": 1})
    return chosen


@pytest.mark.slow
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
    chosen = begin(settings, tmp_path)
    splits = diagnosis.open_run(tmp_path).splits
    corrupt = {str(folder / "train" / "a" / "train3.png")}
    trained, validated = (set(map(str, splits[role].ids)) for role in ("train", "validation"))
    assert trained - corrupt == set(map(str, chosen.train.dataset.ids))
    expected = set(map(str, chosen.validation.dataset.ids))
    assert validated >= expected if "validation_examples" in data else validated == expected
    assert not trained & validated


@pytest.mark.parametrize("redrawn", [False, True])
def test_defects_of_a_split_with_held_out_images_count_once(redrawn: bool, tmp_path: Path) -> None:
    name = write_yolo(tmp_path, {"train": drawings(24, 1)})
    labels = sorted((tmp_path / "labels" / "train").iterdir())
    for path in labels[:4]:
        path.write_text(path.read_text() + path.read_text().splitlines()[0] + "\n1 2\n")
    (tmp_path / "labels" / "train" / "missing.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    given = [
        "model.resolution=64",
        "training.batch_size=4",
        f"data.source={name}",
        "data.validation_fraction=0.5",
        "data.train_split=train",
    ]
    settings = config.override(config.Experiment(), ["task.name=yolo", *given, "data.test_split=none"])
    (tmp_path / "run").mkdir()
    begin(settings, tmp_path / "run")
    if redrawn:
        (tmp_path / "images" / "train" / f"{labels[-1].stem}.png").unlink()
        labels[-1].unlink()
    subject = diagnosis.open_run(tmp_path / "run")
    assert list(subject.splits) == ["train", "validation"]
    assert sum(map(len, subject.splits.values())) == 24 - redrawn
    quality = examine({role: survey(each, 1000) for role, each in subject.splits.items()})
    images, _, boxes, *_ = chain.examine_images(subject, quality)
    total = sum(len(path.read_text().splitlines()) for path in labels if path.exists()) - 4
    measured = [finding.measured for finding in boxes.findings if finding.measured.keys() <= {"objects", "of"}]
    assert sorted(measured, key=len) == [{"objects": 4}, {"objects": 4, "of": total}]
    (orphans,) = [finding.measured for finding in images.findings]
    assert orphans == {"objects": 1}
    counted = [each.defects.counts["repeated object"] for each in diagnosis.with_defects_once(subject.splits).values()]
    assert counted == [4, 0]


def names(images: Dataset) -> set[str]:
    return {Path(name).name for name in images.ids}


@pytest.mark.slow
@pytest.mark.parametrize("change", ["remove", "relabel", "renumber", "rewrite"])
@pytest.mark.parametrize(
    "data",
    [
        {"validation_fraction": 0.2},  # a hold-out
        {"folds": 3},
        {"train_examples": 20, "validation_fraction": 0.2},
        {"test_split": "test"},  # splits that are drawn by the source
    ],
)
def test_an_image_that_was_trained_on_does_not_validate_after_a_change(
    data: dict, change: str, image_folder: Callable, tmp_path: Path
) -> None:
    """Draws from other images are others."""
    drawn = "test_split" in data
    root = image_folder({f"{'' if drawn else 'train/'}{name}": 40 for name in "ab"})
    for path in sorted(root.rglob("b/*.png")):
        path.rename(path.with_name(f"b{path.name}"))
    settings = config.Experiment(
        model=config.architecture("resnet", width=2, stage_blocks=(1, 1), resolution=8),
        data=config.Data(source=f"folder:{root}", **{"test_split": None} | data),
        training=config.Training(batch_size=4),
    )
    (tmp_path / "run").mkdir()
    chosen = begin(settings, tmp_path / "run")
    trained, validated = names(chosen.train.dataset), names(chosen.validation.dataset)
    first, second, *others = (path for path in sorted(root.rglob("*.png")) if path.name in trained)
    first.unlink()
    gone = {first.name}
    if change == "relabel":
        shutil.move(second, second.parent.parent / ("a" if second.parent.name == "b" else "b") / second.name)
    elif change == "renumber":  # all names are others
        for path in sorted(root.rglob("*.png")):
            path.rename(path.with_name(f"new_{path.name}"))
    elif change == "rewrite":
        second.write_bytes(others[0].read_bytes())
        gone.add(second.name)
    splits = diagnosis.open_run(tmp_path / "run").splits
    if change == "renumber":
        assert set(splits) == {"train"}
    else:
        assert names(splits["train"]) == trained - gone
        assert names(splits["validation"]) >= validated
        assert not names(splits["validation"]) & trained
    (note,) = (note for note in splits["train"].notes if "have changed since this run began" in note)
    assert "cannot be drawn again" in note


def test_changes_that_no_draw_depends_on_change_no_split(image_folder: Callable, tmp_path: Path) -> None:
    root = image_folder({f"{split}/{name}": 20 for split in ("train", "test") for name in "ab"})
    settings = config.Experiment(
        model=config.architecture("resnet", width=2, stage_blocks=(1, 1), resolution=8),
        data=config.Data(source=f"folder:{root}", validation_fraction=0.2),
        training=config.Training(batch_size=4),
    )
    (tmp_path / "run").mkdir()
    chosen = begin(settings, tmp_path / "run")
    for path in root.rglob("*.png"):
        path.touch()
    splits = diagnosis.open_run(tmp_path / "run").splits
    assert set(splits["validation"].ids) == set(chosen.validation.dataset.ids)
    assert not splits["train"].notes


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


def test_further_splits_can_be_examined(tmp_path: Path) -> None:
    counts = {"train": 12, "val": 4, "test": 4, "field": 6}
    name = write_coco(tmp_path / "data", {split: drawings(count, count) for split, count in counts.items()})
    settings = config.Experiment(
        task=config.YoloSettings(),
        model=config.architecture("efficientnet-b0", resolution=64),
        data=config.Data(source=name),
        training=config.Training(batch_size=4),
    )
    (tmp_path / "run").mkdir()
    chosen = begin(settings, tmp_path / "run")
    subject = diagnosis.open_run(tmp_path / "run")
    assert subject.including("val") == (subject, "validation")
    assert subject.including("nothing") == (subject, "nothing")
    further, role = subject.including("field")
    assert (role, set(further.splits)) == ("field", {"train", "validation", "test", "field"})
    assert len(further.splits["field"]) == 6
    trained = np.append(chosen.train.dataset.origins, further.splits["field"].origins[:2])
    subject.workdir.write_fingerprint(replace(chosen.fingerprint, trained=trained))
    with pytest.raises(UserError, match=r"--split=field: the run was trained on 2 of its 6 images; .*: validation, t"):
        subject.including("field")


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
