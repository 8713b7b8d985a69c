"""Names of files and classes on the terminal: as they are, without effect."""

import io

import pytest
from rich.console import Console

from tfeff.errors import UserError
from tfeff.reporting import tables
from tfeff.reporting.progress import Bar
from tfeff.reporting.terminal import say, say_on
from tfeff.training.progress import Reporter

NAMES = ("photo[final].jpg", "[red]", "[/]", "[/bold]", ":smile:", "50 % [link=x]y", "{task.total}")
HOSTILE = "a\x1b]0;owned\x07b\x1b[2Jc\rd\x9be\u202ef\udce9"
SHOWN = r"a\x1b]0;owned\x07b\x1b[2Jc\rd\x9be\u202ef\xe9"


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_markup_is_text(name: str, terminal: bool) -> None:
    written = io.StringIO()
    console = Console(file=written, force_terminal=terminal, width=200, color_system=None)
    say_on(console, f"said {name}")
    with Bar(f"titled {name}", 3, "images", console) as bar:
        bar.show(3)
    reporter = Reporter(console)
    with reporter.bars():
        reporter.say(f"reported {name}")
        reporter.reading(f"read {name}", 2, 2)
    for expected in ("said", "titled", "reported", "read"):
        assert f"{expected} {name}" in written.getvalue()


def test_control_characters_are_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    say(HOSTILE)
    say(f"{HOSTILE}\n\tmore", error=True)
    out, err = capsys.readouterr()
    assert out == f"{SHOWN}\n"
    assert err == f"{SHOWN}\n\tmore\n"
    written = io.StringIO()
    console = Console(file=written, width=200)
    say_on(console, HOSTILE)
    with Bar(HOSTILE, 1, "images", console) as bar:
        bar.show(1)
    assert written.getvalue().startswith(f"{SHOWN}\n{SHOWN}: 1 of 1 images")
    assert str(UserError(HOSTILE)) == SHOWN
    assert SHOWN in tables.text([{"class": HOSTILE, "n": 1}])


def test_other_characters_stay() -> None:
    written = io.StringIO()
    text = "пчёлы 🐝👩\u200d🚀 – 50\u00a0% ─ 日本"
    say_on(Console(file=written, width=200), text)
    assert written.getvalue() == f"{text}\n"


def test_prose_is_wrapped_on_a_terminal_and_commands_are_not() -> None:
    prose, command = "some words that are longer than the line", "rerun python -m tfeff.train --config=configs/a.py"
    row, written = "train  12 images from a folder", io.StringIO()
    say_on(Console(file=written, force_terminal=True, width=20, color_system=None), f"{prose}\n{command}\n{row}")
    shown = written.getvalue().splitlines()
    assert shown == ["some words that are", "longer than the line", command, "train  12 images", "       from a folder"]
    written = io.StringIO()
    say_on(Console(file=written, width=20), prose)
    assert written.getvalue() == f"{prose}\n"
