"""Trainings of one file share compiled networks, because tracing one takes three times as long as all else of a run."""

from collections.abc import Iterator

import pytest

from tfeff.training import preparation
from tfeff.training.assembly import AssemblyCache, assemble


@pytest.fixture(autouse=True, scope="module")
def _shared_graphs() -> Iterator[None]:
    """A run starts from a new assembly or from one that was reset; `test_assembly.py` shows that both are the same."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(preparation, "assemble", AssemblyCache(size=6).assemble)
        yield


@pytest.fixture
def own_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every run traces its own graphs, as runs in different processes do."""
    monkeypatch.setattr(preparation, "assemble", assemble)
