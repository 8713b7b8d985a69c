"""Exceptions, and helpers for messages that tell users what to do."""

import contextlib
import difflib
import errno
import re
from collections.abc import Iterable, Iterator

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Characters that terminals obey or cannot print, and those that reorder text; but not line breaks and tabs."""
_NEGATED = re.compile(r"(?<![\w-])--no([a-z]\w*)")
_FLAG = re.compile(r"(?<![\w-])--(config\.)?(?=[a-z])")


class UserError(Exception):
    """A mistake in the input, not in the program.

    The message says what is wrong, where (file, line, key or class) and what to do. A verb prints it to stderr and
    exits with code 2; library callers catch it like any other exception.

    Attributes:
        in_python: whether the message names arguments, such as `workdir`, instead of flags, such as `--workdir`.
    """

    in_python = False

    def __str__(self) -> str:
        text = printable(super().__str__())
        return _FLAG.sub("", _NEGATED.sub(r"\1=False", text)) if self.in_python else text


def printable(text: str) -> str:
    """Returns the text with escapes in place of control characters, such as those of names of files.

    >>> printable("a\\x1b[31mb\\udce9")
    'a\\\\x1b[31mb\\\\xe9'
    """
    return text if text.isascii() and text.isprintable() else _CONTROL.sub(lambda match: escape(match[0]), text)


def escape(character: str) -> str:
    """Returns a character as an escape.

    A byte that is not UTF-8 (as Python represents it in file names) is shown as a byte.
    """
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape", "surrogatepass").decode()


@contextlib.contextmanager
def in_python() -> Iterator[None]:
    """Makes errors that leave its context name arguments of functions instead of flags, which have the same names.

    >>> with in_python():
    ...     raise UserError("use another --workdir")
    Traceback (most recent call last):
    tfeff.errors.UserError: use another workdir
    >>> with in_python():
    ...     raise UserError("add --nofit, or --format=onnx")
    Traceback (most recent call last):
    tfeff.errors.UserError: add fit=False, or format=onnx
    """
    try:
        yield
    except UserError as error:
        error.in_python = True
        raise


class BusyError(UserError):
    """Another process has locked a resource; trying again later can succeed."""


class NoRoomError(UserError):
    """Files do not fit on the disk."""


class DivergedError(UserError):
    """A training diverged: its loss or its weights are not finite."""


class Interrupted(Exception):  # noqa: N818 (not an error)
    """Ctrl-C or SIGTERM stopped a run, after it saved its state.

    Args:
        signal_number: the signal; a verb exits with 128 + this number.
        state: what was saved, for the message.
    """

    def __init__(self, signal_number: int, state: str):
        super().__init__(state)
        self.signal_number = signal_number


class WorkerLostError(Exception):
    """Another worker of a distributed run is lost; restarting from the last checkpoint waits for it to return."""


def is_disk_full(error: BaseException) -> bool:
    """Returns whether a disk is full, or a quota or limit reached.

    TensorFlow and SQLite say so only in the text of errors.
    """
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return True
    return any(words in str(error) for words in ("No space left on device", "disk is full", "File too large"))


def brief(error: BaseException) -> str:
    """Returns what a failed assertion of TensorFlow says, or the first line of an error, without the names of nodes."""
    if asserted := re.search(r"assertion failed: \[(.*?)\]", str(error)):
        return asserted[1]
    return re.sub(r"\{\{.*?\}\} *", "", str(error)).partition("\n")[0]


def changes(values: Iterable[tuple[str, object, object]]) -> str:
    """Formats settings that differ from saved ones, one per line.

    Args:
        values: (key, saved value, present value).

    >>> changes([("seed", 1, 2), ("mode", "fast", None)])
    "  seed: saved 1, now 2\\n  mode: saved 'fast', now None"
    """
    return "\n".join(f"  {key}: saved {saved!r}, now {now!r}" for key, saved, now in values)


def nearest(name: str, known: Iterable[str]) -> str:
    """Returns the hint at the end of a message about an unknown name.

    >>> nearest("bacth_size", ["batch_size", "epochs"])
    'did you mean "batch_size"?'
    >>> nearest("zzz", ["b", "a"])
    'known: a, b'
    """
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    return f'did you mean "{close[0]}"?' if close else f"known: {', '.join(names)}"
