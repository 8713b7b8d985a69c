"""Detectors against other implementations: `python tools/benchmark.py detectors [--automl_python=... ...]`.

Every side runs in a process of its own, with the Python of its environment (`detector_sides.py`). Only one side
computes at a time; their rounds alternate, and the result is the ratio of each pair of rounds.
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

from detector_sides import BATCH, TWO_STAGE_BATCH
from paired_rounds import row

from tfeff.errors import UserError
from tfeff.reporting import tables

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
        environment: the flag that gives its Python, "automl" or "peer".
        images: per step.
        in_pytorch: whether the peer runs in PyTorch, which waits for threads in two ways.
    """

    title: str
    ours: Sequence[str]
    peer: str
    environment: str
    images: int = 1
    in_pytorch: bool = True


def runtimes(name: str) -> tuple[str, ...]:
    """Returns our side in each runtime."""
    return tuple(f"{name}-{runtime}" for runtime in RUNTIMES)


COMPARISONS = {
    "automl": Comparison(
        "D0 at 512, detections / google/automl", runtimes("d0"), "automl-d0", "automl", in_pytorch=False
    ),
    "effdet": Comparison("D0 at 512, detections / effdet", runtimes("d0"), "effdet-d0", "peer"),
    "effdet-network": Comparison("D0 at 512, network / effdet", runtimes("d0-network"), "effdet-d0-network", "peer"),
    "yolo": Comparison("YOLO at 640, network / YOLOv8n", runtimes("yolo-network"), "yolov8n-network", "peer"),
    "yolo-openvino": Comparison(
        "YOLO at 640, network / YOLOv8n in OpenVINO",
        ("yolo-network-openvino",),
        "yolov8n-network-openvino",
        "peer",
        in_pytorch=False,
    ),
    "training": Comparison("YOLO at 320, training / YOLOv8n", ("yolo-training",), "yolov8n-training", "peer", BATCH),
    "torchvision": Comparison(
        "Faster R-CNN at 480x640, detections / torchvision",
        (*runtimes("faster-rcnn"), "faster-rcnn-bfloat16-frozen"),
        "torchvision",
        "peer",
    ),
    "torchvision-training": Comparison(
        "Faster R-CNN at 480x640, training / torchvision",
        ("faster-rcnn-training",),
        "torchvision-training",
        "peer",
        TWO_STAGE_BATCH,
    ),
}


class Side:
    """A running side.

    Args:
        name: its name in `detector_sides.SIDES`.
        python: interpreter of its environment.
        path: directory of the packages that are not installed there.
        steps: steps per round.
        threads: number of threads.
        settings: further environment variables.
    """

    def __init__(
        self, name: str, python: str, path: Path, *, steps: int, threads: int, settings: Mapping[str, str]
    ) -> None:
        self.name, self.settings = name, settings
        environment = os.environ | dict.fromkeys(THREADS, str(threads)) | SETTINGS | {"PYTHONPATH": str(path)}
        environment.pop("OMP_WAIT_POLICY", None)
        environment |= settings
        if name.startswith("automl"):
            environment["TF_USE_LEGACY_KERAS"] = "1"
        command = [python, "-W", "ignore", str(TOOLS / "detector_sides.py"), name, f"--steps={steps}"]
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


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Defines the flags."""
    parser.add_argument("--only", default=",".join(COMPARISONS), help="Comparisons, separated by commas.")
    parser.add_argument("--automl_python", help="Python with TensorFlow and tf_keras of the same version.")
    parser.add_argument("--automl_source", help="Folder efficientdet/ of a clone of google/automl.")
    parser.add_argument("--peer_python", help="Python with effdet, torchvision and ultralytics.")
    parser.add_argument("--runtimes", default=",".join(RUNTIMES), help="Runtimes of our side, separated by commas.")
    parser.add_argument("--threads", type=int, default=2, help="Threads of every side.")
    parser.add_argument("--rounds", type=int, default=12, help="Timed rounds per side.")
    parser.add_argument("--steps", type=int, default=3, help="Images, or training batches, per round.")


def run(arguments: argparse.Namespace) -> None:
    """Compares inference and training of detectors to google/automl, effdet, torchvision and ultralytics."""
    pythons = {"automl": arguments.automl_python, "peer": arguments.peer_python}
    names, chosen_runtimes = arguments.only.split(","), arguments.runtimes.split(",")
    for flag, given, known in (("only", names, COMPARISONS), ("runtimes", chosen_runtimes, RUNTIMES)):
        for name in given:
            if name not in known:
                raise UserError(f"--{flag}={name}: must be one of {', '.join(known)}")
    if arguments.rounds < 2 or arguments.steps < 1 or arguments.threads < 1:
        raise UserError("--rounds must be at least 2, --steps and --threads at least 1")
    if arguments.automl_python and not Path(arguments.automl_source or "", "hparams_config.py").is_file():
        raise UserError(f"--automl_source={arguments.automl_source}: has no hparams_config.py")
    for comparison in map(COMPARISONS.__getitem__, names):
        python = pythons[comparison.environment]
        if python is None:
            print(f"{comparison.title}: skipped; it needs --{comparison.environment}_python", file=sys.stderr)
            continue
        chosen = [name for name in comparison.ours if name.endswith(("training", *chosen_runtimes))]
        source = Path(arguments.automl_source) if comparison.environment == "automl" else TOOLS
        print(tables.markdown(compare(comparison, chosen, python, source, arguments)))


def compare(
    comparison: Comparison, ours: Sequence[str], python: str, source: Path, arguments: argparse.Namespace
) -> list[dict[str, object]]:
    """Returns the rows of a comparison.

    All sides are started first; each round of ours has a round of the peer next to it.

    A peer in PyTorch runs with the faster of two ways of waiting, `PASSIVE` or the default.

    CPU times depend less on other load than times do, but with several threads they include waiting in spin locks.
    """
    with contextlib.ExitStack() as stack:

        def start(name: str, python: str, path: Path, settings: Mapping[str, str] = MappingProxyType({})) -> Side:
            side = Side(name, python, path, steps=arguments.steps, threads=arguments.threads, settings=settings)
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
