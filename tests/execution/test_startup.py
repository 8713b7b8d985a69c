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


IMPORT = "import tfeff, tensorflow, sys; print(tensorflow.__spec__.loader is tensorflow.__loader__, file=sys.stderr)"


def imported(
    directory: Path, package: str, program: str = IMPORT, **environment: str
) -> subprocess.CompletedProcess[str]:
    (directory / "tensorflow").mkdir()
    (directory / "tensorflow" / "__init__.py").write_text(package)
    path = os.pathsep.join([str(directory), str(Path(tfeff.__file__).parents[1])])
    kept = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    return subprocess.run(
        [sys.executable, "-c", program],
        env={**kept, "PYTHONPATH": path, "CUDA_VISIBLE_DEVICES": "", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_nothing_is_shown(tmp_path: Path) -> None:
    assert imported(tmp_path, PACKAGE).stderr == "True\n"


def test_nothing_is_shown_by_child_processes(tmp_path: Path) -> None:
    child = f"import subprocess, sys; {IMPORT}; subprocess.run([sys.executable, '-c', {IMPORT!r}], check=True)"
    assert imported(tmp_path, PACKAGE, child).stderr == "True\nTrue\n"


def test_child_processes_follow_a_level_that_the_user_gives_them(tmp_path: Path) -> None:
    given = "import os; os.environ['TF_CPP_MIN_LOG_LEVEL'] = '0'"
    child = f"import subprocess, sys; {IMPORT}; {given}; subprocess.run([sys.executable, '-c', {IMPORT!r}], check=True)"
    assert imported(tmp_path, PACKAGE, child).stderr.count(NOISE) == 1


@pytest.mark.parametrize(("devices", "level"), [("", "3"), ("0", "2")])
def test_errors_are_logged_only_where_gpus_could_be_missing(tmp_path: Path, devices: str, level: str) -> None:
    package = f"{PACKAGE}\nprint('level', os.environ['TF_CPP_MIN_LOG_LEVEL'])"
    assert imported(tmp_path, package, CUDA_VISIBLE_DEVICES=devices).stdout == f"level {level}\n"


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the lines are those of oneDNN on Linux")
def test_no_line_is_logged_about_types_that_the_cpu_cannot_compute_with() -> None:
    """oneDNN logs one when a graph first has bytes or half floats, unless the CPU has instructions for them."""
    program = (
        "import tfeff, tensorflow as tf\n"
        "for kind in (tf.float16, tf.uint8):\n"
        "    tf.function(lambda x: tf.reduce_sum(tf.cast(tf.reshape(x, (-1,)), tf.float32)))(tf.zeros((8, 8), kind))"
    )
    kept = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    path = str(Path(tfeff.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**kept, "PYTHONPATH": path, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("", "")


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


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("chosen_by", ["KERAS_BACKEND", "KERAS_HOME"])
def test_another_backend_is_refused(tmp_path: Path, chosen_by: str, missing: bool) -> None:
    """Also if the package that it needs is missing."""
    if missing:
        (tmp_path / "jax.py").write_text("raise ModuleNotFoundError(name='jax')")
    else:
        pytest.importorskip("jax")
    (tmp_path / "keras.json").write_text('{"backend": "jax"}')
    done = subprocess.run(
        [sys.executable, "-m", "tfeff.evaluate", f"--workdir={tmp_path}"],
        env={name: value for name, value in os.environ.items() if name not in ("KERAS_BACKEND", "TF_CPP_MIN_LOG_LEVEL")}
        | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(Path(tfeff.__file__).parents[1])])}
        | {chosen_by: "jax" if chosen_by == "KERAS_BACKEND" else str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "require KERAS_BACKEND=tensorflow; the backend is jax" in done.stderr
