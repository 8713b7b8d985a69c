"""Comparisons with sides in processes of their own, each with the Python of its environment.

Only one side computes at a time; their rounds alternate, and the result is the ratio of each pair of rounds.
"""

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Self

from paired_rounds import row

from tfeff.errors import UserError

TOOLS = Path(__file__).parent
RUNTIMES = ("frozen", "litert", "onnx", "openvino")
THREADS = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS")
"""Environment variables with the number of threads."""
SETTINGS = {"TF_ENABLE_ONEDNN_OPTS": "1"}
"""For all sides. TensorFlow leaves oneDNN off on CPUs without AVX-512, where it is faster, too."""
PASSIVE = {"OMP_WAIT_POLICY": "PASSIVE"}
"""Threads of PyTorch sleep while they wait. By default they spin, which can be faster, but is slow if another process
needs their core."""
TRIAL_ROUNDS = 5
"""Rounds by which the faster of two settings of a peer is chosen."""


@dataclass(frozen=True)
class Comparison:
    """Rows of the table: each of our sides against the peer's.

    Attributes:
        title: what is compared.
        ours: our sides.
        peer: the side of the other implementation.
        environment: the flag that gives its Python: "automl" or "peer".
        images: per step.
        in_pytorch: whether the peer runs in PyTorch, which waits for threads in two ways.
    """

    title: str
    ours: tuple[str, ...]
    peer: str
    environment: str
    images: int = 1
    in_pytorch: bool = True


class Side:
    """A running side.

    Args:
        script: the program that serves it.
        name: its name there.
        python: interpreter of its environment.
        path: directory of the packages that are not installed there.
        steps: steps per round.
        threads: number of threads.
        settings: further environment variables.
    """

    def __init__(
        self, script: Path, name: str, python: str, path: Path, *, steps: int, threads: int, settings: Mapping[str, str]
    ) -> None:
        self.name, self.settings = name, settings
        environment = os.environ | dict.fromkeys(THREADS, str(threads)) | SETTINGS | {"PYTHONPATH": str(path)}
        environment.pop("OMP_WAIT_POLICY", None)
        environment |= settings
        if name.startswith("automl"):
            environment["TF_USE_LEGACY_KERAS"] = "1"
        command = [python, "-W", "ignore", str(script), name, f"--steps={steps}"]
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
            )
        except OSError as error:
            raise UserError(f"{python}: {error.strerror}") from error
        self.versions = self._answer()

    def seconds(self) -> tuple[float, float]:
        """Runs a round; its seconds and CPU seconds."""
        self._process.stdin.write("round\n")
        self._process.stdin.flush()
        seconds, cpu_seconds = map(float, self._answer().split())
        return seconds, cpu_seconds

    def _answer(self) -> str:
        line = self._process.stdout.readline().strip()
        if not line:
            raise UserError(f"{self.name} ended with exit code {self._process.wait()}; its last lines are above")
        return line

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()  # the end of its input ends it


def add_flags(parser: argparse.ArgumentParser, comparisons: Mapping[str, Comparison], peers: str) -> None:
    """Defines the flags that all comparisons have."""
    parser.add_argument("--only", default=",".join(comparisons), help="Comparisons, separated by commas.")
    parser.add_argument("--peer_python", help=f"Python with {peers}.")
    parser.add_argument("--runtimes", default=",".join(RUNTIMES), help="Runtimes of our side, separated by commas.")
    parser.add_argument("--threads", type=int, default=2, help="Threads of every side.")
    parser.add_argument("--rounds", type=int, default=12, help="Timed rounds per side.")
    parser.add_argument("--steps", type=int, default=3, help="Images, or batches, per round.")


def chosen(arguments: argparse.Namespace, comparisons: Mapping[str, Comparison]) -> dict[Comparison, list[str]]:
    """Returns the comparisons that are wanted, with our sides in the runtimes that are wanted; those without any are
    skipped with a message.

    Raises:
        UserError: a flag has a wrong value.
    """
    names, runtimes = arguments.only.split(","), arguments.runtimes.split(",")
    for flag, given, known in (("only", names, comparisons), ("runtimes", runtimes, RUNTIMES)):
        for name in given:
            if name not in known:
                raise UserError(f"--{flag}={name}: must be one of {', '.join(known)}")
    if arguments.rounds < 2 or arguments.steps < 1 or arguments.threads < 1:
        raise UserError("--rounds must be at least 2, --steps and --threads at least 1")
    wanted = ("training", *runtimes)
    found = {}
    for comparison in map(comparisons.__getitem__, names):
        if ours := [side for side in comparison.ours if side.endswith(wanted)]:
            found[comparison] = ours
        else:
            print(f"{comparison.title}: skipped; it is in none of --runtimes={arguments.runtimes}", file=sys.stderr)
    return found


def compare(
    script: Path,
    comparison: Comparison,
    ours: Sequence[str],
    python: str,
    arguments: argparse.Namespace,
    source: Path = TOOLS,
) -> list[dict[str, object]]:
    """Returns the rows of a comparison.

    Args:
        script: the program that serves all sides.
        ours: our sides.
        python: interpreter of the peer's environment.
        source: directory of the peer's packages that are not installed there.

    All sides are started first; each round of ours has a round of the peer next to it.

    A peer in PyTorch runs with the faster of two ways of waiting, `PASSIVE` or the default.

    CPU times depend less on other load than times do, but with several threads they include waiting in spin locks.
    """
    with contextlib.ExitStack() as stack:

        def start(name: str, python: str, path: Path, settings: Mapping[str, str] = MappingProxyType({})) -> Side:
            side = Side(script, name, python, path, steps=arguments.steps, threads=arguments.threads, settings=settings)
            return stack.enter_context(side)

        def fastest(peers: Sequence[Side]) -> Side:
            if len(peers) == 1:
                return peers[0]
            times: dict[Side, list[float]] = {each: [] for each in peers}
            for index in range(TRIAL_ROUNDS):
                for each in peers if index % 2 else reversed(peers):
                    times[each].append(each.seconds()[0])
            return min(peers, key=lambda each: statistics.median(times[each]))

        waiting = ({}, PASSIVE) if comparison.in_pytorch else ({},)
        peer = fastest([start(comparison.peer, python, source, settings) for settings in waiting])
        sides = [start(name, sys.executable, TOOLS.parent) for name in ours]
        for side in (peer, *sides):
            chosen = "".join(f" {name}={value}" for name, value in side.settings.items())
            print(f"{side.name}: {side.versions}{chosen}", file=sys.stderr)
        pairs: dict[Side, list[tuple[tuple[float, float], tuple[float, float]]]] = {side: [] for side in sides}
        for index in range(arguments.rounds):
            for side in sides:
                times = {each: each.seconds() for each in ((side, peer) if index % 2 else (peer, side))}
                pairs[side].append((times[side], times[peer]))
    rows = []
    for side, times in pairs.items():
        (seconds, cpu_seconds), (peer_seconds, peer_cpu_seconds) = (
            zip(*each, strict=True) for each in zip(*times, strict=True)
        )
        cpu_ratio = statistics.median(b / a for a, b in zip(cpu_seconds, peer_cpu_seconds, strict=True))
        title = f"{comparison.title} ({side.name})"
        rows.append(
            row(title, seconds, peer_seconds, comparison.images * arguments.steps) | {"ratio of CPU times": cpu_ratio}
        )
    return rows
