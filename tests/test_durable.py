"""Files and directories are complete or absent, also if a process is killed or two write at once."""

import errno
import fcntl
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tfeff.durable import locked, replacing, staged, write, write_listing, write_record
from tfeff.errors import BusyError, UserError


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


def test_a_list_that_someone_has_filled_in_is_kept(tmp_path):
    path = tmp_path / "list.csv"
    assert write_listing(path, "a,\n") is None
    assert write_listing(path, "a,\n") is None
    path.write_text("a,cat\n")
    assert write_listing(path, "b,\n") == tmp_path / "list_1.csv"
    assert write_listing(path, None) == tmp_path / "list_2.csv"
    assert write_listing(path, None) is None
    assert {each.name: each.read_text() for each in tmp_path.iterdir()} == {
        "list_1.csv": "a,cat\n",
        "list_2.csv": "b,\n",
    }


def test_files_of_an_earlier_record_are_removed_and_no_others(tmp_path):
    directory, outside = tmp_path / "report", tmp_path / "outside.png"
    (directory / "figures").mkdir(parents=True)
    files = [directory / "figures" / f"{name}.png" for name in ("a", "b", "own")]
    for file in (*files, outside):
        file.touch()
    (directory / "report.json").write_text(json.dumps({"files": ["../outside.png", "figures/a.png", "figures/b.png"]}))
    write_record(directory / "report.json", {"value": 1}, files[1:2])
    assert [file.exists() for file in (*files, outside)] == [False, True, True, True]
    assert json.loads((directory / "report.json").read_text()) == {"value": 1, "files": ["figures/b.png"]}


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "3",
        '{"files": null}',
        '{"files": [{"name": "a.png"}]}',
        '{"files": "a.png"}',
        '{"files": ["notes.txt", "images", "b.jpg"]}',
        '{"files": ["%s/a.png"]}',
    ],
)
def test_a_record_of_another_program_removes_no_files(text, tmp_path):
    names = ["a.png", "b.jpg", "notes.txt"]
    for name in names:
        (tmp_path / name).touch()
    (tmp_path / "images").mkdir()
    (tmp_path / "report.json").write_text(text.replace("%s", str(tmp_path)))
    write_record(tmp_path / "report.json", {"value": 1}, [])
    assert {each.name for each in tmp_path.iterdir()} == {*names, "images", "report.json"}
    assert json.loads((tmp_path / "report.json").read_text()) == {"value": 1, "files": []}


def test_infinity_and_nan_become_null(tmp_path):
    record = {"low": -math.inf, "rows": [{"values": (1.5, math.nan, np.float64("inf"))}], "count": 3, "name": "inf"}

    def refuse(name):
        raise ValueError(name)

    write_record(tmp_path / "report.json", record, [])
    found = json.loads((tmp_path / "report.json").read_text(), parse_constant=refuse)
    assert found == {"low": None, "rows": [{"values": [1.5, None, None]}], "count": 3, "name": "inf", "files": []}


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
    (tmp_path / ".target.partial" / "deep").mkdir()
    (tmp_path / ".target.partial" / "deep" / "half").touch()
    write_result(tmp_path / "target", "new")
    assert os.listdir(tmp_path) == ["target"]
    assert os.listdir(tmp_path / "target") == ["done"]


def test_a_result_that_was_about_to_be_replaced_is_found_again(tmp_path):
    write_result(tmp_path / "target", "old")
    (tmp_path / "target").rename(tmp_path / ".target.replaced")  # a kill between the two renames
    with pytest.raises(UserError, match="is an earlier export"):
        write_result(tmp_path / "target", "new")
    assert (tmp_path / "target" / "done").read_text() == "old"
    (tmp_path / "target").rename(tmp_path / ".target.replaced")
    write_result(tmp_path / "target", "new", overwrite=True)
    assert (tmp_path / "target" / "done").read_text() == "new"
    assert os.listdir(tmp_path) == ["target"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_others_make_meanwhile_is_kept(tmp_path, overwrite):
    target = tmp_path / "target"

    def work():
        with staged(target, overwrite=overwrite, marker="done") as directory:
            (directory / "done").write_text("new")
            target.mkdir()
            (target / "others").write_text("kept")

    with pytest.raises(UserError, match="is not an earlier export of this kind"):
        work()
    assert (target / "others").read_text() == "kept"
    assert os.listdir(tmp_path) == ["target"]


def test_a_link_stays_a_link_to_the_new_result(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk" / "result")
    for text in ("old", "new"):
        write_result(tmp_path / "link", text, overwrite=True)
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "disk" / "result" / "done").read_text() == text
    assert sorted(os.listdir(tmp_path)) == ["disk", "link"]
    assert os.listdir(tmp_path / "disk") == ["result"]


def test_of_two_that_write_a_directory_the_second_is_refused(tmp_path):
    with staged(tmp_path / "target", overwrite=True, marker="done") as first:
        (first / "done").write_text("first")
        with pytest.raises(BusyError, match="another process is writing it"):
            write_result(tmp_path / "target", "second", overwrite=True)
    assert (tmp_path / "target" / "done").read_text() == "first"
    assert os.listdir(tmp_path) == ["target"]
    assert os.listdir(tmp_path / "target") == ["done"]


WRITER = """
import sys
from pathlib import Path
from tfeff.durable import staged, write
from tfeff.errors import BusyError

folder, me = Path(sys.argv[1]), sys.argv[2]
for _ in range(100):
    write(folder / "file", me * 100_000)
    try:
        with staged(folder / "target", overwrite=True, marker="a", others="bc") as made:
            for name in "abc":
                (made / name).write_text(me)
    except BusyError:
        pass
"""


def test_processes_that_write_the_same_never_mix(tmp_path):
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, tmp_path, me]) for me in "xyz"]
    while any(writer.poll() is None for writer in writers):
        try:
            text = (tmp_path / "file").read_text()
        except FileNotFoundError:  # not written yet
            continue
        assert text in (me * 100_000 for me in "xyz")
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    assert len({(tmp_path / "target" / name).read_text() for name in "abc"}) == 1
    assert sorted(os.listdir(tmp_path)) == ["file", "target"]
    assert sorted(os.listdir(tmp_path / "target")) == ["a", "b", "c"]


