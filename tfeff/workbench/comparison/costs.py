"""What a model costs: parameters, multiply-adds, latency on this machine, size of its weights."""

import json
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tfeff import models
from tfeff.durable import write
from tfeff.training.latency import latencies
from tfeff.workbench.comparison.run import ClassifierRun


@dataclass(frozen=True)
class Cost:
    """The cost of a model.

    Attributes:
        params: number of parameters.
        macs: multiply-adds for one image.
        weights_bytes: size of the file with the final weights.
        latency: median time to predict one image, in seconds; of the plain network, without test-time augmentation.
        latency_low: first quartile.
        latency_high: third quartile.
        imagenet_top1: published accuracy on ImageNet of the weights that training started from; None without them.
    """

    params: int
    macs: int
    weights_bytes: int
    latency: float
    latency_low: float
    latency_high: float
    imagenet_top1: float | None


def measure(compared: Sequence[ClassifierRun], path: Path) -> list[Cost]:
    """Counts and measures the costs of models.

    Args:
        compared: the models; they are timed alternately.
        path: a file that keeps the latencies; used again on the same machine for the same models.
    """
    key = " ".join([platform.node(), *(run.key for run in compared)])
    seconds = _kept(path, key)
    if seconds is None:
        seconds = latencies(*(run.network for run in compared))
        write(path, json.dumps({"key": key, "seconds": seconds.tolist()}) + "\n")
    low, middle, high = np.quantile(seconds, [0.25, 0.5, 0.75], axis=0)
    costs = []
    for index, run in enumerate(compared):
        counted, section = models.complexity.count(run.network), run.settings.model
        costs.append(
            Cost(
                params=counted.params,
                macs=counted.macs,
                weights_bytes=run.workdir.final.stat().st_size,
                latency=float(middle[index]),
                latency_low=float(low[index]),
                latency_high=float(high[index]),
                imagenet_top1=models.imagenet_top1(section.name) if section.weights == "imagenet" else None,
            )
        )
    return costs


def _kept(path: Path, key: str) -> np.ndarray | None:
    try:
        kept = json.loads(path.read_text())
        return np.array(kept["seconds"]) if kept["key"] == key else None
    except (OSError, ValueError, KeyError):
        return None
