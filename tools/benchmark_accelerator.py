"""Comparison of networks under JAX with those of timm and torchvision under PyTorch, on one accelerator.

    python tools/benchmark_accelerator.py --out=FILE.jsonl [--minutes=5] [--cases=CASE,CASE,...]

A case is NETWORK:WORK:BATCH[:PRECISION[:OPTIMIZER]], such as efficientnet-b0:training:256:bfloat16:adamw.

Needs JAX, PyTorch, timm, torchvision and ultralytics; not TensorFlow. Each framework runs in a process of its own;
while steps are timed, only one of them computes. Images are random bytes on the device. PyTorch runs compiled, and
without the compiler as a CUDA graph (Faster R-CNN, and everything on a CPU: eagerly).

Cases run in the given order until the time is used up. Every result is written to --out at once, one JSON object a
line; a table is printed at the end.
"""

import argparse
import dataclasses
import json
import math
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import command_line
from accelerator_case import DETECTORS, MODES, OPTIMIZERS, PRECISIONS, STACK, STACKS, WARM_UP_STEPS, WORK, Case
from paired_rounds import quartiles

from tfeff import networks
from tfeff.errors import UserError
from tfeff.reporting import tables

TOOLS = Path(__file__).parent
CASES = (
    "resnet50-v1.5:training:256",
    "efficientnet-b0:training:256",
    "efficientnet-b0:inference:256",
    "resnet50-v1.5:inference:256",
    "mobilenet-v2:training:256",
    "efficientnet-lite0:training:256",
    "faster-rcnn:inference:8",
    "yolo:inference:64",
    "efficientnet-b0:training:64",
    "resnet50-v1.5:training:256:tf32",
    "efficientnet-b0:training:512",
    "mobilenet-v2:training:256:bfloat16:adamw",
    "efficientnet-lite0:inference:256",
    "mobilenet-v2:inference:256",
    "resnet50-v1.5:training:64",
    "resnet50-v1.5:training:512",
)
"""By priority."""
RESERVE_SECONDS = 5.0
"""Time to stop the sides and print."""
START_SECONDS = 120.0
MEMORY_SHARE = "0.55"
"""JAX's share of the device's memory; PyTorch needs the rest."""


class OutOfTimeError(Exception):
    """The deadline has passed."""


