"""Files below a folder: what is found, ignored, followed and reported."""

import os
import time
from pathlib import Path

import pytest
import tensorflow as tf
from PIL import Image

from tfeff.data.defects import Defects
from tfeff.data.names import is_text, listed, shown
from tfeff.data.sources import catalog, files
from tfeff.errors import UserError
from tfeff.runs.prediction import find_images


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")


def test_images_are_found_in_any_case_and_sorted(tmp_path: Path) -> None:
    touch(tmp_path, "b.JPG", "a/z.png", "a/b/c.webp", "B.jpeg")
    assert files.find(tmp_path).paths == ["B.jpeg", "a/b/c.webp", "a/z.png", "b.JPG"]
    assert files.find(tmp_path, deep=False).paths == ["B.jpeg", "b.JPG"]
    assert files.find(tmp_path, (".jpg",)).paths == ["b.JPG"]


@pytest.mark.parametrize(
    ("ending", "form"),
    [("jp2", "JPEG2000"), ("j2k", "JPEG2000"), ("jpx", "JPEG2000"), ("jpe", "JPEG"), ("dib", "BMP"), ("apng", "PNG")],
)
def test_less_usual_endings_are_images_everywhere(tmp_path: Path, ending: str, form: str) -> None:
    for name, level in (("cat", 50), ("dog", 200)):
        (tmp_path / name).mkdir()
        Image.new("RGB", (16, 16), (level, level, level)).save(tmp_path / f"{name}/a.{ending.upper()}", form)
    images = catalog.open_labels(f"folder:{tmp_path}").load("all")
    assert [int(images.read(tf.constant(place, tf.int64))[0, 0, 0]) for place in range(2)] == [50, 200]
    assert list(find_images(tmp_path)) == [f"cat/a.{ending.upper()}", f"dog/a.{ending.upper()}"]
    assert files.find(tmp_path).unusable == {}


def test_what_computers_leave_behind_is_ignored(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "._a.jpg", ".DS_Store", "Thumbs.db", "desktop.ini", ".ipynb_checkpoints/a-checkpoint.jpg")
    touch(tmp_path, "__MACOSX/a.jpg", "x/@eaDir/a.jpg")
    found = files.find(tmp_path)
    assert found.paths == ["a.jpg"]
    assert not found.others
    assert not found.unusable
    assert files.subfolders(tmp_path) == ("x",)


def test_links_to_files_and_folders_are_followed_and_cycles_end(tmp_path: Path) -> None:
    touch(tmp_path, "store/deep/a.jpg", "set/b.jpg")
    (tmp_path / "set/linked").symlink_to(tmp_path / "store")
    (tmp_path / "set/c.jpg").symlink_to(tmp_path / "store/deep/a.jpg")
    (tmp_path / "store/back").symlink_to(tmp_path / "set")
    (tmp_path / "set/itself").symlink_to("itself")
    (tmp_path / "set/gone.jpg").symlink_to("nothing")
    found = files.find(tmp_path / "set")
    assert found.paths == ["b.jpg", "c.jpg", "linked/deep/a.jpg"]
    assert found.unusable == {"gone.jpg": "link to a missing file"}
    assert found.others == {"folder linked before": 1, "no ending": 1}
    assert files.subfolders(tmp_path / "set") == ("linked",)


def test_many_links_between_folders_take_no_time(tmp_path: Path) -> None:
    for one in range(12):
        (tmp_path / str(one)).mkdir()
        touch(tmp_path, f"{one}/a.jpg")
        for other in range(12):
            (tmp_path / str(one) / f"to{other}").symlink_to(f"../{other}")
    began = time.perf_counter()
    assert len(files.find(tmp_path).paths) == 12
    assert time.perf_counter() - began < 5  # all paths without repetition would be 12 factorial


def test_images_that_cannot_be_used_are_defects_and_other_files_noted(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "IMG_1.RAF", "scan.psd", "x/notes.txt", "x/more.txt", "LICENSE")
    touch(tmp_path, os.fsdecode(b"caf\xe9.jpg"))
    found, defects = files.find(tmp_path), Defects()
    assert found.paths == ["a.jpg"]
    found.report(defects, "set")
    assert defects.counts == {
        "image of a format that cannot be read (.raf)": 1,
        "image of a format that cannot be read (.psd)": 1,
        "file name that is not UTF-8": 1,
    }
    assert defects.lost("images") == 3
    assert defects.first("file name that is not UTF-8") == "set/caf\\xe9.jpg"
    assert found.note("set") == (
        "set: ignored 3 entries that are not images (.txt: 2, such as x/more.txt; no ending: 1, such as LICENSE)",
    )
    assert files.find(tmp_path / "x", (".txt",)).paths == ["more.txt", "notes.txt"]


def test_a_folder_is_left_out(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "out/a.jpg", "out/b/c.jpg")
    (tmp_path / "link").symlink_to("out")
    found = files.find(tmp_path, skip=tmp_path / "out")
    assert found.paths == ["a.jpg"]
    assert not found.others


def test_images_in_the_folder_of_out_are_noted_unless_they_were_drawn(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "sub/out/a.jpg", "sub/out/b/c.jpg", "sub/out/notes.txt", "sub/out/old/.predictions-1")
    touch(tmp_path, "sub/out/old/d.jpg", "sub/out/old/d.jpg.png", f"sub/out/old/d-{'0' * 12}.png", "x.txt")
    touch(tmp_path, "sub/out/contact_sheet.jpg")
    (tmp_path / "tied").symlink_to("sub/out")
    out, notes = tmp_path / "sub/out", list[str]()
    assert list(find_images(tmp_path, out, notes)) == ["a.jpg"]
    others = f"{tmp_path}: ignored 1 entries that are not images (.txt: 1, such as x.txt)"
    skipped = "skipped 3 images in sub/out/, the folder of --out; give another --out to include them"
    assert notes == [others, f"{tmp_path}: {skipped}"]
    touch(out, ".predictions-2.jsonl")
    assert list(find_images(tmp_path, out, notes := [])) == ["a.jpg"]
    assert notes == [others, f"{tmp_path}: {skipped}"]
    (tmp_path / "tied").unlink()
    assert list(find_images(tmp_path, None, notes := [])) == ["a.jpg"]
    skipped = "skipped 3 images in sub/out/, a folder of predictions; move them out of it to include them"
    assert notes == [others, f"{tmp_path}: {skipped}"]
    with pytest.raises(UserError, match=r"no other images found; .* skipped 3 images in out/, the folder of --out"):
        find_images(tmp_path / "sub", out)
    (tmp_path / "empty").mkdir()
    assert not files.find(tmp_path, skip=tmp_path / "empty").skipped


def test_what_is_in_a_folder(tmp_path: Path) -> None:
    assert files.contents(tmp_path) == "it is empty"
    touch(tmp_path, "b/x", "a/x", "1.xml", "2.XML", "README")
    assert files.contents(tmp_path) == "it has a/, b/, 2 x .xml, 1 x no ending"
    with pytest.raises(UserError, match="nothing: cannot be read"):
        files.find(tmp_path / "nothing")


def test_names_are_shown_on_one_line() -> None:
    name = os.fsdecode(b"a\nb\xe9\x1b[31m\xf0\x9f\x90\x9c")
    assert shown(name) == "a\\nb\\xe9\\x1b[31m🐜"
    assert not is_text(name)
    assert is_text("пчёлы\n🐝")
    assert listed(["a\n", "b", "c", "d"], 2) == "a\\n, b and 2 more"
