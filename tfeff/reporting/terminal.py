"""Lines on the terminal and in logs: literal text, whatever names of files and classes contain.

Rich would read `photo[final].jpg` as markup and `:smile:` as an emoji; a terminal obeys control characters.
"""

import re
import shutil
import sys

from rich.cells import cell_len
from rich.console import Console
from rich.progress import TextColumn
from rich.table import Column

from tfeff.errors import printable
from tfeff.reporting.tables import wrapped

WHOLE = Column(no_wrap=True)
"""A column of bars that is not cut on a narrow terminal, where the bar becomes shorter instead."""
_HEAD = re.compile(r"\S+ {2,}| *")
_COMMAND = re.compile(r"python -m |tensorboard --|pip install")


def say(text: object, *, error: bool = False) -> None:
    """Prints a text to standard output, or to standard error; on a terminal, prose is wrapped between words."""
    shown, file = printable(str(text)), sys.stderr if error else sys.stdout
    if file.isatty():
        shown = _prose(shown, shutil.get_terminal_size().columns)
    print(shown, file=file, flush=True)


def say_on(console: Console, text: str) -> None:
    """Prints a text above the bars of a console; on a terminal, prose is wrapped between words."""
    shown = printable(text)
    if console.is_terminal:
        shown = _prose(shown, console.width)
    console.print(shown, markup=False, emoji=False, highlight=False, soft_wrap=True)


def _prose(text: str, width: int) -> str:
    """Returns the text with lines that fit a terminal; commands, which must remain whole, are unchanged.

    A line that starts with spaces or a word in a column of its own continues below what follows these.
    """
    lines = list[str]()
    for line in text.split("\n"):
        if cell_len(line) <= width or _COMMAND.search(line) is not None:
            lines.append(line)
            continue
        head = _HEAD.match(line)[0]  # type: ignore[index]
        first, *others = wrapped(line[len(head) :], width - cell_len(head))
        lines += [head + first, *(" " * cell_len(head) + other for other in others)]
    return "\n".join(lines)


def column(field: str) -> TextColumn:
    """Returns a column of bars with a text of their tasks: `description`, or one of `fields`."""
    return TextColumn(f"{{task.{field}}}", markup=False)
