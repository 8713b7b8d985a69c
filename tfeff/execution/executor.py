"""Where trials run: what local processes and a cluster have in common."""

from collections import Counter
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, Self

from tfeff.errors import BusyError, UserError, is_disk_full

Function = Callable[..., Any]
ATTEMPTS = 3
"""How often a call is made whose process is lost."""
DISK_FULL = "no space left on the disk"
"""The error of a call that ended so; the others will too."""


@dataclass(frozen=True)
class Outcome:
    """How a call ended.

    Attributes:
        key: of the call.
        value: what the function returned.
        error: why it returned nothing; None if it did.
        died: whether another attempt may succeed: the process or machine was lost, or an exception raised that is no
            mistake of the user's.
    """

    key: Hashable
    value: Any = None
    error: str | None = None
    died: bool = False


def failure(error: BaseException) -> tuple[str, bool]:
    """What an outcome says of a call that raised: its `error`, and whether it `died`."""
    if isinstance(error, UserError):
        return str(error), isinstance(error, BusyError)
    if is_disk_full(error):
        return DISK_FULL, False
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}", True  # it may pass


class Executor(Protocol):
    """Runs functions elsewhere. Functions and arguments are pickled; functions stand at the top of a module."""

    slots: int
    """Calls that run at once."""

    def submit(self, key: Hashable, function: Function, *arguments: Any) -> None:
        """Starts a call, or queues it where all slots are taken."""

    def wait(self, timeout: float) -> list[Outcome]:
        """The calls that have ended since it was last asked; waits for one, at most `timeout` seconds."""

    def __enter__(self) -> Self:
        """Gets ready."""

    def __exit__(self, *error: object) -> None:
        """Stops what still runs. Trainings save their state first."""


def collect(
    executor: Executor, calls: Mapping[Hashable, tuple[Any, ...]], check: Callable[[], None] = lambda: None
) -> dict[Hashable, Any]:
    """The values of some calls, by key; one whose process is lost is made again, ATTEMPTS times in all.

    Args:
        executor: that has no other calls under way.
        calls: key -> (function, *arguments).
        check: called now and then while waiting; may raise.

    Raises:
        UserError: one of them failed.
    """
    for key, call in calls.items():
        executor.submit(key, *call)
    values: dict[Hashable, Any] = {}
    deaths: Counter[Hashable] = Counter()
    while len(values) < len(calls):
        check()
        for outcome in executor.wait(1.0):
            key = outcome.key
            if outcome.error is None:
                values[key] = outcome.value
                continue
            deaths[key] += 1
            if not outcome.died or deaths[key] == ATTEMPTS:
                raise UserError(f"a measurement failed: {outcome.error}")
            executor.submit(key, *calls[key])
    return values
