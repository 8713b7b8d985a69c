"""The interface of executors, and how calls end.

Threads of this process serve work that releases the GIL, such as compiled kernels and OpenCV.
"""

import contextlib
import queue
from collections import Counter
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol, Self

from tfeff.errors import BusyError, UserError, is_disk_full
from tfeff.execution import resources

Function = Callable[..., Any]
ATTEMPTS = 3
"""Maximum number of attempts of a call whose process is lost."""
DISK_FULL = "no space left on the disk"
"""Error of a call that found the disk full; other calls will fail in the same way."""


@dataclass(frozen=True)
class Outcome:
    """The end of a call.

    Attributes:
        error: why the call failed; None if it returned.
        retryable: whether another attempt may succeed: the process or machine was lost, or the exception is not a user
            error.
    """

    key: Hashable
    value: Any = None
    error: str | None = None
    retryable: bool = False


def failure(error: BaseException) -> tuple[str, bool]:
    """Returns the `error` of a call that raised, and whether it is `retryable`."""
    if isinstance(error, UserError):
        return str(error), isinstance(error, BusyError)
    if is_disk_full(error):
        return DISK_FULL, False
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}", True  # may be transient


class Executor(Protocol):
    """A place where functions run, such as other processes.

    Functions and arguments must be picklable, so functions are defined at module level.
    """

    slots: int
    """Number of calls that run concurrently."""
    local_slots: int
    """Number of them that run on this machine."""

    def submit(self, key: Hashable, function: Function, *arguments: Any) -> None:
        """Starts a call, or queues it if all slots are busy."""

    def wait(self, timeout: float) -> list[Outcome]:
        """Returns the calls that ended since the last `wait`; waits up to `timeout` seconds for one."""

    def release(self) -> None:
        """Gives back the memory and the devices of idle processes; the next call starts new ones."""

    def __enter__(self) -> Self:
        """Starts the executor."""

    def __exit__(self, *error: object) -> None:
        """Stops running calls; training runs save a checkpoint first."""


def collect(
    executor: Executor, calls: Mapping[str, tuple[Any, ...]], check: Callable[[], None] = lambda: None
) -> dict[str, Any]:
    """Runs calls and returns their values by name, with up to ATTEMPTS attempts per call.

    Args:
        executor: must have no other calls running.
        calls: name, for the message -> (function, *arguments).
        check: called repeatedly while waiting; may raise.

    Raises:
        UserError: a call failed; all others have ended by then.
    """
    for name, call in calls.items():
        executor.submit(name, *call)
    values: dict[str, Any] = {}
    failures: Counter[str] = Counter()
    running, error = len(calls), ""
    while running:
        check()
        for outcome in executor.wait(1.0):
            name = str(outcome.key)
            if outcome.error is None:
                values[name] = outcome.value
            else:
                failures[name] += 1
                if not error and outcome.retryable and failures[name] < ATTEMPTS:
                    executor.submit(name, *calls[name])
                    continue
                error = error or f"{name} failed: {outcome.error}"
            running -= 1
    if error:
        raise UserError(error)
    return values


class Threads:
    """A pool of threads that lives as long as its context; without a count, one per core."""

    def __init__(self, count: int | None = None) -> None:
        self.slots = self.local_slots = resources.cores() if count is None else count
        self._pool = ThreadPoolExecutor(self.slots)
        self._outcomes: queue.SimpleQueue[Outcome] = queue.SimpleQueue()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def submit(self, key: Hashable, function: Function, *arguments: Any) -> None:
        """Queues a call."""

        def ended(call: Future[Any]) -> None:
            if not call.cancelled():
                error = call.exception()
                self._outcomes.put(Outcome(key, *((call.result(),) if error is None else (None, *failure(error)))))

        self._pool.submit(function, *arguments).add_done_callback(ended)

    def release(self) -> None:
        """See `Executor`; idle threads hold nothing."""

    def wait(self, timeout: float) -> list[Outcome]:
        """Returns the calls that ended since the last `wait`; waits up to `timeout` seconds for one."""
        outcomes = []
        with contextlib.suppress(queue.Empty):
            outcomes.append(self._outcomes.get(timeout=timeout))
            while True:
                outcomes.append(self._outcomes.get_nowait())
        return outcomes