def test_a_failed_write_leaves_the_old_content(tmp_path):
    write(tmp_path / "file", "old")
    with pytest.raises(TypeError), replacing(tmp_path / "file") as file:
        file.writelines([b"half", None])
    (tmp_path / ".file.partial").write_text("longer than what comes, of a killed process")
    assert (tmp_path / "file").read_text() == "old"
    write(tmp_path / "file", "new")
    assert (tmp_path / "file").read_text() == "new"
    assert os.listdir(tmp_path) == ["file"]


LIMITED = """
import resource, sys
from pathlib import Path
from tfeff.durable import staged, write
from tfeff.errors import is_disk_full

folder = Path(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
for work in (lambda: write(folder / "file", "x" * 2000), lambda: export(folder / "target")):
    def export(target):
        with staged(target, overwrite=True, marker="done") as made:
            (made / "done").write_text("x" * 2000)
    try:
        work()
    except OSError as error:
        print(is_disk_full(error), error.filename)
"""


def test_a_full_disk_changes_nothing(tmp_path):
    write(tmp_path / "file", "old")
    write_result(tmp_path / "target", "old")
    done = subprocess.run([sys.executable, "-c", LIMITED, tmp_path], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [f"True {tmp_path / 'file'}", "True None"]
    assert (tmp_path / "file").read_text() == "old"
    assert (tmp_path / "target" / "done").read_text() == "old"
    assert sorted(os.listdir(tmp_path)) == ["file", "target"]


def test_contents_are_on_the_disk_before_they_are_renamed(tmp_path, monkeypatch):
    calls = list[str]()
    fsync, replace = os.fsync, os.replace

    def noted(descriptor):
        calls.append(f"sync {os.path.basename(os.readlink(f'/proc/self/fd/{descriptor}'))}")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    monkeypatch.setattr(Path, "replace", lambda self, to: (calls.append(f"rename {to.name}"), replace(self, to))[1])
    monkeypatch.setattr(Path, "rename", lambda self, to: (calls.append(f"rename {to.name}"), os.rename(self, to))[1])
    write(tmp_path / "file", "text")
    assert calls == ["sync .file.partial", "rename file", f"sync {tmp_path.name}"]
    calls.clear()
    write_result(tmp_path / "target", "new")
    assert calls[-3:] == ["sync .target.partial", "rename target", f"sync {tmp_path.name}"]
    assert "sync done" in calls


def test_other_directories_are_never_replaced(tmp_path):
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "thesis.tex").write_text("precious")
    with pytest.raises(UserError, match="not an earlier export"):
        write_result(tmp_path / "target", "new", overwrite=True)
    assert (tmp_path / "target" / "thesis.tex").read_text() == "precious"


def test_what_others_added_to_a_result_is_not_replaced(tmp_path):
    target = tmp_path / "target"
    write_result(target, "old", others=("weights",))
    (target / "weights").touch()
    write_result(target, "new", overwrite=True, others=("weights",))
    (target / "client.py").write_text("precious")
    with pytest.raises(UserError, match=r"would be lost: client\.py; move it"):
        write_result(target, "newer", overwrite=True, others=("weights",))
    assert (target / "client.py").read_text() == "precious"
    assert (target / "done").read_text() == "new"


def test_a_target_below_a_file_is_an_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written"):
        write_result(tmp_path / "file" / "target", "new")
    with pytest.raises(UserError, match="not an earlier export"):
        write_result(tmp_path / "file", "new", overwrite=True)


def test_a_mount_point_is_refused_before_the_work_is_done(tmp_path, monkeypatch):
    monkeypatch.setattr(os.path, "ismount", lambda path: Path(path) == tmp_path / "volume")
    with pytest.raises(UserError, match=r"volume: a mount point, .*; give a directory in it"):
        write_result(tmp_path / "volume", "new")
    write_result(tmp_path / "volume" / "records", "new")


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK])
def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch, number):
    def refused(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refused)
    with pytest.raises(UserError, match=r"run: its file system has no locks"), locked(tmp_path / "run"):
        raise AssertionError
    with pytest.raises(UserError, match=r"its file system has no locks"):
        write(tmp_path / "file", "content")
    with pytest.raises(UserError, match=r"its file system has no locks"):
        write_result(tmp_path / "out", "new")


def test_a_process_that_waits_can_be_stopped(tmp_path):
    calls = []

    def waiting():
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt

    with (
        locked(tmp_path),
        pytest.raises(KeyboardInterrupt),
        locked(tmp_path, wait=True, waiting=waiting),
    ):
        raise AssertionError
    with locked(tmp_path, wait=True, waiting=waiting):
        assert len(calls) == 3
