"""Bad input of a tool ends with exit code 2 and no traceback."""

import pytest


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
