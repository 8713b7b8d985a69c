"""Calls in threads of this process, for work that releases the GIL, such as compiled kernels and OpenCV."""

import contextlib
import queue
import threading
from collections.abc import Hashable
from typing import Any, Self

from tfeff.execution import resources
from tfeff.execution.executor import Function, Outcome, failure


class Threads:
    """A pool of threads that lives as long as its context.

    Args:
        count: number of threads; None: one per core.
    """

    def __init__(self, count: int | None = None) -> None:
        self.slots = len(resources.cores()) if count is None else count
        self._calls: queue.SimpleQueue[tuple[Hashable, Function, tuple[Any, ...]] | None] = queue.SimpleQueue()
        self._outcomes: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
        self._threads = [threading.Thread(target=self._serve, daemon=True) for _ in range(self.slots)]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        with contextlib.suppress(queue.Empty):
            while True:  # drop calls that have not started
                self._calls.get_nowait()
        for _ in self._threads:
            self._calls.put(None)
        for thread in self._threads:
            thread.join()

    def submit(self, key: Hashable, function: Function, *arguments: Any) -> None:
        """Queues a call."""
        self._calls.put((key, function, arguments))

    def wait(self, timeout: float) -> list[Outcome]:
        """Returns the calls that ended since the last `wait`; waits up to `timeout` seconds for one."""
        outcomes = []
        try:
            outcomes.append(self._outcomes.get(timeout=timeout))
            while True:
                outcomes.append(self._outcomes.get_nowait())
        except queue.Empty:
            return outcomes

    def _serve(self) -> None:
        while (call := self._calls.get()) is not None:
            key, function, arguments = call
            try:
                self._outcomes.put(Outcome(key, function(*arguments)))
            except BaseException as error:  # SystemExit too: `wait` would hang for a thread that ended
                self._outcomes.put(Outcome(key, None, *failure(error)))
