"""Calls in threads of this process: for work that lets go of Python's lock, as compiled kernels and OpenCV do."""

import contextlib
import queue
import threading
from collections.abc import Hashable
from typing import Any, Self

from tfeff.execution import resources
from tfeff.execution.executor import Function, Outcome, failure


class Threads:
    """Threads that live as long as the context.

    Args:
        count: how many; None: as many as there are cores.
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
            while True:  # what has not begun does not begin any more
                self._calls.get_nowait()
        for _ in self._threads:
            self._calls.put(None)
        for thread in self._threads:
            thread.join()

    def submit(self, key: Hashable, function: Function, *arguments: Any) -> None:
        """Queues a call."""
        self._calls.put((key, function, arguments))

    def wait(self, timeout: float) -> list[Outcome]:
        """The calls that have ended since it was last asked; waits for one, at most `timeout` seconds."""
        found = []
        try:
            found.append(self._outcomes.get(timeout=timeout))
            while True:
                found.append(self._outcomes.get_nowait())
        except queue.Empty:
            return found

    def _serve(self) -> None:
        while (call := self._calls.get()) is not None:
            key, function, arguments = call
            try:
                self._outcomes.put(Outcome(key, function(*arguments)))
            except BaseException as error:  # a thread that ended with SystemExit would be waited for without end
                self._outcomes.put(Outcome(key, None, *failure(error)))
