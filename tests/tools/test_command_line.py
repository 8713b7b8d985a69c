"""Bad input of a tool ends with exit code 2, an interruption with the signal's code, both without a traceback."""

import signal

import command_line
import pytest

from tfeff.errors import Interrupted


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


def test_an_interruption_says_what_is_saved_and_ends_with_the_code_of_the_signal(capsys):
    def interrupted():
        raise Interrupted(signal.SIGTERM, "finished trials are stored")

    with pytest.raises(SystemExit) as ended:
        command_line.run(interrupted)
    assert ended.value.code == 143
    assert capsys.readouterr().err == ("interrupted: finished trials are stored; rerun the same command to resume\n")
