"""Bad input of a tool ends with exit code 2 and no traceback."""

import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[2] / "tools"


@pytest.mark.parametrize(
    ("tool", "flags", "message"),
    [
        ("summarize_runs", ["name=/none", "--out=/none"], "error: name=/none: write NAME=DIR"),
        ("draw_proposals", ["--image=/none.jpg", "--out=/none"], "No such file or directory: '/none.jpg'"),
    ],
)
def test_bad_input_ends_with_exit_code_2(tool, flags, message):
    done = subprocess.run([sys.executable, TOOLS / f"{tool}.py", *flags], capture_output=True, text=True)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
