"""Compilation of the loops of selective search, by Numba."""

import sys
import threading
from collections.abc import Callable
from typing import Any

from numba import njit
from numba.core import event
from rich.file_proxy import FileProxy

from tfeff.reporting.progress import Bar
from tfeff.reporting.terminal import say

_lock, _kernels, _prepared = threading.Lock(), list[Any](), list[Callable[[], object]]()


def kernel(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Decorates a function to be compiled on its first call, without the GIL.

    What was compiled is kept next to the package, in the user's cache, or in the folder NUMBA_CACHE_DIR. If none of
    these can be written, each process compiles anew, which takes up to a minute.

    Args:
        options: further arguments of `numba.njit`.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        try:
            compiled = njit(cache=True, nogil=True, **options)(function)
        except RuntimeError:  # no folder can be written
            compiled = njit(nogil=True, **options)(function)
        if "inline" not in options:  # others are compiled with their callers
            _kernels.append(compiled)
        return compiled

    return decorate


def is_kept(compiled: Any) -> bool:
    """Returns whether later processes find what this one compiles."""
    return compiled._cache.cache_path is not None


def prepare(run: Callable[[], object]) -> None:
    """Loads the kernels, once in a process, or compiles them, with a line and a bar on standard error.

    Args:
        run: a function of a module that calls all kernels. Threads that call `prepare` meanwhile wait.
    """
    if run in _prepared:
        return
    with _lock:
        if run not in _prepared:
            with event.install_listener("numba:compile", _Compiling()) as compiling:
                run()
            compiling.close()
            _prepared.append(run)


class _Compiling(event.Listener):
    """Message that kernels are compiled, shown from the first one on, and not if all are loaded."""

    def __init__(self) -> None:
        self._began, self._done = False, set[str]()
        self._bar: Bar | None = None

    def on_start(self, event: event.Event) -> None:
        """Shows the line and, unless the bars of another task are on the terminal, the bar."""
        if self._began:
            return
        self._began = True
        keep = "" if is_kept(_kernels[0]) else "; to keep it, set NUMBA_CACHE_DIR to a folder that only you can write"
        say(f"compiling selective search, once on this computer; this takes up to a minute{keep}", error=True)
        if not isinstance(sys.stderr, FileProxy):
            self._bar = Bar("compiling", len(_kernels), "functions").__enter__()

    def on_end(self, event: event.Event) -> None:
        """Counts a kernel; Numba also compiles functions of its own."""
        function = event.data["dispatcher"].py_func
        if self._bar is not None and any(function is each.py_func for each in _kernels):
            self._done.add(function.__qualname__)
            self._bar.show(len(self._done))

    def close(self) -> None:
        """Removes the bar."""
        if self._bar is not None:
            self._bar.__exit__()
