"""CPU time of training steps on several devices: `python tools/benchmark.py devices [--counts=1,2,4]`. No GPU.

A batch of constant size is shared by so many logical devices of one process (`mirrored`), or by so many processes with
a device each (`multi_worker`). What a step costs beyond that on one device is what sharing costs: summed gradients,
smaller batches, operators that each device computes for itself. Each measurement is a process of its own (of several
workers, their sum); all of them alternate in rounds. Wall time says nothing: devices and workers share the cores.
"""

import argparse
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

from tfeff.errors import UserError
from tfeff.reporting import tables

_WARM = 3
"""Steps that do not count; the first one traces the graph."""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Defines the flags."""
    parser.add_argument("--name", default="efficientnet-lite0", help="Network.")
    parser.add_argument("--resolution", type=int, default=96, help="Side of the images in pixels.")
    parser.add_argument("--batch_size", type=int, default=32, help="Images of a step, over all devices.")
    parser.add_argument("--steps", type=int, default=10, help="Steps of a measurement.")
    parser.add_argument("--rounds", type=int, default=3, help="Measurements of each.")
    parser.add_argument("--counts", default="1,2,4", help="Numbers of devices, separated by commas.")


def run(arguments: argparse.Namespace) -> None:
    """CPU time of training steps on several devices or workers, against one."""
    counts = [int(count) for count in arguments.counts.split(",")]
    if counts[0] != 1 or any(arguments.batch_size % count for count in counts):
        raise UserError(
            f"--counts={arguments.counts}: must begin with 1, and divide the batch of {arguments.batch_size}"
        )
    sides = [("mirrored", 1), *((kind, count) for kind in ("mirrored", "multi_worker") for count in counts[1:])]
    seconds: dict[tuple[str, int], list[float]] = {side: [] for side in sides}
    for number in range(arguments.rounds):
        for side in random.Random(number).sample(sides, len(sides)):
            seconds[side].append(_measured(*side, arguments))
    images = arguments.steps * arguments.batch_size
    rows = []
    for (kind, count), times in seconds.items():
        ratios = sorted(one / each for one, each in zip(seconds[sides[0]], times, strict=True))
        each = 1000 * statistics.median(times) / images
        rows.append(
            {
                "devices": 1 if count == 1 else f"{count}, {kind}",
                "CPU time, ms an image": f"{each:.2f}",
                "efficiency": f"{statistics.median(ratios):.3f}",
                "least": f"{ratios[0]:.3f}",
                "greatest": f"{ratios[-1]:.3f}",
            }
        )
    print(tables.markdown(rows))


def _measured(kind: str, count: int, arguments: argparse.Namespace) -> float:
    """Returns the CPU seconds of the steps of a measurement, of all its processes."""
    workers = count if kind == "multi_worker" else 1
    addresses = [f"localhost:{port}" for port in _free_ports(workers)]
    settings = json.dumps([kind, count, arguments.name, arguments.resolution, arguments.batch_size, arguments.steps])
    processes = []
    for index in range(workers):
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "TF_NUM_INTRAOP_THREADS": "1", "OMP_NUM_THREADS": "1"}
        if workers > 1:
            cluster = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
            environment["TF_CONFIG"] = json.dumps(cluster)
        call = [sys.executable, __file__, settings]
        processes.append(subprocess.Popen(call, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL))
    printed = [process.communicate()[0] for process in processes]
    if any(process.returncode for process in processes):
        raise RuntimeError(f"{kind}, {count}: a process failed")
    return sum(float(text.split()[-1]) for text in printed)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("localhost", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _steps(kind: str, count: int, name: str, resolution: int, batch_size: int, steps: int) -> float:
    """Returns the CPU seconds of training steps in this process."""
    import numpy as np
    import tensorflow as tf

    from tfeff import models
    from tfeff.tasks.classification import ClassificationTask
    from tfeff.training import distribution, optimizers
    from tfeff.training.step import Step

    if kind == "mirrored" and count > 1:
        devices = [tf.config.LogicalDeviceConfiguration()] * count
        tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], devices)
        strategy: tf.distribute.Strategy = tf.distribute.MirroredStrategy([f"CPU:{index}" for index in range(count)])
    else:
        strategy = distribution.strategy("multi_worker" if kind == "multi_worker" else "single")
    with strategy.scope():
        network = models.build(name, resolution=resolution, num_classes=10)
        optimizer = optimizers.build("sgd", network)
    step = Step(network, optimizer, strategy, task=ClassificationTask(), batch_size=batch_size)
    part = batch_size // distribution.worker_count()
    rng = np.random.default_rng(0)
    own = {
        "image": rng.uniform(0, 255, (part, resolution, resolution, 3)).astype(np.float32),
        "label": np.eye(10, dtype=np.float32)[rng.integers(0, 10, part)],
        "weight": np.ones(part, np.float32),
    }
    repeated = tf.data.Dataset.from_tensors(own).repeat(_WARM + steps)
    began = 0.0
    for number, batch in enumerate(distribution.distribute(strategy, repeated, batch_size)):
        if number == _WARM:
            began = time.process_time()
        step.train(batch, step=number, learning_rate=0.01).numpy()
    return time.process_time() - began


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    print(_steps(*json.loads(sys.argv[1])))
