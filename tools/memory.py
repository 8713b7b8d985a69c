"""Predicted against measured memory of training: `python tools/memory.py [--megabytes=600]`. Linux alone.

Predicted is `training_peak_bytes`, the memory that a training step takes for each image of its batch. Measured is what
the kernel says (VmHWM, the most memory that a process had at any time) of processes that each make one network and run
training steps of one batch size: the difference of two batch sizes' over the difference in images. What does not grow
with the batch thus drops out: the program, weights, gradients of weights, working memory of fixed size.

Small batches do not show it: there working memory of some operation may decide when the peak is.

For that to be the memory of feature maps, the processes give memory back to the kernel as soon as it is free (glibc's
malloc is told to map everything above 64 KB), and use TensorFlow's own kernels: oneDNN's take memory from a pool that
grows by doubling.
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
"""The first step also makes the optimizer's variables."""
ENVIRONMENT = {
    "TF_ENABLE_ONEDNN_OPTS": "0",
    "CUDA_VISIBLE_DEVICES": "",
    "MALLOC_MMAP_THRESHOLD_": str(64 * 1024),
    "MALLOC_TRIM_THRESHOLD_": "0",
    "MALLOC_ARENA_MAX": "1",
}


def peak_of_training(name: str, options: dict[str, Any], batch_size: int) -> int:
    """Most memory, in bytes, that this process has had after some training steps."""
    import tensorflow as tf

    from tfeff import models
    from tfeff.training import optimizers
    from tfeff.training.classification import Classification
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


def measured_apart(name: str, options: dict[str, Any], batch_size: int, threads: int) -> int:
    """`peak_of_training` in a process of its own."""
    arguments = ["--network", name, "--options", json.dumps(options), "--batch_size", str(batch_size)]
    pool = {"TF_NUM_INTEROP_THREADS": str(threads), "TF_NUM_INTRAOP_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, __file__, *arguments],
        env={**os.environ, **ENVIRONMENT, **pool},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return int(done.stdout.splitlines()[-1])


def compare(name: str, options: dict[str, Any], megabytes: int, threads: int) -> dict[str, object]:
    """A row of the table."""
    from tfeff import models

    predicted = models.estimate(models.architecture(name, **options), num_classes=CLASSES)
    batch_size = max(4, round(megabytes * 1e6 / predicted.training_peak_bytes))
    small, large = (measured_apart(name, options, size, threads) for size in (batch_size, 2 * batch_size))
    measured = (large - small) / batch_size
    return {
        "network": " ".join([name, *(f"{option}={value}" for option, value in options.items())]),
        "batches": f"{batch_size}, {2 * batch_size}",
        "predicted, kB an image": predicted.training_peak_bytes / 1e3,
        "measured, kB an image": measured / 1e3,
        "predicted / measured": predicted.training_peak_bytes / measured,
    }


def main() -> None:
    """Prints the table; or, in the processes that it starts, one network's peak."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=600, help="predicted memory of the smaller batch")
    parser.add_argument("--threads", type=int, default=2, help="operations that may run at once")
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
