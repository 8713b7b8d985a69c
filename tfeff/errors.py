"""What a user can put right, said so that they can."""

import difflib
import errno
from collections.abc import Iterable


class UserError(Exception):
    """A mistake in the input, not in the program.

    The message says what was wrong, where (file, key or class) and what would be right. A verb prints it on
    stderr and exits with code 2; library callers catch it like any other exception.
    """


class BusyError(UserError):
    """Another process holds what is needed; once it has ended, another attempt succeeds."""


class Interrupted(Exception):  # noqa: N818 (it is no error)
    """A run was asked to stop, by Ctrl-C or SIGTERM, and has saved its state.

    Args:
        signal_number: of the signal; a verb exits with 128 + this number.
        where: what was saved, for the message.
    """

    def __init__(self, signal_number: int, where: str):
        super().__init__(where)
        self.signal_number = signal_number


class WorkerLostError(Exception):
    """Another worker of a distributed run is gone; a new start from the last checkpoint waits for it to come back."""


def is_disk_full(error: BaseException) -> bool:
    """Whether an error is that of a full disk; TensorFlow and SQLite say so in words only."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    return any(words in str(error) for words in ("No space left on device", "disk is full"))


def changes(values: Iterable[tuple[str, object, object]]) -> str:
    """The lines of a message about values that are not those that were found.

    Args:
        values: (key, what is there, what is wanted now).

    >>> changes([("seed", 1, 2), ("mode", "fast", None)])
    "  seed: 1 there, 2 now\\n  mode: 'fast' there, None now"
    """
    return "\n".join(f"  {key}: {old!r} there, {new!r} now" for key, old, new in values)


def nearest(name: str, known: Iterable[str]) -> str:
    """The hint that ends a message about an unknown name.

    >>> nearest("bacth_size", ["batch_size", "epochs"])
    'did you mean "batch_size"?'
    >>> nearest("zzz", ["b", "a"])
    'known: a, b'
    """
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    return f'did you mean "{close[0]}"?' if close else f"known: {', '.join(names)}"
