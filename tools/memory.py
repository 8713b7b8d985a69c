"""Compares estimated with measured training memory: `python tools/memory.py [--megabytes=600]`. Linux only.

The estimate is `training_peak_bytes`, the memory that a training step needs for each image of its batch. For the
measurement, two processes train the same network with different batch sizes. The difference of their peak memory (VmHWM
in /proc/self/status), divided by the difference of the batch sizes, is the memory per image. Memory that does not grow
with the batch cancels out: the program, weights, their gradients, and workspaces of fixed size.

Use large batches: in small ones, the workspace of a single operation can determine the peak.

So that VmHWM reflects the memory of feature maps, freed memory is returned to the kernel immediately (glibc's malloc
maps all blocks above 64 KB), and TensorFlow uses its own kernels, because those of oneDNN allocate from a pool that
doubles its size.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import argparse
import json
import subprocess
import sys
from typing import Any

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


def peak_of_training(name: str, options: dict[str, Any], batch_size: int) -> int:
    """Peak memory of this process, in bytes, after training for STEPS steps."""
    import tensorflow as tf

    from tfeff import models
    from tfeff.tasks.classification import Classification
    from tfeff.training import optimizers
    from tfeff.training.step import Step

    network = models.build(name, num_classes=CLASSES, **options)
    optimizer = optimizers.build("sgd", network, weight_decay=1e-3)
    step = Step(network, optimizer, tf.distribute.get_strategy(), task=Classification(), batch_size=batch_size)
    batch = {
        "image": tf.zeros((batch_size, network.resolution, network.resolution, 3)),
        "label": tf.one_hot(tf.zeros(batch_size, tf.int32), CLASSES),
        "weight": tf.ones(batch_size),
    }
    for _ in range(STEPS):
        step.train(batch, step=0, learning_rate=1e-3).numpy()
    with open("/proc/self/status") as status:
        kilobytes = next(line.split()[1] for line in status if line.startswith("VmHWM"))
    return 1024 * int(kilobytes)


def measure(name: str, options: dict[str, Any], batch_size: int, threads: int) -> int:
    """Run `peak_of_training` in a new process."""
    arguments = ["--network", name, "--options", json.dumps(options), "--batch_size", str(batch_size)]
    pool = {"TF_NUM_INTEROP_THREADS": str(threads), "TF_NUM_INTRAOP_THREADS": "1"}
    completed = subprocess.run(
        [sys.executable, __file__, *arguments],
        env={**os.environ, **ENVIRONMENT, **pool},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return int(completed.stdout.splitlines()[-1])


def compare(name: str, options: dict[str, Any], megabytes: int, threads: int) -> dict[str, object]:
    """Measure one network and return its row of the table."""
    from tfeff import models

    estimated = models.estimate(models.architecture(name, **options), num_classes=CLASSES)
    batch_size = max(4, round(megabytes * 1e6 / estimated.training_peak_bytes))
    small, large = (measure(name, options, size, threads) for size in (batch_size, 2 * batch_size))
    measured = (large - small) / batch_size
    return {
        "network": " ".join([name, *(f"{option}={value}" for option, value in options.items())]),
        "batch sizes": f"{batch_size}, {2 * batch_size}",
        "estimated, kB per image": estimated.training_peak_bytes / 1e3,
        "measured, kB per image": measured / 1e3,
        "estimated / measured": estimated.training_peak_bytes / measured,
    }


def main() -> None:
    """Print the table or, in a process started by `measure`, the peak memory of one network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=600, help="estimated memory of the smaller batch")
    parser.add_argument("--threads", type=int, default=2, help="number of operations that may run in parallel")
    parser.add_argument("--network", help=argparse.SUPPRESS)
    parser.add_argument("--options", type=json.loads, help=argparse.SUPPRESS)
    parser.add_argument("--batch_size", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.network:
        print(peak_of_training(arguments.network, arguments.options, arguments.batch_size))
        return
    rows = []
    for name, options in NETWORKS:
        rows.append(compare(name, options, arguments.megabytes, arguments.threads))
        print(rows[-1], file=sys.stderr, flush=True)
    print(tables.markdown(rows))


if __name__ == "__main__":
    main()
