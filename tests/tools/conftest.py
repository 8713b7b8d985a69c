"""Tools as modules."""

import importlib
from collections.abc import Callable
from types import ModuleType

import pytest


@pytest.fixture
def import_tool() -> Callable[[str], ModuleType]:
    """`import_tool(name)` imports a file of `tools/`, which is on the path (`pythonpath` in pyproject.toml)."""
    return importlib.import_module
