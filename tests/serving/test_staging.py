import os

import pytest

from tfeff.errors import UserError
from tfeff.serving.staging import staged


def write_result(target, text, **options):
    with staged(target, **{"overwrite": False, "marker": "done", **options}) as directory:
        (directory / "done").write_text(text)


def test_parents_are_created_and_no_staging_directory_is_left(tmp_path):
    write_result(tmp_path / "a" / "b", "new")
    assert (tmp_path / "a" / "b" / "done").read_text() == "new"
    assert os.listdir(tmp_path / "a") == ["b"]


def test_the_result_has_the_permissions_of_a_new_directory(tmp_path):
    (tmp_path / "plain").mkdir()
    write_result(tmp_path / "staged", "new")
    assert (tmp_path / "staged").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_an_empty_target_is_replaced(tmp_path):
    (tmp_path / "target").mkdir()
    write_result(tmp_path / "target", "new")
    assert (tmp_path / "target" / "done").read_text() == "new"


def interrupt(target):
    with staged(target, overwrite=True, marker="done") as directory:
        (directory / "done").write_text("half")
        raise KeyboardInterrupt


def test_an_interrupted_block_changes_nothing(tmp_path):
    write_result(tmp_path / "target", "old")
    with pytest.raises(KeyboardInterrupt):
        interrupt(tmp_path / "target")
    assert (tmp_path / "target" / "done").read_text() == "old"
    assert os.listdir(tmp_path) == ["target"]


def test_leftovers_of_a_killed_process_are_removed(tmp_path):
    (tmp_path / ".target.partial").mkdir()
    (tmp_path / ".target.partial" / "half").touch()
    (tmp_path / ".target.replaced").mkdir()
    (tmp_path / ".target.replaced" / "old").touch()
    write_result(tmp_path / "target", "new")
    assert os.listdir(tmp_path) == ["target"]
    assert os.listdir(tmp_path / "target") == ["done"]


def test_other_directories_are_never_replaced(tmp_path):
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "thesis.tex").write_text("precious")
    with pytest.raises(UserError, match="not an earlier export"):
        write_result(tmp_path / "target", "new", overwrite=True)
    assert (tmp_path / "target" / "thesis.tex").read_text() == "precious"


def test_a_target_below_a_file_is_an_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written"):
        write_result(tmp_path / "file" / "target", "new")
    with pytest.raises(UserError, match="not an earlier export"):
        write_result(tmp_path / "file", "new", overwrite=True)
