"""Trials in processes of this machine."""

import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Hashable, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Self

from tfeff.errors import BusyError, Interrupted, UserError
from tfeff.execution import resources
from tfeff.execution.executor import Function, Outcome, failure

BYTES_A_PROCESS = 1_500_000_000
"""Of a process that trains a small network: TensorFlow, its graph, some thousand images."""
BUSY_SECONDS, BUSY_PAUSE = 120.0, 1.0
"""How long a call waits for a workdir that another process holds, and between two looks at it."""
GRACE_SECONDS = 30.0
"""That a process gets to save its state when it is asked to stop."""


class LocalProcesses:
    """Worker processes that live as long as the search, each on cores of its own.

    Small networks do not use many cores well: n processes of one thread each train more of them than one process of n
    threads. A process that dies is replaced, and its call ends as `died`.

    Args:
        processes: how many; None: as many as there are cores, and as the free memory holds.
        log: file that takes what the processes print.
    """

    def __init__(self, processes: int | None, log: Path) -> None:
        cores, gpus = resources.cores(), resources.gpus()
        if processes is None:
            processes = len(gpus) or max(1, min(len(cores), resources.free_memory() // BYTES_A_PROCESS))
        self.slots = processes
        self._log = log
        self._cores = [cores[index % len(cores) :: processes] for index in range(processes)]
        self._gpus = [gpus[index % len(gpus)] if gpus else None for index in range(processes)]
        self._workers: list[_Worker] = []
        self._queue: deque[tuple[Hashable, bytes]] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        for worker in self._workers:
            worker.process.terminate()
        for worker in self._workers:
            worker.process.join(GRACE_SECONDS)
            worker.process.kill()

    def submit(self, key: Hashable, function: Function, *arguments: Any) -> None:
        """Starts a call, or queues it where all processes are busy."""
        self._queue.append((key, pickle.dumps((function, arguments))))
        self._feed()

    def wait(self, timeout: float) -> list[Outcome]:
        """The calls that have ended since it was last asked; waits for one, at most `timeout` seconds."""
        busy = [worker for worker in self._workers if worker.busy]
        ready = wait([end for worker in busy for end in (worker.connection, worker.process.sentinel)], timeout)
        outcomes = []
        for worker in busy:
            if worker.connection not in ready and worker.process.sentinel not in ready:
                continue
            outcomes.append(worker.outcome())
            if not worker.process.is_alive():
                self._workers.remove(worker)
        self._feed()
        return outcomes

    def _feed(self) -> None:
        while self._queue:
            worker = next((worker for worker in self._workers if not worker.busy), None)
            if worker is None:
                if len(self._workers) == self.slots:
                    return
                taken = {other.place for other in self._workers}
                place = min(set(range(self.slots)) - taken)
                worker = _Worker(place, self._cores[place], self._gpus[place], self._log)
                self._workers.append(worker)
            worker.start(*self._queue.popleft())


class _Worker:
    """One process, seen from the search."""

    def __init__(self, place: int, cores: Sequence[int], gpu: str | None, log: Path) -> None:
        self.place = place
        self.busy = False
        context = multiprocessing.get_context("spawn")  # TensorFlow does not survive a fork
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, cores, gpu, str(log)), daemon=True)
        self.process.start()
        theirs.close()

    def start(self, key: Hashable, call: bytes) -> None:
        """Hands a call over; a process that has died since its last one is found out by `outcome`."""
        self.busy, self._key = True, key
        try:
            self.connection.send_bytes(call)
        except OSError:
            self.process.join()

    def outcome(self) -> Outcome:
        """How the present call ended."""
        self.busy = False
        try:
            value, error, died = pickle.loads(self.connection.recv_bytes())
        except (EOFError, OSError):
            self.process.join()
            code = self.process.exitcode or 0
            how = f"by signal {signal.Signals(-code).name}" if code < 0 else f"with code {code}"
            return Outcome(self._key, error=f"its process ended {how}", died=True)
        return Outcome(self._key, value, error, died)


def _serve(connection: Connection, cores: Sequence[int], gpu: str | None, log: str) -> None:
    """The life of a worker process: runs calls until the search ends."""
    threading.Thread(target=_die_with_parent, daemon=True).start()
    os.setpgid(0, 0)  # Ctrl-C reaches the whole group of a terminal; the search asks its workers itself
    with open(log, "a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    if hasattr(os, "sched_setaffinity") and cores:
        os.sched_setaffinity(0, cores)
    for pool in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        os.environ[pool] = str(max(1, len(cores)))  # whatever the search itself was given; roundings depend on it
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    while True:
        try:
            call = connection.recv_bytes()
        except EOFError:
            return
        connection.send_bytes(pickle.dumps(run(call)))


def run(call: bytes) -> tuple[Any, str | None, bool]:
    """(value, error, whether another attempt may succeed) of a pickled call."""
    try:
        function, arguments = pickle.loads(call)
        return _patiently(function, arguments), None, False
    except Interrupted:
        os._exit(128 + signal.SIGTERM)
    except Exception as error:
        if not isinstance(error, UserError):
            traceback.print_exc(file=sys.stderr)
        return None, *failure(error)


def _patiently(function: Function, arguments: Sequence[Any]) -> Any:
    """The call's value; where another process holds what it needs, after that one has let go.

    A search that was killed, or a machine that was lost, may leave a training that has not ended yet.
    """
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            return function(*arguments)
        except BusyError:
            if time.monotonic() > deadline:
                raise
            time.sleep(BUSY_PAUSE)


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
