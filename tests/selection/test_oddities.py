"""What is said about images that are copies of others, or nearly black."""

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from tests.selection.digit_splits import QUIET, digits
from tfeff import config, selection, training
from tfeff.data.dataset import Dataset
from tfeff.data.images.storage import EncodedImages, ImageFiles, PixelArray, Segments
from tfeff.data.sources import catalog
from tfeff.errors import UserError

CONTENTS = {
    "train": [b"0123" * 40, b"4567" * 40, b"89ab" * 40, b"cdef" * 40, b"89ab" * 40],
    "test": [b"4567" * 40, b"cdef" * 40 + b"!", b"x" + b"89ab" * 39 + b"9ab", b"89ab" * 40],
}
"""The second test image is longer than a training image, the third differs before its last bytes."""


def in_files(folder: Path, role: str) -> ImageFiles:
    paths = [folder / f"{role}{number}" for number in range(len(CONTENTS[role]))]
    for path, content in zip(paths, CONTENTS[role], strict=True):
        path.write_bytes(content)
    return ImageFiles(paths)


def in_one_file(folder: Path, role: str) -> Segments:
    contents = CONTENTS[role]
    (folder / role).write_bytes(b"".join(contents))
    starts = np.cumsum([0, *map(len, contents)])[:-1]
    segments = np.stack([np.zeros(len(contents), np.int64), starts, [len(each) for each in contents]], axis=1)
    return Segments([folder / role], segments, "1")


@pytest.mark.parametrize("stored", [in_files, in_one_file, lambda _, role: EncodedImages(CONTENTS[role], "1")])
def test_copies_of_training_images_are_counted(tmp_path, stored, monkeypatch):
    sets = {
        role: Dataset(role, ("a",), [f"{role}{number}" for number in range(len(each))], stored(tmp_path, role))
        for role, each in CONTENTS.items()
    }
    monkeypatch.setattr(selection.oddities, "_darkness", lambda train: [])
    assert selection.notes(sets["train"].take(np.arange(1, 5)), {"test": sets["test"]}) == (
        "2 of 4 test images are copies of training images, byte by byte (test0 = train1, test3 = train2); remove them "
        "from either: results on known images say nothing about new ones",
    )
    assert selection.notes(sets["train"].take(np.arange(1)), {"test": sets["test"]}) == ()


def labeled(name: str, contents: list[bytes], labels: list[int]) -> Dataset:
    ids = [f"{name}{number}" for number in range(len(contents))]
    return Dataset(name, ("cat", "dog"), ids, EncodedImages(contents, "1"), labels=np.array(labels))


def test_equal_images_with_different_labels_are_said(monkeypatch):
    one, two, three = b"1" * 160, b"2" * 160, b"3" * 160
    monkeypatch.setattr(selection.oddities, "_darkness", lambda train: [])
    train = labeled("train", [one, two, one, two, three, two], [0, 0, 1, 0, 1, 1])
    test = labeled("test", [one, three], [0, 0])
    assert selection.notes(train, {"test": test}) == (
        "5 training images have different labels, but are the same byte by byte: train0 (cat) and train2 (dog), train1 "
        "(cat) and train5 (dog); keep each image under one label",
        "2 of 2 test images are copies of training images, byte by byte, 1 of them with another label (test0 = train0, "
        "test1 = train4); remove them from either: results on known images say nothing about new ones",
    )


def test_images_of_equal_ends_are_compared_in_linear_time(monkeypatch):
    contents = [b"%04d" % number + b"." * 160 for number in range(2_000)]
    monkeypatch.setattr(selection.oddities, "_darkness", lambda train: [])
    asked = list[int]()
    real = EncodedImages.digest
    monkeypatch.setattr(EncodedImages, "digest", lambda self, index: asked.append(index) or real(self, index))
    assert selection.notes(labeled("train", contents, [0] * 2_000), {"test": labeled("test", contents, [0] * 2_000)})
    assert len(asked) == 4_000