class SideProcess:
    """A framework in a process of its own.

    Args:
        program: file in tools/.
        python: interpreter of its environment.
        settings: further environment variables.

    Attributes:
        failed: an answer was an error. The framework may no longer work, for example after a failed capture.
    """

    def __init__(self, program: str, python: str, settings: Mapping[str, str]) -> None:
        self.program = program
        self.failed = False
        path = os.pathsep.join(filter(None, (str(TOOLS.parent), os.environ.get("PYTHONPATH"))))
        command = [python, "-W", "ignore", str(TOOLS / program)]
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=os.environ | {"PYTHONPATH": path} | settings,
                start_new_session=True,  # so that the compiler's processes end with it
            )
        except OSError as error:
            raise UserError(f"{python}: {error.strerror}") from error
        self._answers: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self._process.stdout or ():
            self._answers.put(line)
        self._answers.put("")

    def ask(self, **request: Any) -> None:
        """Sends a request."""
        with suppress(BrokenPipeError):  # `answer` reports the end of the process
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()

    def answer(self, deadline: float) -> dict[str, Any]:
        """Waits for the answer to the last request."""
        try:
            line = self._answers.get(timeout=max(deadline - time.monotonic(), 0.0))
        except queue.Empty:
            raise OutOfTimeError from None
        if not line:
            self._answers.put("")
            answer: dict[str, Any] = {"error": f"{self.program} ended with exit code {self._process.wait()}"}
        else:
            answer = json.loads(line)
        self.failed |= any("error" in each for each in (answer, *answer.get("modes", {}).values()))
        return answer

    def stop(self) -> None:
        """Ends the process."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


@dataclasses.dataclass(frozen=True, eq=False)
class Timing:
    """One way to run a case."""

    side: SideProcess
    mode: str
    steps: int
    facts: dict[str, Any]


class Benchmark:
    """All cases.

    Args:
        arguments: flags.
        write: called with each result.
    """

    def __init__(self, arguments: argparse.Namespace, write: Callable[[dict[str, Any]], None]) -> None:
        self._flags, self._write = arguments, write
        self._deadline = time.monotonic() + 60 * arguments.minutes - RESERVE_SECONDS
        self._began = time.monotonic()
        self._sides: dict[str, SideProcess] = {}

    def run(self, cases: Sequence[Case]) -> None:
        """Measures cases until the deadline."""
        case = None
        try:
            self._start()
            for case in cases:
                self._measure(case)
        except OutOfTimeError:
            self._write({"kind": "stopped", "case": case and case.name, "after_seconds": self._elapsed()})
        finally:
            for side in self._sides.values():
                side.stop()

    def _elapsed(self) -> float:
        return time.monotonic() - self._began

    def _start(self) -> None:
        """Starts the sides that do not run or that failed, together."""
        for name, side in list(self._sides.items()):
            if side.failed:
                side.stop()
                del self._sides[name]
        programs = {
            "ours": ("accelerator_ours.py", sys.executable, ours_settings(self._flags.hlo)),
            "theirs": ("accelerator_theirs.py", self._flags.peer_python, {}),
        }
        started = {name: SideProcess(*program) for name, program in programs.items() if name not in self._sides}
        self._sides |= started
        for name, side in started.items():
            answer = side.answer(min(self._deadline, time.monotonic() + START_SECONDS))
            if "error" in answer:
                raise UserError(f"{name}: {answer['error']}; its last lines are above")
            side.ask(do="ceiling")
            self._write({"kind": "side", "side": name, **answer, **side.answer(self._deadline)})

    def _measure(self, case: Case) -> None:
        if time.monotonic() > self._deadline:
            raise OutOfTimeError
        began = self._elapsed()
        rounds: dict[Timing, list[float]] = {}
        try:
            for way in list(self._prepare(case)):
                # Only now does no other side compile.
                seconds = self._seconds(case, way, WARM_UP_STEPS)
                if seconds is not None:
                    steps = max(2, round(self._flags.round_seconds / seconds))
                    rounds[dataclasses.replace(way, steps=steps)] = []
            for index in range(self._flags.rounds):
                for way in list(rounds) if index % 2 == 0 else reversed(list(rounds)):
                    seconds = self._seconds(case, way, way.steps)
                    if seconds is None:
                        del rounds[way]
                    else:
                        rounds[way].append(seconds)
        finally:  # what was measured before the deadline counts
            timed = {way: seconds for way, seconds in rounds.items() if seconds}
            ours = next((seconds for way, seconds in timed.items() if way.mode == "ours"), None)
            for way, seconds in timed.items():
                self._write(self._result(case, way, seconds, ours))
        if self._flags.profile:
            self._profile(case, list(rounds))
        self._write({"kind": "case", "case": case.name, "seconds": self._elapsed() - began})

    def _seconds(self, case: Case, way: Timing, steps: int) -> float | None:
        """Returns seconds per step; writes an error."""
        way.side.ask(do="run", mode=way.mode, steps=steps)
        answer = way.side.answer(self._deadline)
        if "error" in answer:
            self._write({"kind": "error", "case": case.name, "side": way.mode, "error": answer["error"]})
            return None
        return answer["seconds"] / steps

    def _prepare(self, case: Case) -> Iterator[Timing]:
        """Lets both sides build and compile, at the same time unless --serial; writes their errors."""
        self._start()
        answers = {}
        for name, side in self._sides.items():
            side.ask(do="prepare", case=dataclasses.asdict(case), modes=self._flags.modes.split(","))
            if self._flags.serial:
                answers[name] = side.answer(self._deadline)
        for name, side in self._sides.items():
            answer = answers.get(name) or side.answer(self._deadline)
            if "error" in answer:
                self._write({"kind": "error", "case": case.name, "side": name, "error": answer["error"]})
            for mode, facts in answer.get("modes", {}).items():
                if "error" in facts:
                    self._write({"kind": "error", "case": case.name, "side": mode, "error": facts["error"]})
                else:
                    yield Timing(side, mode, WARM_UP_STEPS, facts)

    def _result(
        self, case: Case, way: Timing, seconds: Sequence[float], ours: Sequence[float] | None
    ) -> dict[str, Any]:
        """Returns a row. The ratio is our speed over this one, of each pair of rounds: above 1, ours is faster."""
        low, middle, high = quartiles(seconds)
        flops = 2 * way.facts["macs"] * case.passes * case.batch / middle
        peak = {"bfloat16": self._flags.bf16_tflops, "tf32": self._flags.tf32_tflops}[case.precision]
        row: dict[str, Any] = {
            "kind": "result",
            "case": case.name,
            **dataclasses.asdict(case),
            "side": way.mode,
            "images/s": case.batch / middle,
            "images/s, quartiles": [case.batch / high, case.batch / low],
            "TFLOP/s": flops / 1e12,
            "share of peak": flops / 1e12 / peak,
            "steps": way.steps,
            "seconds per step": list(seconds),
            **way.facts,
        }
        if ours is not None:
            ratios = quartiles([theirs / mine for theirs, mine in zip(seconds, ours, strict=False)])
            row |= {"ours / this": ratios[1], "ratio, quartiles": [ratios[0], ratios[2]]}
        return row

    def _profile(self, case: Case, ways: Sequence[Timing]) -> None:
        for way in ways:
            way.side.ask(do="profile", mode=way.mode, steps=3)
            answer = way.side.answer(self._deadline)
            if "error" in answer:
                self._write({"kind": "error", "case": case.name, "side": way.mode, "error": answer["error"]})
                continue
            longest = sorted(answer["operations"].items(), key=lambda each: -each[1])
            per_step = {name: seconds / 3 for name, seconds in longest[:40]}
            total = sum(answer["operations"].values()) / 3
            self._write({"kind": "profile", "case": case.name, "side": way.mode, "seconds": total, "longest": per_step})


def ours_settings(hlo: str | None) -> dict[str, str]:
    """Returns the environment of our side."""
    settings = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", "XLA_PYTHON_CLIENT_MEM_FRACTION": MEMORY_SHARE}
    return settings | ({"ACCELERATOR_HLO": hlo} if hlo else {})


def parse(text: str, resolution: int | None) -> Case:
    """Returns a case from NETWORK:WORK:BATCH[:PRECISION[:OPTIMIZER]].

    Raises:
        UserError: unknown names, or a batch that is no number.
    """
    network, *rest = text.split(":")
    if not 2 <= len(rest) <= 4:
        raise UserError(f"--cases: {text}: must be NETWORK:WORK:BATCH[:PRECISION[:OPTIMIZER]]")
    known = (*networks.names(), *DETECTORS, *(STACK + kind for kind in STACKS))
    choices = (("network", network, known), ("work", rest[0], WORK))
    choices += tuple(zip(("precision", "optimizer"), rest[2:], (PRECISIONS, OPTIMIZERS), strict=False))
    for name, given, allowed in choices:
        if given not in allowed:
            raise UserError(f"--cases: {text}: {name} {given}: must be one of {', '.join(allowed)}")
    if network in DETECTORS and rest[0] != "inference":
        raise UserError(f"--cases: {text}: of detectors, only inference is measured")
    if not rest[1].isdecimal() or int(rest[1]) < 1:
        raise UserError(f"--cases: {text}: batch {rest[1]}: must be a positive integer")
    return Case(network, rest[0], int(rest[1]), *rest[2:], resolution=resolution)


@contextmanager
def lines(path: Path, rows: list[dict[str, Any]]) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Yields a function that appends a row to a file, at once, and to a list."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:

        def write(row: dict[str, Any]) -> None:
            rows.append(row)
            file.write(json.dumps(row) + "\n")
            file.flush()
            brief = {
                key: value
                for key, value in row.items()
                if key in ("kind", "case", "side", "error", "images/s", "seconds")
            }
            print(json.dumps(brief), file=sys.stderr, flush=True)

        yield write


def summary(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Returns the table of the results."""
    return [
        {
            "case": row["case"],
            "side": row["side"],
            "images/s": row["images/s"],
            "quartiles": "{:,.0f} to {:,.0f}".format(*row["images/s, quartiles"]),
            "ours / this": row.get("ours / this"),
            "ratio, quartiles": "{:.3f} to {:.3f}".format(*row.get("ratio, quartiles", [math.nan] * 2)),
            "of peak": f"{row['share of peak']:.1%}",
            "GB": row["bytes"] and row["bytes"] / 1e9,
            "compilation, s": row["compile_seconds"] + row.get("trace_seconds", 0.0),
            "G multiply-adds": row["macs"] / 1e9,
        }
        for row in rows
        if row["kind"] == "result"
    ]


