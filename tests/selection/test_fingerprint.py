"""What has changed since a run began is named when it is resumed or evaluated."""

import dataclasses
import io
import os
import shutil
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tfeff import config, selection, training
from tfeff.data.dataset import Dataset, Objects
from tfeff.data.images.storage import EncodedImages, PixelArray
from tfeff.errors import UserError
from tfeff.selection import Fingerprint
from tfeff.training.progress import Reporter

QUIET = Reporter(quiet=True)


def draw(path: Path, value: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (32, 32), (value, 0, 0)).save(path)


class Run:
    """A run of two epochs that was stopped after the first."""

    def __init__(self, root: Path, settings: config.Experiment) -> None:
        self.root, self.data, self.settings = root, root / "data", settings
        training.train(settings, root / "run", until_epoch=1, reporter=QUIET, tensorboard=False)
        shutil.copytree(self.data, root / "backup")

    def restore(self) -> None:
        """The data as it was: copied, with the same modification times."""
        shutil.rmtree(self.data)
        shutil.copytree(self.root / "backup", self.data)

    def resume(self, until: int = 1) -> None:
        training.train(self.settings, self.root / "run", until_epoch=until, reporter=QUIET, tensorboard=False)


def settings_of(task: object, source: str, *changes: str) -> config.Experiment:
    model = config.architecture("resnet", width=2, stage_blocks=(1, 1), resolution=32)
    base = config.Experiment(task=task, model=model, data=config.Data(source=source))
    tiny = ["training.batch_size=4", "training.epochs=2", "training.precision=float32", "data.image_size=32"]
    return config.override(base, [*tiny, *changes])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Run:
    root = tmp_path_factory.mktemp("folder")
    for split, count in (("train", 6), ("val", 3)):
        for label in ("cat", "dog"):
            for number in range(count):
                draw(root / "data" / split / label / f"{number}.png", 10 * number)
    return Run(root, settings_of(config.ClassificationSettings(), f"folder:{root / 'data'}"))


@pytest.fixture(scope="module")
def boxes(tmp_path_factory: pytest.TempPathFactory) -> Run:
    root = tmp_path_factory.mktemp("boxes")
    for split, count in (("train", 6), ("val", 3)):
        for number in range(count):
            draw(root / "data/images" / split / f"{split}{number}.png", 10 * number)
            label = root / "data/labels" / split / f"{split}{number}.txt"
            label.parent.mkdir(parents=True, exist_ok=True)
            label.write_text(f"{number % 2} 0.5 0.5 0.4 0.4\n")
    (root / "data/data.yaml").write_text("train: images/train\nval: images/val\nnames: [cat, dog]\n")
    return Run(root, settings_of(config.LocalizationSettings(), f"yolo:{root / 'data'}"))


