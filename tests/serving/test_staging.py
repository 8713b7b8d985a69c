import os

import pytest

from tfeff.errors import UserError
from tfeff.serving.staging import staged


def fill(target, text, **options):
    with staged(target, **{"overwrite": False, "marker": "done", **options}) as directory:
        (directory / "done").write_text(text)


def test_parents_are_made_and_nothing_else_is_left(tmp_path):
    fill(tmp_path / "a" / "b", "new")
    assert (tmp_path / "a" / "b" / "done").read_text() == "new"
    assert os.listdir(tmp_path / "a") == ["b"]


def test_the_result_is_as_readable_as_any_new_directory(tmp_path):
    (tmp_path / "plain").mkdir()
    fill(tmp_path / "staged", "new")
    assert (tmp_path / "staged").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_an_empty_directory_is_filled(tmp_path):
    (tmp_path / "target").mkdir()
    fill(tmp_path / "target", "new")
    assert (tmp_path / "target" / "done").read_text() == "new"


def interrupt(target):
    with staged(target, overwrite=True, marker="done") as directory:
        (directory / "done").write_text("half")
        raise KeyboardInterrupt


def test_an_interrupted_block_changes_nothing(tmp_path):
    fill(tmp_path / "target", "old")
    with pytest.raises(KeyboardInterrupt):
        interrupt(tmp_path / "target")
    assert (tmp_path / "target" / "done").read_text() == "old"
    assert os.listdir(tmp_path) == ["target"]


def test_what_a_killed_process_left_is_cleared(tmp_path):
    (tmp_path / ".target.partial").mkdir()
    (tmp_path / ".target.partial" / "half").touch()
    (tmp_path / ".target.replaced").mkdir()
    (tmp_path / ".target.replaced" / "old").touch()
    fill(tmp_path / "target", "new")
    assert os.listdir(tmp_path) == ["target"]
    assert os.listdir(tmp_path / "target") == ["done"]


def test_a_directory_of_something_else_is_never_replaced(tmp_path):
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "thesis.tex").write_text("precious")
    with pytest.raises(UserError, match="something else"):
        fill(tmp_path / "target", "new", overwrite=True)
    assert (tmp_path / "target" / "thesis.tex").read_text() == "precious"


def test_a_path_below_a_file_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written"):
        fill(tmp_path / "file" / "target", "new")
    with pytest.raises(UserError, match="something else"):
        fill(tmp_path / "file", "new", overwrite=True)
