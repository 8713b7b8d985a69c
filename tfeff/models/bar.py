"""A bar for what takes long before there is a network: downloads, and weights that are inherited."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from rich.console import Console
from rich.progress import Progress, TaskID


@contextmanager
def bar(title: str) -> Iterator[Callable[[int, int], None]]:
    """Shows a bar on standard error, with the remaining time, while something is done; only on a terminal.

    Yields:
        A function to call with the number of parts done, and of all. The bar appears with the first call.
    """
    console = Console(stderr=True)
    with ExitStack() as stack:
        shown = list[tuple[Progress, TaskID]]()

        def show(done: int, total: int) -> None:
            if console.is_terminal and not shown:
                drawn = stack.enter_context(Progress(console=console, transient=True))
                shown.append((drawn, drawn.add_task(title, total=total)))
            for drawn, task in shown:
                drawn.update(task, completed=done)

        yield show
