"""What the console says about long work."""

import io

import pytest
from rich.console import Console

from tfeff.training import progress


def test_without_a_terminal_long_work_is_reported_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    now, written = 0.0, io.StringIO()
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    reporter = progress.Reporter(Console(file=written))
    with reporter.bars(), reporter.computing("features", 300) as advance:
        for _ in range(3):
            now += 50
            advance(100)
    assert written.getvalue() == "  computing features: 200 of 300 images\n"


def test_on_a_terminal_it_has_a_bar() -> None:
    written = io.StringIO()
    reporter = progress.Reporter(Console(file=written, force_terminal=True, width=100))
    with reporter.bars(), reporter.computing("features", 300) as advance:
        advance(100)
        reporter.say("a line above")
        advance(200)
    assert "computing features" in written.getvalue()
    assert "a line above" in written.getvalue()
