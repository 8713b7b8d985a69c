"""Where what Numba compiles is kept, and an installation where it cannot be."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from numba.core import caching

from tests.thoroughness import only_thorough
from tfeff.proposals import kernels
from tfeff.proposals.kernels import is_kept, kernel

ROOT = Path(__file__).resolve().parents[2]


def double(value: int) -> int:
    return 2 * value


def test_kernels_are_compiled_even_if_no_folder_can_be_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(caching.config, "CACHE_DIR", str(tmp_path))
    kept = kernel()(double)
    assert (kept(3), is_kept(kept)) == (6, True)
    assert list(tmp_path.rglob("*.nbi"))
    monkeypatch.setattr(caching.CacheImpl, "_locator_classes", [])
    lost = kernel()(double)
    assert (lost(3), is_kept(lost)) == (6, False)


def test_compiling_is_shown_but_not_loading(monkeypatch, tmp_path, capsys) -> None:
    monkeypatch.setattr(caching.config, "CACHE_DIR", str(tmp_path))
    found = []

    def prepared() -> str:
        monkeypatch.setattr(kernels, "_kernels", [])
        monkeypatch.setattr(kernels, "_prepared", [])
        doubled = kernel()(double)

        def run() -> None:
            found.append(doubled(3))

        kernels.prepare(run)
        kernels.prepare(run)
        return capsys.readouterr().err

    first, *others = prepared().splitlines()
    assert first == "compiling selective search, once on this computer; this takes up to a minute"
    assert [line.partition(" functions")[0] for line in others] == ["compiling: 1 of 1"]
    assert prepared() == ""  # another process would load it, too
    assert found == [6, 6]
    monkeypatch.setattr(caching.CacheImpl, "_locator_classes", [])
    assert "to keep it, set NUMBA_CACHE_DIR" in prepared()


@only_thorough
@pytest.mark.skipif(os.getuid() != 0 or shutil.which("setpriv") is None, reason="needs another user who may read all")
def test_a_user_who_may_write_nowhere_but_to_the_output_proposes_regions(tmp_path: Path) -> None:
    """Without a home, with a package that only its owner can write."""
    for folder in (tmp_path, *tmp_path.parents[:-2]):
        folder.chmod(folder.stat().st_mode | 0o755)
    tmp_path.chmod(0o777)
    caps = "+dac_read_search"
    user = [
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        f"--inh-caps={caps}",
        f"--ambient-caps={caps}",
    ]
    verb = ["-m", "tfeff.propose", "--dataset=embedded:placed_digits:48", "--split=test", f"--out={tmp_path / 'out'}"]
    environment = {"HOME": "/nonexistent", "PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*user, sys.executable, *verb], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "to keep it, set NUMBA_CACHE_DIR" in done.stderr
    assert (tmp_path / "out").is_dir()
