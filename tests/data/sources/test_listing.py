import os

import pytest

from tfeff.data.sources.listing import Finder, contents, entered, files_below, images_in


@pytest.fixture
def root(tmp_path):
    for name in (
        "a/x.jpg",
        "a/.ipynb_checkpoints/x.jpg",
        "a/._x.jpg",
        "__MACOSX/a/x.jpg",
        "Thumbs.db",
        "b.PNG",
        "b.txt",
    ):
        (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "set" / name).write_bytes(b"")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/y.jpg").write_bytes(b"")
    (tmp_path / "set/c").symlink_to(tmp_path / "elsewhere")
    return tmp_path / "set"


def test_hidden_files_are_left_out_and_links_followed(root):
    assert files_below(root) == {"": ["b.PNG", "b.txt"], "a": ["x.jpg"], "c": ["y.jpg"]}
    assert images_in(files_below(root)) == ["a/x.jpg", "b.PNG", "c/y.jpg"]
    assert images_in(files_below(root), "c") == ["c/y.jpg"]


def test_a_link_to_a_folder_above_ends(root):
    (root / "a/up").symlink_to(root)
    os.symlink(root / "a", root / "a/self")
    assert "a/up/a" not in files_below(root)
    assert files_below(root)["a"] == ["x.jpg"]


def test_a_single_folder_is_entered(root, tmp_path):
    (tmp_path / "zip/inner/set").mkdir(parents=True)
    (tmp_path / "zip/__MACOSX").mkdir()
    for name in ("a", "b"):
        (tmp_path / "zip/inner/set" / name).mkdir()
    assert entered(tmp_path / "zip") == tmp_path / "zip/inner/set"
    assert entered(root) == root


def test_contents_name_folders_and_kinds_of_files(root):
    assert contents(root) == "  .: b.PNG, b.txt\n  a: x.jpg\n  c: y.jpg"


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


def test_composed_and_decomposed_accents_are_one_name():
    assert Finder(["cafe\u0301.jpg"]).find("caf\u00e9.jpg") == "cafe\u0301.jpg"
