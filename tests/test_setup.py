"""The wheel, installed in an environment of its own and used from another folder."""

import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SITE = f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"


def call(*command: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run([str(each) for each in command], cwd=folder, env=kept, capture_output=True, text=True)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    source, built = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("built")
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("tfeff", "configs"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    offline = ("--no-deps", "--no-index", "--no-build-isolation", "--disable-pip-version-check")
    done = call(sys.executable, "-m", "pip", "wheel", *offline, "--wheel-dir", built, source, folder=built)
    assert done.returncode == 0, done.stderr
    return next(built.glob("tfeff-*.whl"))


def test_the_wheel_has_package_and_configs(wheel):
    packed = set(zipfile.ZipFile(wheel).namelist())
    for name in ("tfeff", "configs"):
        files = [path.relative_to(ROOT) for path in (ROOT / name).rglob("*") if path.suffix in (".py", ".json", ".csv")]
        inside = {f"tfeff/{path}" if name == "configs" else str(path) for path in files}
        assert inside <= packed
    assert not [name for name in packed if name.startswith(("configs/", "tests/", "tools/"))]


@pytest.mark.slow
def test_the_wheel_runs_from_another_folder(wheel, tmp_path):
    environment, elsewhere = tmp_path / "environment", tmp_path / "elsewhere"
    elsewhere.mkdir()
    venv.create(environment, symlinks=True)
    site = environment / SITE
    (site / "dependencies.pth").write_text("\n".join(path for path in sys.path if path.endswith("site-packages")))
    done = call(
        sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target", site, wheel, folder=elsewhere
    )
    assert done.returncode == 0, done.stderr
    python = environment / "bin" / "python"
    done = call(
        python,
        "-c",
        "import tfeff; print(tfeff.__file__, tfeff.load_config('digits_demo').training.epochs)",
        folder=elsewhere,
    )
    assert done.stdout == f"{site / 'tfeff' / '__init__.py'} 20\n", done.stderr
    done = call(python, "-m", "tfeff", "train", "--config=own_imagse", "--workdir=run", folder=elsewhere)
    assert done.returncode == 2
    assert "did you mean --config=own_images?" in done.stderr
