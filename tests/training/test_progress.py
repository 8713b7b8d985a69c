"""What the console says about long work."""

import io

import pytest
from rich.console import Console

from tfeff.training import progress


def test_without_a_terminal_long_work_is_reported_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    now, written = 0.0, io.StringIO()
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    reporter = progress.Reporter(Console(file=written))
    with reporter.bars():
        for done in range(0, 301, 100):
            reporter.computing("features", done, 300)
            now += 50
    assert written.getvalue() == "  computing features: 200 of 300 images\n"


def test_on_a_terminal_it_has_a_bar() -> None:
    written = io.StringIO()
    reporter = progress.Reporter(Console(file=written, force_terminal=True, width=100))
    with reporter.bars():
        for done in (100, 300):
            reporter.computing("features", done, 300)
    assert "computing features" in written.getvalue()
    assert "300/300" in written.getvalue()
