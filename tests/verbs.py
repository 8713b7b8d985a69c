"""Verbs in processes that start at once.

Run as a program, this file imports TensorFlow and tfeff once and forks a process for each verb. A process of its own
would first import TensorFlow, which takes longer than most verbs do here.
"""

import gc
import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from matplotlib.figure import Figure

from tests.undrawn import save_undrawn

ROOT = Path(__file__).resolve().parents[1]
TIMEOUT = 500.0


@dataclass(frozen=True)
class Done:
    """Exit code (of a signal n: -n) and output of a verb."""

    code: int
    out: str
    err: str

    def succeeds(self) -> Self:
        assert self.code == 0, self.out + self.err
        return self

    def fails_with(self, *words: str) -> None:
        assert self.code == 2, self
        assert "Traceback" not in self.err
        for word in words:
            assert word in self.err, self.err


class Verbs:
    """Verbs in processes of their own; `with` ends those that still run."""

    def __init__(self) -> None:
        self._server = subprocess.Popen(
            [sys.executable, __file__],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._directory = tempfile.TemporaryDirectory()
        self._started = list[Process]()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        for process in self._started:
            process.kill_all()
        assert self._server.stdin is not None
        self._server.stdin.close()
        self._server.wait(60)
        self._directory.cleanup()

    def __call__(self, *argv: object, env: Mapping[str, str] | None = None, figures: bool = False) -> Done:
        """Runs `python -m tfeff.<argv[0]> <argv[1:]>` to its end."""
        return self.start(*argv, env=env, figures=figures).done()

    def start(self, *argv: object, env: Mapping[str, str] | None = None, figures: bool = False) -> "Process":
        """Starts `python -m tfeff.<argv[0]> <argv[1:]>` in a process group of its own.

        Args:
            figures: whether it draws figures; otherwise, it saves empty ones.
        """
        stem = f"{self._directory.name}/{len(self._started)}"
        call = {"argv": [str(each) for each in argv], "env": dict(env or {}), "stem": stem, "figures": figures}
        self._started.append(Process(self, self.ask(call), stem))
        return self._started[-1]

    def ask(self, call: Mapping[str, Any]) -> Any:
        """Sends one line to the server and returns its answer."""
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps(call) + "\n")
        self._server.stdin.flush()
        return json.loads(self._server.stdout.readline())


class Process:
    """A verb that was started."""

    def __init__(self, verbs: Verbs, pid: int, stem: str) -> None:
        self._verbs, self._pid, self._stem = verbs, pid, stem
        self._code: int | None = None

    def poll(self) -> int | None:
        """Returns the exit code; None while the process runs."""
        if self._code is None:
            self._code = self._verbs.ask({"poll": self._pid})
        return self._code

    def done(self, timeout: float = TIMEOUT) -> Done:
        """Waits for the end of the process."""
        end = time.monotonic() + timeout
        while (code := self.poll()) is None:
            assert time.monotonic() < end, f"runs for more than {timeout:g} s: {self._text('out')}{self._text('err')}"
            time.sleep(0.02)
        return Done(code, self._text("out"), self._text("err"))

    def signal(self, number: int) -> None:
        """Sends a signal to the process, unless it has ended."""
        if self.poll() is None:
            os.kill(self._pid, number)

    def kill(self) -> None:
        """Kills the process and waits for its end."""
        self.signal(signal.SIGKILL)
        self.done()

    def kill_all(self) -> None:
        """Kills the process and those that it started."""
        if self.poll() is None:
            os.killpg(self._pid, signal.SIGKILL)
            self.done()

    def _text(self, stream: str) -> str:
        return Path(f"{self._stem}.{stream}").read_text()


def _serve() -> None:
    """Answers each line: a call with the id of its process, a poll with the exit code or null."""
    gc.set_threshold(100_000, 50, 100)  # as in conftest.py
    for module in ("serving.run", "rcnn.task", "scaling.search", "proposals.quality", "runs"):
        __import__(f"tfeff.{module}")
    gc.freeze()  # the processes need not look at the modules again
    for line in sys.stdin:
        request = json.loads(line)
        if "poll" in request:
            pid, status = os.waitpid(request["poll"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if pid else None
        else:
            answer = _fork(**request)
        print(json.dumps(answer), flush=True)


def _fork(argv: list[str], env: dict[str, str], stem: str, figures: bool) -> int:
    for stream in ("out", "err"):
        Path(f"{stem}.{stream}").touch()
    pid = os.fork()
    if pid:
        return pid
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ |= env
    if not figures:
        Figure.savefig = save_undrawn
    for number, path in ((0, os.devnull), (1, f"{stem}.out"), (2, f"{stem}.err")):
        os.dup2(os.open(path, os.O_RDWR), number)
    os._exit(_run(argv))


def _run(argv: list[str]) -> int:
    sys.argv = [f"tfeff.{argv[0]}", *argv[1:]]
    sys.orig_argv = [sys.executable, "-m", *sys.argv]  # with which a worker restarts itself
    try:
        runpy.run_module(f"tfeff.{argv[0]}", run_name="__main__")
    except SystemExit as end:
        return int(end.code or 0)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


if __name__ == "__main__":
    _serve()
