"""What the console says about long work."""

import io
import re
from typing import Any

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


def test_a_narrow_terminal_shortens_the_bars_and_neither_counts_nor_times() -> None:
    written = io.StringIO()
    reporter = progress.Reporter(Console(file=written, force_terminal=True, color_system=None, width=80))
    with reporter.bars():
        reporter.reading("crops:embedded:placed_digits/train", 72680, 72680)
        reporter.start(136, 0)
        reporter.advance(100, 14_577, 2.6228)
    lines = re.split(r"[\r\n]+", written.getvalue())
    assert max(len(re.sub(r"\x1b\[[^m]*[A-Za-z]", "", line)) for line in lines) <= 80
    assert any(re.search(r"…\S+/train ━+ 72680/72680 0:00:00", line) for line in lines)
    assert any(re.search(r"100/136 .* 14,577 images/s, loss 2.6228", line) for line in lines)


ROW = {
    **{"epoch": 1, "step": 5, "train_loss": 0.5, "train_box_loss": 0.25, "train_accuracy": 0.625},
    **{"images_per_second": 7.0, "validation_loss": 0.75, "validation_mean_ap": 0.125, "input_wait": 0.125},
}


def table_of(row: dict[str, float], *, every: int = 1, **console: Any) -> list[list[str]]:
    written = io.StringIO()
    reporter = progress.Reporter(Console(file=written, color_system=None, **console))
    reporter.start(10, 0, validated=("loss", "box_loss", "mean_ap"), every=every)
    reporter.epoch(row, epochs=2)
    return [re.split(r"  +", line.strip()) for line in written.getvalue().splitlines()]


def test_the_columns_of_the_table_name_the_metrics_in_words_without_the_parts_of_the_loss() -> None:
    header, cells = table_of(ROW)
    assert header == ["epoch", "loss", "accuracy", "val. loss", "val. mAP", "images/s", "left"]
    assert cells[:6] == ["1/2", "0.5000", "0.6250", "0.7500", "0.1250", "7"]


@pytest.mark.parametrize(
    ("width", "left_out"), [(66, []), (65, ["accuracy"]), (56, ["accuracy"]), (55, ["accuracy", "images/s"])]
)
def test_a_terminal_without_room_leaves_the_least_important_columns_out(width: int, left_out: list[str]) -> None:
    header, _ = table_of(ROW, force_terminal=True, width=width)
    assert header == [name for name in table_of(ROW)[0] if name not in left_out]


def test_an_epoch_without_validation_has_no_empty_cells() -> None:
    row = {name: value for name, value in ROW.items() if not name.startswith("validation")}
    note, header, cells = table_of(row, every=5)
    assert note == ["validated every 5 epochs, and after the last one"]
    assert len(cells) == len(header)
    assert cells[3:5] == ["–", "–"]