@pytest.mark.parametrize("brightest", [15, 63, 64])
def test_dark_images_are_said(brightest):
    pixels = np.zeros((100, 4, 4, 1), np.uint8)
    pixels[0, 1, 2] = brightest  # the first image is always in the sample
    (note,) = selection.notes(Dataset("xrays", ("a",), list(map(str, range(100))), PixelArray(pixels, "1"), 1), {}) or (
        "",
    )
    if brightest < 64:
        assert note.startswith(
            f"xrays: images are nearly black: the brightest of their pixels is {brightest} of 255; 16-bit images lose"
        )
    else:
        assert not note


def split_folder(folder: Path) -> config.Experiment:
    rng = np.random.default_rng(0)
    for split in ("train", "val", "test"):
        for name in ("cat", "dog"):
            (folder / split / name).mkdir(parents=True)
            for number in range(8):
                pixels = rng.integers(0, 256, (8, 8, 3), np.uint8)
                Image.fromarray(pixels).save(folder / split / name / f"{split}{number}.png")
    return config.override(digits(source=f"folder:{folder}", channels=3), ["training.batch_size=8"])


@pytest.mark.parametrize("cache", ["memory", "none"])
def test_a_corrupt_test_image_is_found_with_those_of_the_other_splits(tmp_path, cache):
    settings = config.override(split_folder(tmp_path), [f"data.cache={cache}", "data.max_lost=0.1"])
    damaged = tmp_path / "test/dog/test3.png"
    damaged.write_bytes(damaged.read_bytes()[:100])

    def read(settings):
        wanted = selection.request(settings)
        source = selection.open_source(wanted)
        return selection.read(wanted, QUIET, source=source, checked=selection.check(wanted, source))

    with pytest.raises(UserError, match=r"1 of 16 images cannot be read:\n .*test3\.png"):
        read(settings)
    caches = read(config.override(settings, ["data.corrupt_images=skip"]))
    assert (caches.found["test"].images, len(caches.test)) == (15, 15)
    assert caches.found["test"].defects.counts == {"corrupt image": 1}
    assert caches.notes == (f"test: skipped a corrupt image: {damaged}",)
    strict = config.override(settings, ["data.corrupt_images=skip", "data.max_lost=0.05"])
    with pytest.raises(UserError, match=r"test: 1 of 16 images are lost \(6 %\)"):
        read(strict)


@pytest.mark.slow
def test_a_training_and_its_evaluation_say_everything_once(tmp_path, without_figures):
    root = tmp_path / "data"
    settings = split_folder(root)
    shutil.copy(root / "train/cat/train0.png", root / "val/cat/copy.png")
    shutil.copy(root / "train/dog/train1.png", root / "test/dog/copy.png")
    (root / "test/dog/readme.webm").touch()
    settings = config.override(settings, ["training.epochs=1", "training.precision=float32"])
    written = io.StringIO()
    reporter = training.Reporter(Console(file=written, width=1000))
    run = training.train(settings, tmp_path / "run", reporter=reporter, tensorboard=False)
    copies = [line for line in written.getvalue().splitlines() if "byte by byte" in line]
    assert [line.partition("; ")[0] for line in copies] == [
        "1 of 17 validation images are copies of training images, byte by byte "
        f"({root}/val/cat/copy.png = {root}/train/cat/train0.png)",
        "1 of 17 test images are copies of training images, byte by byte "
        f"({root}/test/dog/copy.png = {root}/train/dog/train1.png)",
    ]
    assert set(copies) <= set(run.dataset()["notes"])
    training.finish_run(run, reporter)
    lines = written.getvalue().splitlines()
    assert sorted(set(lines)) == sorted(lines)
    assert sum("17 images from" in line for line in lines) == 2


def test_images_that_vanish_are_passed_over(tmp_path):
    folder = tmp_path / "train" / "a"
    folder.mkdir(parents=True)
    for index in range(3):
        Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(folder / f"{index}.png")
    dataset = catalog.open_labels(f"folder:{tmp_path}").load("train")
    (note,) = [each for each in selection.notes(dataset, {}) if "nearly black" in each]
    (folder / "0.png").unlink()
    assert note in selection.notes(dataset, {})
    for file in folder.iterdir():
        file.unlink()
    assert not [each for each in selection.notes(dataset, {}) if "nearly black" in each]
