"""Cases of `benchmark_accelerator.py`, and how its sides answer. Each side imports only its own framework."""

import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

MODES = ("ours", "compiled", "graph", "eager")
WORK = ("training", "inference")
PRECISIONS = ("bfloat16", "tf32")
OPTIMIZERS = ("sgd", "adamw")
LEARNING_RATE = {"sgd": 1e-3, "adamw": 1e-5}
WARM_UP_STEPS = 3

STACK, STACK_LAYERS = "stack-", 8
"""A stack of equal layers: measures a kind of layer alone."""
STACKS = {
    "convolution": (28, 128),
    "pointwise": (28, 240),
    "depthwise3": (28, 240),
    "depthwise5": (28, 240),
    "normalization": (56, 144),
}
"""Kinds of layers: side and channels of their maps."""
DETECTORS = ("yolo", "faster-rcnn")
CLASSES = {"yolo": 80, "faster-rcnn": 80}
DETECTOR_SIDE = 640
"""Width of a detector's images, unless a case has a resolution."""


@dataclass(frozen=True)
class Case:
    """What is measured.

    Attributes:
        network: a backbone, one of `DETECTORS` (network alone, without decoding), or `STACK` and one of `STACKS`.
        work: "training" (forward, backward, update) or "inference".
        batch: images.
        precision: "bfloat16" (mixed, variables in float32) or "tf32" (float32; products may round to TF32).
        optimizer: "sgd" (momentum 0.9) or "adamw".
        resolution: side (of detectors: width) of the images; None: the network's own, or `DETECTOR_SIDE`.
    """

    network: str
    work: str
    batch: int
    precision: str = "bfloat16"
    optimizer: str = "sgd"
    resolution: int | None = None

    @property
    def name(self) -> str:
        """Name in tables."""
        optimizer = f", {self.optimizer}" if self.work == "training" else ""
        return f"{self.network}: {self.work}, batch {self.batch}, {self.precision}{optimizer}"

    @property
    def stack(self) -> str | None:
        """The kind of layer, if this is a stack."""
        return self.network.removeprefix(STACK) if self.network.startswith(STACK) else None

    @property
    def passes(self) -> int:
        """Products of a step relative to the forward pass.

        The backward pass has two for each, one for the inputs and one for the weights.
        """
        return 3 if self.work == "training" else 1


@dataclass
class Mode:
    """One way in which a side runs a case.

    Attributes:
        run: runs that many steps and waits for them.
        facts: what is known before it is timed, such as the seconds of compilation.
        profile: seconds on the device by operation over that many steps.
    """

    run: Callable[[int], object]
    facts: dict[str, Any]
    profile: Callable[[int], dict[str, float]]


class Side(Protocol):
    """A framework."""

    def versions(self) -> str:
        """Returns versions and device."""
        ...

    def prepare(self, case: Case) -> dict[str, Callable[[], Mode]]:
        """Returns the modes of a case by name. Each function builds one, compiles it and warms it up."""
        ...

    def release(self) -> None:
        """Frees everything that `prepare` has built."""
        ...

    def ceiling(self) -> dict[str, float]:
        """Measures FLOP/s of a large bfloat16 matrix product."""
        ...


def serve(make_side: Callable[[], Side]) -> None:
    """Answers one JSON request per line of the standard input, until it ends.

    Requests are {"do": "prepare", "case": ..., "modes": [...]}, {"do": "run", "mode": ..., "steps": ...}, "profile"
    with the same, and "ceiling". Whatever libraries print goes to the standard error.
    """
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)

    def answer(value: dict[str, Any]) -> None:
        answers.write(json.dumps(value) + "\n")

    side, modes = make_side(), dict[str, Mode]()
    answer({"versions": side.versions()})
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if request["do"] == "prepare":
                modes.clear()
                side.release()
                facts: dict[str, Any] = {}
                for name, build in side.prepare(Case(**request["case"])).items():
                    if name not in request["modes"]:
                        continue
                    try:
                        modes[name] = build()
                    except Exception as error:  # another mode may work
                        traceback.print_exc()
                        facts[name] = {"error": summary(error)}
                    else:
                        facts[name] = modes[name].facts
                answer({"modes": facts})
            elif request["do"] == "run":
                answer({"seconds": timed(modes[request["mode"]], request["steps"]) * request["steps"]})
            elif request["do"] == "profile":
                answer({"operations": modes[request["mode"]].profile(request["steps"])})
            else:
                answer(side.ceiling())
        except Exception as error:
            traceback.print_exc()
            answer({"error": summary(error)})


def timed(mode: Mode, steps: int) -> float:
    """Returns seconds per step."""
    began = time.perf_counter()
    mode.run(steps)
    return (time.perf_counter() - began) / steps


def summary(error: Exception) -> str:
    """Returns the first line of an error."""
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0][:300] if str(error).strip() else ''}"
