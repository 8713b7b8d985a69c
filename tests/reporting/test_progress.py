"""Bars of long tasks, and lines in logs."""

import io
import re

import pytest
from rich.console import Console

from tfeff.reporting import progress
from tfeff.reporting.progress import Bar


def test_a_narrow_terminal_shortens_the_title_and_the_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    now, written = 0.0, io.StringIO()
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    console = Console(file=written, force_terminal=True, color_system=None, width=80)
    with Bar("proposals of voc:/home/user/data/photographs/validation", 3000, "images", console) as bar:
        now = 30.0
        bar.show(3000)
    lines = re.split(r"[\r\n]+", written.getvalue())
    assert any(
        re.fullmatch(r".*proposals of voc…aphs/validation ━+ 3000/3000 0:00:00 100.0 images/s *", line)
        for line in lines
    )


def test_a_log_has_one_line_at_the_end() -> None:
    written = io.StringIO()
    with Bar("proposals of train", 30, "images", Console(file=written)) as bar:
        for done in range(31):
            bar.show(done)
    assert re.fullmatch(r"proposals of train: 30 of 30 images, [\d,.]+/s, 0:00:00 left\n", written.getvalue())