def change(data: Path, what: str) -> None:
    """One change of the images, by name."""
    train = next(path for path in (data / "images/train", data / "train/cat") if path.exists())
    first, second, *_ = sorted(train.iterdir())
    label = data / "labels/train/train1.txt"
    match what:
        case "added":
            for number in range(3):
                draw(train / f"new{number}.png", 1)
                if label.exists():
                    (label.parent / f"new{number}.txt").write_text("0 0.5 0.5 0.4 0.4\n")
        case "removed":
            for path in (first, second):
                path.unlink()
                (data / "labels/train" / path.name).with_suffix(".txt").unlink(missing_ok=True)
        case "renamed":
            first.rename(train / "other.png")
            if label.exists():
                (label.parent / "train0.txt").rename(label.parent / "other.txt")
        case "pixels":
            draw(first, 77)
        case "touched":
            os.utime(first, ns=(1, first.stat().st_mtime_ns + 1))
        case "validation added":
            draw(data / "val/dog/new.png", 1)
        case "split removed":
            shutil.rmtree(data / "val")
        case "split added":
            shutil.copytree(data / "val", data / "test")
        case "label":
            (data / "train/cat/3.png").rename(data / "train/dog/moved.png")
        case "class renamed":
            for split in ("train", "val"):
                (data / split / "dog").rename(data / split / "wolf")
        case "class of a box":
            label.write_text("0 0.5 0.5 0.4 0.4\n")
        case "box":
            label.write_text("1 0.5 0.5 0.4 0.5\n")
        case "class names":
            text = (data / "data.yaml").read_text()
            (data / "data.yaml").write_text(text.replace("dog", "wolf"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("added", ["3 images of train were added", "new0.png", "new1.png", "new2.png"]),
        ("removed", ["2 images of train were removed", "0.png", "1.png"]),
        ("renamed", ["1 image of train was renamed", "0.png is now", "other.png"]),
        ("pixels", ["1 image of train changed (size, modification time or content)", "0.png"]),
        ("touched", ["1 image of train changed", "0.png"]),
        ("validation added", ["1 image of validation was added", "val/dog/new.png"]),
        ("split removed", ["the split validation is missing"]),
        ("label", ["train was renamed", "cat/3.png is now", "dog/moved.png"]),
        ("class renamed", ["the class names of train changed: cat, dog then; cat, wolf now"]),
    ],
)
def test_changes_of_a_folder_are_named(folder: Run, what: str, words: list[str]) -> None:
    refused(folder, what, words)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("added", ["3 images of train were added", "new0.png"]),
        ("removed", ["2 images of train were removed", "train0.png", "train1.png"]),
        ("renamed", ["1 image of train was renamed", "train0.png is now", "other.png"]),
        ("pixels", ["1 image of train changed"]),
        ("class of a box", ["labels or boxes of 1 image of train changed", "train1.png"]),
        ("box", ["labels or boxes of 1 image of train changed", "train1.png"]),
        ("class names", ["the class names of train changed: cat, dog then; cat, wolf now"]),
    ],
)
def test_changes_of_images_with_boxes_are_named(boxes: Run, what: str, words: list[str]) -> None:
    refused(boxes, what, words)


def refused(run: Run, what: str, words: list[str]) -> None:
    run.restore()
    change(run.data, what)
    with pytest.raises(UserError) as error:
        run.resume(2)
    for word in (*words, str(run.data), "have changed since this run began", "another --workdir"):
        assert word in str(error.value)
    assert len(training.Workdir(run.root / "run").rows()) == 1


def test_a_split_that_the_run_does_not_use_may_be_added(folder: Run, tmp_path: Path) -> None:
    """A test split changes no image that the run trains or validates on."""
    folder.restore()
    change(folder.data, "split added")
    shutil.copytree(folder.root / "run", tmp_path / "run")
    training.train(folder.settings, tmp_path / "run", reporter=QUIET, tensorboard=False)
    assert len(training.Workdir(tmp_path / "run").rows()) == 2


def test_a_validation_split_may_not_be_added(tmp_path: Path) -> None:
    """It would replace the images that the run holds out."""
    for label in ("cat", "dog"):
        for number in range(10):
            draw(tmp_path / "data/train" / label / f"{number}.png", number)
    settings = settings_of(
        config.ClassificationSettings(), f"folder:{tmp_path / 'data'}", "data.validation_fraction=0.2"
    )
    run = Run(tmp_path, settings)
    shutil.copytree(run.data / "train", run.data / "val")
    with pytest.raises(UserError, match="the split validation is new"):
        run.resume(2)
    workdir = training.Workdir(tmp_path / "run")
    with pytest.raises(UserError, match="the split validation is new"):
        selection.evaluation_images(
            selection.request(settings), "validation", workdir.dataset(), workdir.fingerprint, lambda *_: None
        )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["folder", "boxes"])
