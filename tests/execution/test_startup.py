"""What the first import of TensorFlow writes, tried with a package of that name."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import tfeff

NOISE = "I0000 port.cc: noise"
PACKAGE = f"""
import os
os.write(2, b"{NOISE}\\n")
class config:
    list_physical_devices = staticmethod(lambda kind=None: os.write(2, b"{NOISE}\\n") and [])
class get_logger:
    setLevel = staticmethod(lambda level: None)
"""


def imported(directory: Path, package: str, **environment: str) -> subprocess.CompletedProcess[str]:
    (directory / "tensorflow").mkdir()
    (directory / "tensorflow" / "__init__.py").write_text(package)
    path = os.pathsep.join([str(directory), str(Path(tfeff.__file__).parents[1])])
    kept = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    program = (
        "import tfeff, tensorflow, sys; print(tensorflow.__spec__.loader is tensorflow.__loader__, file=sys.stderr)"
    )
    return subprocess.run(
        [sys.executable, "-c", program],
        env={**kept, "PYTHONPATH": path, "CUDA_VISIBLE_DEVICES": "", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_nothing_is_shown(tmp_path: Path) -> None:
    assert imported(tmp_path, PACKAGE).stderr == "True\n"


@pytest.mark.parametrize("environment", [{"TF_CPP_MIN_LOG_LEVEL": "0"}, {"CUDA_VISIBLE_DEVICES": "0"}])
def test_all_is_shown_if_the_user_asks_for_it_or_gpus_are_not_found(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    assert NOISE in imported(tmp_path, PACKAGE, **environment).stderr


def test_all_is_shown_if_the_import_fails(tmp_path: Path) -> None:
    failed = imported(tmp_path, f"{PACKAGE}\nraise ImportError('a library is missing')")
    assert failed.returncode == 1
    assert NOISE in failed.stderr
    assert "ImportError: a library is missing" in failed.stderr