def main() -> None:
    """Runs all cases."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="File of JSON lines, to which results are appended.")
    parser.add_argument("--cases", default=",".join(CASES), help="Cases by priority.")
    parser.add_argument("--minutes", type=float, default=5.0, help="Time for everything.")
    parser.add_argument("--rounds", type=int, default=5, help="Timed rounds of each side.")
    parser.add_argument("--round_seconds", type=float, default=0.5, help="Approximate length of a round.")
    parser.add_argument("--modes", default=",".join(MODES), help="What is measured of each case.")
    parser.add_argument("--serial", action="store_true", help="Compile one side after the other, not at the same time.")
    parser.add_argument("--profile", action="store_true", help="Also measure the longest operations of each side.")
    parser.add_argument("--hlo", help="Directory for our compiled programs as text.")
    parser.add_argument("--resolution", type=int, help="Side of the images, instead of each network's own.")
    parser.add_argument("--peer_python", default=sys.executable, help="Python with the packages of theirs.")
    parser.add_argument("--bf16_tflops", type=float, default=989.0, help="Dense peak; the default is an H100's.")
    parser.add_argument("--tf32_tflops", type=float, default=494.5, help="Dense peak; the default is an H100's.")
    arguments = parser.parse_args()
    if arguments.rounds < 1 or arguments.round_seconds <= 0 or arguments.minutes <= 0:
        raise UserError("--rounds must be at least 1, --round_seconds and --minutes above 0")
    if unknown := set(arguments.modes.split(",")) - set(MODES):
        raise UserError(f"--modes: {', '.join(sorted(unknown))}: must be among {', '.join(MODES)}")
    cases = [parse(text, arguments.resolution) for text in arguments.cases.split(",")]
    rows: list[dict[str, Any]] = []
    try:
        with lines(arguments.out, rows) as write:
            Benchmark(arguments, write).run(cases)
    finally:
        print(tables.markdown(summary(rows)))
        for row in rows:
            if row["kind"] in ("side", "error", "stopped"):
                print(json.dumps(row))


if __name__ == "__main__":
    command_line.run(main)
