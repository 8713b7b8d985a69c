import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[2] / "tools" / "kill_and_rerun.py"
RESUMES = """
import json, sys, time, pathlib
path = pathlib.Path(sys.argv[1]) / "rows.jsonl"
path.parent.mkdir(parents=True, exist_ok=True)
done = path.read_text().splitlines() if path.exists() else []
for number in range(len(done), 8):
    time.sleep(0.05)
    with path.open("a") as lines:
        lines.write(json.dumps({"number": number, "seconds": time.time()}) + "\\n")
(path.parent / "result.json").write_text("1")
"""
STARTS_AGAIN = RESUMES.replace("range(len(done), 8)", "range(8)")
FAILS = "raise SystemExit(3)"


def compared(script: str, out: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(TOOL), "--kills=2", f"--out={out}", "--", sys.executable, "-c", script, "{out}"]
    return subprocess.run(command, capture_output=True, text=True)


def test_a_command_that_resumes_gives_equal_results(tmp_path: Path) -> None:
    done = compared(RESUMES, tmp_path / "out")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "equal: 2 files" in done.stdout


@pytest.mark.parametrize(
    ("script", "code", "words"),
    [(STARTS_AGAIN, 1, "different: rows.jsonl"), (FAILS, 2, "exit code 3")],
    ids=["starts again", "fails"],
)
def test_differences_and_failures_are_said(script: str, code: int, words: str, tmp_path: Path) -> None:
    done = compared(script, tmp_path / "out")
    assert done.returncode == code
    assert words in done.stdout + done.stderr
