"""What a user can put right, said so that they can."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake in the input, not in the program.

    The message says what was wrong, where (file, key or class) and what would be right. A verb prints it on
    stderr and exits with code 2; library callers catch it like any other exception.
    """


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
