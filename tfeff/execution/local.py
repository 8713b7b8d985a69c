"""Calls in processes of this machine."""

import logging
import multiprocessing
import os
import pickle
import shutil
import signal
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Self

from tfeff.errors import BusyError, Interrupted, UserError
from tfeff.execution import resources
from tfeff.execution.executor import Function, Outcome, failure

_LOG = logging.getLogger(__name__)
PROCESS_BYTES = 1_500_000_000
"""Memory of a process that trains a small network: TensorFlow, its graph, some thousand images."""
BUSY_SECONDS, BUSY_PAUSE = 120.0, 1.0
"""How long a call waits for a workdir that another process holds, and the seconds between two attempts."""
GRACE_SECONDS = 30.0
"""Time for a process to save its state when it is stopped."""
_shared: Path | None = None
"""See `shared_directory`."""


class LocalProcesses:
    """Long-lived worker processes, each pinned to its own cores unless a CPU quota allows fewer than are visible.

    Small networks do not scale to many cores: n single-threaded processes train more of them than one process with n
    threads. A process that dies is replaced, and its call ends as `retryable`.

    Args:
        processes: number of processes; None: one per GPU or core, as far as the free memory allows.
        log: file for what the processes print; its folder is made, and beside it is the folder of `shared_directory`.
    """

    def __init__(self, processes: int | None, log: Path) -> None:
        count, gpus = resources.cores(), resources.gpus()
        if processes is None:
            processes = len(gpus) or max(1, min(count, resources.free_memory() // PROCESS_BYTES))
        self.slots = self.local_slots = processes
        log.parent.mkdir(parents=True, exist_ok=True)
        self._log = log
        self._shared = log.with_name(f"{log.name}.shared") if processes > 1 else None
        visible = resources.visible_cores()
        self._shares = [len(range(index % count, count, processes)) for index in range(processes)]
        # A quota limits the time on all visible cores, so all containers would choose the same ones of them.
        pins = count == len(visible)
        self._cores = [visible[index % count :: processes] if pins else [] for index in range(processes)]
        self._gpus = [gpus[index % len(gpus)] if gpus else None for index in range(processes)]
        self._workers: list[_Worker] = []
        self._queue: deque[tuple[Hashable, bytes]] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        try:
            _end(self._workers)
        finally:
            if self._shared is not None and self._shared.is_dir():
                shutil.rmtree(self._shared, onerror=_left)

    def release(self) -> None:
        """See `Executor`."""
        _end([worker for worker in self._workers if not worker.busy])
        self._workers = [worker for worker in self._workers if worker.busy]

    def submit(self, key: Hashable, function: Function, *arguments: Any) -> None:
        """Starts a call, or queues it if all processes are busy."""
        self._queue.append((key, pickle.dumps((function, arguments))))
        self._feed()

    def wait(self, timeout: float) -> list[Outcome]:
        """Returns the calls that ended since the last `wait`; waits up to `timeout` seconds for one."""
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
                slot = min(set(range(self.slots)) - {other.slot for other in self._workers})
                share, cores, gpu = self._shares[slot], self._cores[slot], self._gpus[slot]
                worker = _Worker(slot, share, cores, gpu, self._log, self._shared)
                self._workers.append(worker)
            worker.start(*self._queue.popleft())


def _end(workers: Sequence["_Worker"]) -> None:
    """Stops processes, which save their state first."""
    for worker in workers:
        worker.process.terminate()
    for worker in workers:
        worker.process.join(GRACE_SECONDS)
        worker.process.kill()
        worker.process.join()


def _left(_: object, path: str, error: Any) -> None:
    """Says which file could not be deleted."""
    _LOG.warning("%s cannot be deleted (%s); delete it", path, error[1])


class _Worker:
    """A worker process, seen from its parent."""

    def __init__(
        self, slot: int, share: int, cores: Sequence[int], gpu: str | None, log: Path, shared: Path | None
    ) -> None:
        self.slot = slot
        self.busy = False
        context = multiprocessing.get_context("spawn")  # TensorFlow does not survive a fork
        self.connection, remote = context.Pipe()
        self.process = context.Process(target=_serve, args=(remote, share, cores, gpu, log, shared), daemon=True)
        self.process.start()
        remote.close()

    def start(self, key: Hashable, call: bytes) -> None:
        """Sends a call; if the process has died since its last call, `outcome` reports that."""
        self.busy, self._key = True, key
        try:
            self.connection.send_bytes(call)
        except OSError:
            self.process.join()

    def outcome(self) -> Outcome:
        """Returns the outcome of the current call."""
        self.busy = False
        try:
            value, error, retryable = pickle.loads(self.connection.recv_bytes())
        except (EOFError, OSError):
            self.process.join()
            code = self.process.exitcode or 0
            cause = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited with code {code}"
            return Outcome(self._key, error=f"process {cause}", retryable=True)
        return Outcome(self._key, value, error, retryable)


def shared_directory() -> Path | None:
    """Returns a folder for files that all processes of this process' `LocalProcesses` need, which is deleted with them.

    None outside of `LocalProcesses`, or if it has one process.
    """
    return _shared


@contextmanager
def on_all_cores() -> Iterator[None]:
    """Lets the threads that start in its context use the cores of all processes, which wait for this one."""
    share, resources.share = resources.share, None
    own = os.sched_getaffinity(0) if hasattr(os, "sched_setaffinity") else None
    if own is not None:
        os.sched_setaffinity(0, os.sched_getaffinity(os.getppid()))
    try:
        yield
    finally:
        resources.share = share
        if own is not None:
            os.sched_setaffinity(0, own)


def _serve(
    connection: Connection, share: int, cores: Sequence[int], gpu: str | None, log: Path, shared: Path | None
) -> None:
    """Runs calls in a worker process until the parent closes the connection."""
    global _shared
    end_with_parent()
    _shared = shared
    os.setpgid(0, 0)  # Ctrl-C would signal the whole process group; the parent stops its workers itself
    with open(log, "a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    if hasattr(os, "sched_setaffinity") and cores:
        os.sched_setaffinity(0, cores)
    resources.share = share
    for pool in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        os.environ[pool] = str(share)  # whatever the parent was given: rounding depends on it
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    while True:
        try:
            call = connection.recv_bytes()
        except EOFError:
            return
        connection.send_bytes(pickle.dumps(run(call)))


def run(call: bytes) -> tuple[Any, str | None, bool]:
    """Runs a pickled call and returns (value, error, retryable)."""
    try:
        function, arguments = pickle.loads(call)
        return _call_when_free(function, arguments), None, False
    except Interrupted:
        os._exit(128 + signal.SIGTERM)
    except Exception as error:
        if not isinstance(error, UserError):
            traceback.print_exc(file=sys.stderr)
        return None, *failure(error)


def _call_when_free(function: Function, arguments: Sequence[Any]) -> Any:
    """Calls a function; if another process holds its workdir, retries until it is released.

    A killed parent or a lost machine may leave behind a training run that is still active.
    """
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            return function(*arguments)
        except BusyError:
            if time.monotonic() > deadline:
                raise
            time.sleep(BUSY_PAUSE)


def end_with_parent() -> None:
    """Ends this process as soon as the process that started it has ended, also by a signal."""
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            wait([parent.sentinel])
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
