"""Tools as modules."""

import importlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def import_tool(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """`import_tool(name)` imports a file of `tools/`, which can import its neighbors."""
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "tools")
    return importlib.import_module
