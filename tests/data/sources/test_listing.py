import time

import pytest

from tfeff.data.sources.listing import Finder, Tree, entered


def make(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")


def test_files_by_folder(tmp_path):
    make(tmp_path, "a/x.jpg", "a/._x.jpg", "a/y.raf", "__MACOSX/a/x.jpg", "b.PNG", "b.txt", "c/d/z.bmp", "c/n.md")
    tree = Tree.of(tmp_path)
    assert tree.folders == {"": ["b.PNG", "b.txt"], "a": ["x.jpg"], "c": [], "c/d": ["z.bmp"]}
    assert tree.images() == ["a/x.jpg", "b.PNG", "c/d/z.bmp"]
    assert tree.images("c") == ["c/d/z.bmp"]
    assert list(tree.unusable) == ["a/y.raf"]


def test_images_below_one_of_many_folders_are_found_quickly():
    names = [f"images/{number:05}" for number in range(20_000)]
    tree = Tree({"": [], "images": ["b.jpg"], "images-2": ["c.jpg"], **{name: ["a.jpg"] for name in names}}, {})
    start = time.process_time()
    assert [tree.images(name) for name in names] == [[f"{name}/a.jpg"] for name in names]
    assert time.process_time() - start < 5
    assert tree.images("images") == sorted(["images/b.jpg", *(f"{name}/a.jpg" for name in names)])


def test_a_single_folder_is_entered(tmp_path):
    make(tmp_path, "__MACOSX/x.jpg", "inner/set/a/x.jpg", "inner/set/b/x.jpg")
    assert entered(tmp_path) == tmp_path / "inner/set"
    make(tmp_path, "data.yaml")
    assert entered(tmp_path) == tmp_path


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("a/x.jpg", "a/x.jpg"),
        ("./a/x.jpg", "a/x.jpg"),
        ("a\\x.jpg", "a/x.jpg"),
        ("A/X.JPG", "a/x.jpg"),
        ("/data/upload/1/a/x.jpg", "a/x.jpg"),
        ("http://host/set/a/x.jpg", "a/x.jpg"),
        ("/data/local-files/?d=set/a/x.jpg", "a/x.jpg"),
        ("images/a b.jpg", "a b.jpg"),
        ("upload/a%20b.jpg", "a b.jpg"),
        ("only.jpg", "deep/only.jpg"),
        ("x.jpg", None),  # two files have this name
        ("c/x.jpg", None),
        ("none.jpg", None),
        ("", None),
    ],
)
def test_names_as_annotation_files_write_them(written, found):
    assert Finder(["a/x.jpg", "b/x.jpg", "a b.jpg", "deep/only.jpg"]).find(written) == found


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("images/train/x.jpg", None),
        ("train/images/x.jpg", None),
        ("obj_train_data/x.jpg", None),
        ("images/valid/more/x.jpg", "images/val/x.jpg"),
        ("/home/train/images/dev/more/x.jpg", "images/val/x.jpg"),
        ("x.jpg", "images/val/x.jpg"),
        ("train/y.jpg", "images/y.jpg"),
    ],
)
def test_a_name_does_not_mean_a_file_of_another_split(written, found):
    assert Finder(["images/val/x.jpg", "images/y.jpg"]).find(written) == found


@pytest.mark.parametrize(("written", "several"), [("x.jpg", True), ("c\\X.jpg", True), ("z.jpg", False), ("", False)])
def test_names_of_several_files_are_told_from_missing_ones(written, several):
    problem = Finder(["a/x.jpg", "b/x.jpg"]).problem(written)
    assert problem == ("listed name that fits several images" if several else "image without a file")


def test_composed_and_decomposed_accents_are_one_name():
    assert Finder(["cafe\u0301.jpg"]).find("caf\u00e9.jpg") == "cafe\u0301.jpg"


def test_names_of_a_hundred_thousand_folders_cost_no_square_of_that():
    long = "a/" * 100_000
    finder = Finder(["a/x.jpg", "b/x.jpg", "only.jpg"])
    assert finder.find(f"{long}x.jpg") == "a/x.jpg"
    assert finder.find(f"{long}only.jpg") == "only.jpg"
    assert finder.find(f"{long}none.jpg") is None
