"""Compares estimated with measured training memory: `python tools/memory.py [--megabytes=600]`. Linux only.

The estimate is `training_peak_bytes`, the memory that a training step needs for each image of its batch. For the
measurement, two processes train the same network with different batch sizes. The difference of their peak memory (VmHWM
in /proc/self/status), divided by the difference of the batch sizes, is the memory per image. Memory that does not grow
with the batch cancels out: the program, weights, their gradients, and workspaces of fixed size.

Use large batches: in small ones, the workspace of a single operation can determine the peak.

Two settings make VmHWM reflect the memory of feature maps. Freed memory is returned to the kernel immediately (glibc's
malloc maps all blocks above 64 KB). TensorFlow uses its own kernels, because those of oneDNN allocate from a pool that
doubles its size.

With --rematerialize=efficientdet-d2 (or another network): the memory and the time of a training step with and without
rematerialization.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from typing import Any

import command_line

from tfeff.reporting import tables

NETWORKS: list[tuple[str, dict[str, Any]]] = [
    ("resnet", {"resolution": 32}),
    ("resnet", {"resolution": 64}),
    ("resnet", {"resolution": 95}),
    ("resnet", {"resolution": 48, "width_coefficient": 2.0}),
    ("resnet", {"resolution": 48, "depth_coefficient": 2.5}),
    ("resnet", {"resolution": 32, "batch_norm": False}),
    ("resnet", {"resolution": 64, "batch_norm": False}),
    ("resnet", {"resolution": 48, "depth_coefficient": 2.0, "batch_norm": False}),
    ("resnet50", {"resolution": 64}),
    ("mobilenet-v1", {"resolution": 96}),
    ("mobilenet-v2", {"resolution": 96}),
    ("efficientnet-b0", {"resolution": 64}),
    ("efficientnet-b0", {"resolution": 128}),
    ("efficientnet-lite0", {"resolution": 96}),
]
CLASSES = 10
STEPS = 2
"""The first step also creates the optimizer's variables."""
ENVIRONMENT = {
    "TF_ENABLE_ONEDNN_OPTS": "0",
    "CUDA_VISIBLE_DEVICES": "",
    "MALLOC_MMAP_THRESHOLD_": str(64 * 1024),
    "MALLOC_TRIM_THRESHOLD_": "0",
    "MALLOC_ARENA_MAX": "1",
}


def train(name: str, options: dict[str, Any], batch_size: int, rematerialize: bool) -> tuple[int, float]:
    """Returns the peak memory of this process, in bytes, and the seconds of the last of STEPS training steps."""
    import tensorflow as tf

    from tfeff import config, models, tasks
    from tfeff.config.tasks import of_detector
    from tfeff.training import optimizers
    from tfeff.training.step import Step

    if name in models.detector_names():
        section = of_detector(models.detector(name))
        task, network = tasks.create(section), models.build_detector(name, num_classes=CLASSES)
    else:
        task = tasks.create(config.ClassificationSettings())
        network = models.build(name, num_classes=CLASSES, **options)
    optimizer = optimizers.build("sgd", network, weight_decay=1e-3)
    step = Step(
        network,
        optimizer,
        tf.distribute.get_strategy(),
        task=task,
        batch_size=batch_size,
        rematerialize=rematerialize,
    )
    images = tf.zeros((batch_size, *network.size, 3))
    batch = {"image": images, **task.dummy_targets(batch_size, CLASSES)}
    for _ in range(STEPS):
        start = time.perf_counter()
        step.train(batch, step=0, learning_rate=1e-3).numpy()
        seconds = time.perf_counter() - start
    with open("/proc/self/status") as status:
        kilobytes = next(line.split()[1] for line in status if line.startswith("VmHWM"))
    return 1024 * int(kilobytes), seconds


def measure(
    name: str, options: dict[str, Any], batch_size: int, threads: int, rematerialize: bool = False
) -> tuple[int, float]:
    """Runs `train` in a new process."""
    arguments = ["--network", name, "--options", json.dumps(options), "--batch_size", str(batch_size)]
    arguments += ["--rematerialized"] * rematerialize
    pool = {"TF_NUM_INTEROP_THREADS": str(threads), "TF_NUM_INTRAOP_THREADS": "1"}
    completed = subprocess.run(
        [sys.executable, __file__, *arguments],
        env={**os.environ, **ENVIRONMENT, **pool},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    peak, seconds = completed.stdout.splitlines()[-1].split()
    return int(peak), float(seconds)


def compare(name: str, options: dict[str, Any], megabytes: int, threads: int) -> dict[str, object]:
    """Measures one network and returns its row of the table."""
    from tfeff import models

    estimated = models.estimate(models.architecture(name, **options), num_classes=CLASSES)
    batch_size = max(4, round(megabytes * 1e6 / estimated.training_peak_bytes))
    small, large = (measure(name, options, size, threads)[0] for size in (batch_size, 2 * batch_size))
    measured = (large - small) / batch_size
    return {
        "network": " ".join([name, *(f"{option}={value}" for option, value in options.items())]),
        "batch sizes": f"{batch_size}, {2 * batch_size}",
        "estimated, kB per image": estimated.training_peak_bytes / 1e3,
        "measured, kB per image": measured / 1e3,
        "estimated / measured": estimated.training_peak_bytes / measured,
    }


def rematerialization(name: str, threads: int) -> list[dict[str, object]]:
    """Measures a training step with one and with two images, with and without rematerialization."""
    rows = []
    for rematerialize in (False, True):
        (small, _), (large, seconds) = (measure(name, {}, size, threads, rematerialize) for size in (1, 2))
        rows.append(
            {
                "network": name,
                "rematerialization": "yes" if rematerialize else "no",
                "peak with two images, MB": large / 1e6,
                "growth per image, MB": (large - small) / 1e6,
                "step with two images, s": seconds,
            }
        )
        print(rows[-1], file=sys.stderr, flush=True)
    return rows


def main() -> None:
    """Prints the table or, in a process started by `measure`, the peak memory of one network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=600, help="Estimated memory of the smaller batch.")
    parser.add_argument("--threads", type=int, default=2, help="Number of operations that may run in parallel.")
    parser.add_argument("--rematerialize", metavar="NETWORK", help="Measure rematerialization on this network.")
    parser.add_argument("--rematerialized", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--network", help=argparse.SUPPRESS)
    parser.add_argument("--options", type=json.loads, help=argparse.SUPPRESS)
    parser.add_argument("--batch_size", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.network:
        print(*train(arguments.network, arguments.options, arguments.batch_size, arguments.rematerialized))
        return
    if arguments.rematerialize:
        print(tables.markdown(rematerialization(arguments.rematerialize, arguments.threads)))
        return
    rows = []
    for name, options in NETWORKS:
        rows.append(compare(name, options, arguments.megabytes, arguments.threads))
        print(rows[-1], file=sys.stderr, flush=True)
    print(tables.markdown(rows))


if __name__ == "__main__":
    command_line.run(main)