def test_unchanged_images_resume(
    name: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Also if they were copied with their modification times, or are listed in another order by the file system."""
    run: Run = request.getfixturevalue(name)
    run.restore()
    scan, listed = os.scandir, os.listdir
    monkeypatch.setattr(os, "scandir", lambda *args: reversed_scan(scan, *args))
    monkeypatch.setattr(os, "listdir", lambda *args: listed(*args)[::-1])
    shutil.copytree(run.root / "run", tmp_path / "run")
    training.train(run.settings, tmp_path / "run", reporter=QUIET, tensorboard=False)
    assert len(training.Workdir(tmp_path / "run").rows()) == 2


class reversed_scan:  # noqa: N801
    """`os.scandir` in the opposite order."""

    def __init__(self, scan: Callable, *args: object) -> None:
        with scan(*args) as entries:
            self.entries = iter(sorted(entries, key=lambda each: each.name, reverse=True))

    def __iter__(self):
        return self.entries

    def __next__(self):
        return next(self.entries)

    def __enter__(self):
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def close(self) -> None:
        pass


def in_memory(count: int, changed: int | None = None, *, encoded: bool = False) -> Dataset:
    pixels = np.random.default_rng(0).integers(0, 255, (count, 4, 4, 3), np.uint8)
    if changed is not None:
        pixels[changed, 0, 0, 0] ^= 1
    images = EncodedImages([each.tobytes() for each in pixels], "1") if encoded else PixelArray(pixels, "1")
    ids = [f"train[{number}]" for number in range(count)]
    return Dataset("given", ("a", "b"), ids, images, labels=np.arange(count) % 2)


@pytest.mark.parametrize("encoded", [False, True])
def test_images_in_memory_are_compared_by_content(encoded: bool) -> None:
    def of(*args: int) -> Fingerprint:
        return Fingerprint.of({"train": in_memory(*args, encoded=encoded)})

    began = Fingerprint.from_text(of(999).to_text())
    assert began.changes(of(999)) == []
    assert began.digest == of(999).digest != of(1000).digest
    more = began.changes(of(1000))
    assert len(more) == 1  # the random pixels of the first images are the same
    assert more[0] == "1 image of train was added: train[999]"
    assert began.changes(of(999, 7)) == ["1 image of train changed (size, modification time or content): train[7]"]
    labels = in_memory(999, encoded=encoded)
    swapped = dataclasses.replace(labels, labels=1 - labels.labels)
    (found,) = began.changes(Fingerprint.of({"train": swapped}))
    assert found.startswith("labels or boxes of 999 images of train changed: train[0], train[1]")


def test_archives_need_no_keyword_of_newer_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    """NumPy 2.0 and 2.1 take every keyword for an array."""

    def savez(file: io.BytesIO, **arrays: object) -> None:
        with zipfile.ZipFile(file, "w") as archive:
            for name, values in arrays.items():
                with archive.open(f"{name}.npy", "w") as member:
                    np.lib.format.write_array(member, np.asanyarray(values))

    found = Fingerprint.of({"train": in_memory(3)})
    monkeypatch.setattr(np, "savez_compressed", savez)
    assert Fingerprint.from_bytes(found.to_bytes()).digest == found.digest


def test_another_order_is_named() -> None:
    dataset = in_memory(10)
    (found,) = Fingerprint.of({"train": dataset}).changes(Fingerprint.of({"train": dataset.take(np.arange(10)[::-1])}))
    assert "another order" in found


def test_a_hundred_thousand_images_take_less_than_two_seconds(tmp_path: Path) -> None:
    """At a generous margin: the time of one core that other processes share."""
    count = 100_000
    one = Objects(np.zeros((1, 4), np.float32), np.zeros(1, np.int32), np.zeros(1, bool), np.zeros(1, bool))
    dataset = Dataset(
        "many",
        ("a",),
        [f"/data/images/photo_{number:07}.jpg" for number in range(count)],
        PixelArray(np.zeros((count, 2, 2, 3), np.uint8), "1"),
        objects=[one] * count,
    )
    Fingerprint.of({"train": dataset}).save(tmp_path / "images.npz")
    assert (tmp_path / "images.npz").stat().st_size < 4e6
    started = time.process_time()
    assert not Fingerprint.load(tmp_path / "images.npz").changes(Fingerprint.of({"train": dataset}))
    assert time.process_time() - started < 2


def test_a_missing_or_damaged_record_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"images\.npz: missing"):
        Fingerprint.load(tmp_path / "images.npz")
    (tmp_path / "images.npz").write_bytes(b"PK")
    with pytest.raises(UserError, match=r"images\.npz: damaged"):
        Fingerprint.load(tmp_path / "images.npz")
