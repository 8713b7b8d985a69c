"""Where trials run: what local processes and a cluster have in common."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, Protocol, Self

from tfeff.errors import UserError

Function = Callable[..., Any]
DISK_FULL = "no space left on the disk"
"""The error of a call that ended so; the others will too."""


@dataclass(frozen=True)
class Outcome:
    """How a call ended.

    Attributes:
        key: of the call.
        value: what the function returned.
        error: why it returned nothing; None if it did.
        died: whether the process or machine was lost, rather than an exception raised: another attempt may succeed.
    """

    key: Hashable
    value: Any = None
    error: str | None = None
    died: bool = False


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


def collect(executor: Executor, count: int) -> dict[Hashable, Any]:
    """The values of `count` calls, by key.

    Raises:
        UserError: one of them failed.
    """
    values: dict[Hashable, Any] = {}
    while len(values) < count:
        for outcome in executor.wait(1.0):
            if outcome.error is not None:
                raise UserError(f"a measurement failed: {outcome.error}")
            values[outcome.key] = outcome.value
    return values
