"""Lines on the terminal and in logs: literal text, whatever names of files and classes contain.

Rich would read `photo[final].jpg` as markup and `:smile:` as an emoji; a terminal obeys control characters.
"""

import sys

from rich.console import Console
from rich.progress import TextColumn

from tfeff.errors import printable


def say(text: object, *, error: bool = False) -> None:
    """Prints a text to standard output, or to standard error."""
    print(printable(str(text)), file=sys.stderr if error else sys.stdout, flush=True)


def say_on(console: Console, text: str) -> None:
    """Prints a text above the bars of a console."""
    console.print(printable(text), markup=False, emoji=False, highlight=False, soft_wrap=True)


def column(field: str) -> TextColumn:
    """A column of bars with a text of their tasks: `description`, or one of `fields`."""
    return TextColumn(f"{{task.{field}}}", markup=False)
