"""Compilation of the loops of selective search, by Numba."""

from collections.abc import Callable
from typing import Any

from numba import njit


def kernel(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Decorates a function to be compiled on its first call, without the GIL.

    What was compiled is kept next to the package, in the user's cache, or in the folder NUMBA_CACHE_DIR. If none of
    these can be written, each process compiles anew, which takes up to a minute.

    Args:
        options: further arguments of `numba.njit`.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        try:
            return njit(cache=True, nogil=True, **options)(function)
        except RuntimeError:  # no folder can be written
            return njit(nogil=True, **options)(function)

    return decorate


def is_kept(compiled: Any) -> bool:
    """Whether later processes find what this one compiles."""
    return compiled._cache.cache_path is not None
