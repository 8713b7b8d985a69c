"""Bad input of a tool ends with exit code 2, an interruption with the signal's code, both without a traceback."""

import signal
import subprocess

import command_line
import pytest

from tfeff.errors import Interrupted, UserError


@pytest.mark.parametrize(
    ("tool", "flags", "message"),
    [
        ("summarize_runs", ["name=/none", "--out=/none"], "error: name=/none: write NAME=DIR"),
        ("draw_proposals", ["--image=/none.jpg", "--out=/none"], "No such file or directory: '/none.jpg'"),
    ],
)
def test_bad_input_ends_with_exit_code_2(run_tool, tool, flags, message):
    code, said = run_tool(tool, *flags)
    assert code == 2
    assert message in said
    assert "Traceback" not in said


def test_a_version_to_compare_with_has_the_package(tmp_path):
    """Else the installed one would be measured in its place."""
    with pytest.raises(UserError, match=r"no checkout of this project: it has no tfeff/__init__\.py"):
        command_line.checkout(tmp_path)
    (tmp_path / "tfeff").mkdir()
    (tmp_path / "tfeff" / "__init__.py").touch()
    assert command_line.checkout(tmp_path) == tmp_path.resolve()


@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [
        (KeyboardInterrupt(), 130, "interrupted\n"),
        (subprocess.CalledProcessError(7, ["a b", "c"]), 2, "error: exit code 7 of 'a b' c\n"),
    ],
)
def test_a_failing_program_and_ctrl_c_leave_no_traceback(raised, code, said, capsys):
    def fails():
        raise raised

    with pytest.raises(SystemExit) as ended:
        command_line.run(fails)
    assert (ended.value.code, capsys.readouterr().err) == (code, said)


def test_an_interruption_says_what_is_saved_and_ends_with_the_code_of_the_signal(capsys):
    def interrupted():
        raise Interrupted(signal.SIGTERM, "finished trials are stored")

    with pytest.raises(SystemExit) as ended:
        command_line.run(interrupted)
    assert ended.value.code == 143
    assert capsys.readouterr().err == ("interrupted: finished trials are stored; rerun the same command to resume\n")


def test_a_new_folder_is_whole_or_not_there(tmp_path):
    def interrupted():
        with command_line.new_folder(tmp_path / "new") as place:
            (place / "part").touch()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not list(tmp_path.iterdir())
    with command_line.new_folder(tmp_path / "new") as place:
        (place / "whole").touch()
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")) == ["new", "new/whole"]
    with pytest.raises(UserError, match="new: exists; give a new folder"), command_line.new_folder(tmp_path / "new"):
        pass


@pytest.mark.parametrize("text", ["not JSON", "[]", "{}", '{"modes": []}'])
def test_results_of_another_program_are_refused(tmp_path, text):
    (tmp_path / "out.json").write_text(text)
    with pytest.raises(UserError, match="this file is not of this tool; give another one"):
        command_line.stored(tmp_path / "out.json", "modes")
