"""Training and validation steps on several devices: `python tools/benchmark.py devices [--counts=1,2,4]`. No GPU.

A batch of constant size is shared by so many logical devices of one process (`mirrored`), or by so many processes with
a device each (`multi_worker`). Sharing costs the sum of the gradients, smaller batches, and operators that each device
computes for itself. Each measurement is a process of its own (of several workers, their sum); all of them alternate in
rounds. For training, only CPU time is reported, because devices and workers share the cores; for validation also the
time, which tells something for as many devices as there are idle cores.
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
from concurrent.futures import ThreadPoolExecutor

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
    """Training and validation steps on several devices or workers, against one."""
    given = arguments.counts.split(",")
    counts = [int(count) for count in given if count.isdecimal() and int(count)]
    if len(counts) < len(given) or counts[0] != 1 or any(arguments.batch_size % count for count in counts):
        raise UserError(
            f"--counts={arguments.counts}: must begin with 1, and divide the batch of {arguments.batch_size}"
        )
    sides = [("mirrored", 1), *((kind, count) for kind in ("mirrored", "multi_worker") for count in counts[1:])]
    measured: dict[tuple[str, int], list[tuple[float, float]]] = {side: [] for side in sides}
    for number in range(arguments.rounds):
        for side in random.Random(number).sample(sides, len(sides)):
            measured[side].append(_measured(*side, arguments))
    per_image = 1000 / (arguments.steps * arguments.batch_size)
    rows = []
    for (kind, count), times in measured.items():
        row: dict[str, object] = {"devices": 1 if count == 1 else f"{count}, {kind}"}
        both, baseline = (list(zip(*each, strict=True)) for each in (times, measured[sides[0]]))
        names = ("training, CPU time, ms an image", "validation, time, ms an image")
        for name, own, one in zip(names, both, baseline, strict=True):
            ratios = sorted(first / each for first, each in zip(one, own, strict=True))
            row[name] = f"{per_image * statistics.median(own):.2f}"
            row[f"{name.split(',')[0]}, of one"] = (
                f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
            )
        rows.append(row)
    print(tables.markdown(rows))


def _measured(kind: str, count: int, arguments: argparse.Namespace) -> tuple[float, float]:
    """Returns the CPU seconds of training steps, of all processes, and the seconds of the validation of as many."""
    workers = count if kind == "multi_worker" else 1
    addresses = [f"localhost:{port}" for port in free_ports(workers)]
    settings = json.dumps([kind, count, arguments.name, arguments.resolution, arguments.batch_size, arguments.steps])
    processes = []
    for index in range(workers):
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "TF_NUM_INTRAOP_THREADS": "1", "OMP_NUM_THREADS": "1"}
        if workers > 1:
            cluster = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
            environment["TF_CONFIG"] = json.dumps(cluster)
        call = [sys.executable, __file__, settings]
        processes.append(subprocess.Popen(call, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE))
    with ThreadPoolExecutor(workers) as threads:
        ends = [threads.submit(process.communicate) for process in processes]
        while True:
            ended = all(process.poll() is not None for process in processes)
            failed = next((number for number, process in enumerate(processes) if process.poll()), None)
            if ended or failed is not None:
                break
            time.sleep(0.1)
        if failed is not None:  # the others would wait for it
            code = processes[failed].returncode
            for process in processes:
                process.kill()
            said = ends[failed].result()[1].decode()[-2000:]
            raise UserError(f"{kind}, {count}: a process ended with exit code {code}: {said}")
    training, validation = zip(*(json.loads(end.result()[0].splitlines()[-1]) for end in ends), strict=True)
    return sum(training), max(validation)


def free_ports(count: int) -> list[int]:
    """Returns ports below those that the system hands out to others while workers start."""
    ports = list[int]()
    for port in random.SystemRandom().sample(range(20_000, 32_000), 12_000):
        with socket.socket() as tried:
            try:
                tried.bind(("localhost", port))
            except OSError:
                continue
        ports.append(port)
        if len(ports) == count:
            return ports
    raise UserError("no free port")


def _steps(kind: str, count: int, name: str, resolution: int, batch_size: int, steps: int) -> tuple[float, float]:
    """Returns the CPU seconds of training steps in this process, and the seconds of validation steps."""
    import numpy as np
    import tensorflow as tf

    from tfeff import models
    from tfeff.execution import workers
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
    part = batch_size // workers.worker_count()
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
    trained, began = time.process_time() - began, 0.0
    for number, batch in enumerate(distribution.distribute(strategy, repeated, batch_size)):
        if number == _WARM:
            began = time.monotonic()
        step.evaluate_and_predict(batch)
    return trained, time.monotonic() - began


if __name__ == "__main__":
    print(json.dumps(_steps(*json.loads(sys.argv[1]))))
