"""What the console says about long work."""

import io
import re

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
    assert written.getvalue() == "  computing features: 200 of 300 images, 0:00:50 left\n"


def test_without_a_terminal_each_set_of_images_is_reported_once_it_is_read() -> None:
    written = io.StringIO()
    reporter = progress.Reporter(Console(file=written))
    for name in ("train", "test", "train"):
        for done in (0, 1000, 2000):
            reporter.reading(name, done, 2000)
    assert written.getvalue() == "read 2,000 images of train\nread 2,000 images of test\n"


def test_on_a_terminal_it_has_a_bar() -> None:
    written = io.StringIO()
    reporter = progress.Reporter(Console(file=written, force_terminal=True, width=100))
    with reporter.bars(), reporter.computing("features", 300) as advance:
        advance(100)
        reporter.say("a line above")
        advance(200)
    assert "computing features" in written.getvalue()
    assert "a line above" in written.getvalue()


def test_the_columns_of_the_table_name_the_metrics_in_words() -> None:
    written = io.StringIO()
    reporter = progress.Reporter(Console(file=written))
    reporter.start(10, 0, validated=("loss", "mean_ap"))
    row = {"epoch": 1, "step": 5, "train_loss": 0.5, "train_box_loss": 0.25, "images_per_second": 7.0}
    reporter.epoch({**row, "validation_loss": 0.75, "validation_mean_ap": 0.125, "input_wait": 0.125}, epochs=2)
    header, cells = (re.split(r"  +", line.strip()) for line in written.getvalue().splitlines())
    assert header == ["epoch", "loss", "box loss", "val. loss", "val. mAP", "images/s", "input wait", "left"]
    assert cells[1:7] == ["0.5000", "0.2500", "0.7500", "0.1250", "7", "12.5 %"]
