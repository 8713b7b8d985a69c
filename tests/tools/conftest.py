"""Tools as modules, and as programs."""

import importlib
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

TOOLS = Path(__file__).parents[2] / "tools"


@pytest.fixture
def import_tool() -> Callable[[str], ModuleType]:
    """`import_tool(name)` imports a file of `tools/`, which is on the path (`pythonpath` in pyproject.toml)."""
    return importlib.import_module


@pytest.fixture
def run_tool(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """`run_tool(name, *flags)` runs a tool as a program, but in this process: its exit code, and what it wrote."""

    def run(name: str, *flags: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *map(str, flags)])
        code = 0
        try:
            runpy.run_path(str(TOOLS / f"{name}.py"), run_name="__main__")
        except SystemExit as end:
            code = int(end.code or 0)
        return code, "".join(capsys.readouterr())

    return run
