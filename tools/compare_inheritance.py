"""Measures what networks keep that inherit the weights of a larger or smaller member of their family.

    KERAS_BACKEND=jax python tools/compare_inheritance.py --data=DIR --out=FILE.jsonl [--minutes=5] [--workers=6]
    python tools/compare_inheritance.py --out=FILE.jsonl --table

Fine-tunes EfficientNet-Lite networks on photographs (hymenoptera) and CIFAR-10 from inherited, published and random
weights: smaller by width, depth, resolution and all three; larger; with several treatments of batch statistics. DIR has
the folders cifar10/train, cifar10/test, hymenoptera/train and hymenoptera/val, each with a folder of images per class.
The packages of `tfeff[imagenet]` must be installed.

With Keras' JAX backend, TensorFlow is not needed. Inheritance runs in processes on the CPU (`--preparers`), training in
others (`--workers`), which share the accelerator. First, epochs and learning rates are chosen on a part of CIFAR-10's
training images, unless `--schedules` sets them. Finished jobs are appended to --out, and skipped by the same command.
"""

import argparse
import hashlib
import json
import math
import multiprocessing
import os
import re
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import command_line

KINDS = ("pretrained", "random")
_POLL_SECONDS = 0.5


def main() -> None:
    """Runs jobs, or prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="Directory of the data sets.")
    parser.add_argument("--out", type=Path, required=True, help="Results, one JSON object a line.")
    parser.add_argument("--table", action="store_true", help="Print the tables and run nothing.")
    parser.add_argument("--list", action="store_true", help="Print the jobs' names and run nothing.")
    parser.add_argument("--jobs", default="", help="Regular expression of the names of jobs; tuning is not filtered.")
    parser.add_argument("--minutes", type=float, default=math.inf, help="Stop after this time.")
    parser.add_argument("--workers", type=int, default=1, help="Processes that train.")
    parser.add_argument("--preparers", type=int, default=1, help="Processes that inherit, on the CPU.")
    parser.add_argument(
        "--preparers_backend", help="Keras backend of these; torch starts soonest, JAX compiles every operation."
    )
    parser.add_argument("--cache", type=Path, default=Path("/tmp/tfeff-inheritance"), help="Initial weights.")
    parser.add_argument("--schedules", default="", help="For example pretrained=0.001:10,random=0.003:80; no tuning.")
    parser.add_argument("--seeds", type=int, help="Trainings of each network, instead of 3 and 5.")
    parser.add_argument("--limit", type=int, help="Images of each class, for tests.")
    parser.add_argument("--resolution", type=int, help="Resolution of all networks, for tests.")
    arguments = parser.parse_args()
    if arguments.table:
        from inheritance_tables import tables

        print(tables(records(arguments.out)))
        return
    # This process only schedules and counts, so it must not take the accelerator.
    environment = {name: os.environ.get(name) for name in ("JAX_PLATFORMS", "CUDA_VISIBLE_DEVICES")}
    os.environ.update({"JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""})
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    run(arguments, environment)


def _origin(arguments: argparse.Namespace) -> str:
    """Returns a digest of what initial weights depend on, besides their job: settings and the code of inheritance."""
    digest = hashlib.sha256(repr((arguments.limit, arguments.seeds, arguments.resolution)).encode())
    tools = Path(__file__).parent
    for file in sorted([*tools.glob("inheritance_*.py"), *(tools.parent / "tfeff/models/inheritance").glob("*.py")]):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def records(file: Path) -> list[dict[str, Any]]:
    """Returns the results in a file; an incomplete last line, of a killed run, is skipped."""
    found = []
    for line in file.read_text().splitlines() if file.exists() else ():
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return found


def run(arguments: argparse.Namespace, accelerator: Mapping[str, str | None]) -> None:
    """Runs all jobs that are not finished.

    Args:
        arguments: flags.
        accelerator: environment of the processes that train.
    """
    from inheritance_jobs import jobs, tuning

    from tfeff.errors import UserError

    deadline = time.monotonic() + 60 * arguments.minutes
    wanted = [job for job in jobs() if re.search(arguments.jobs, job.name)]
    if arguments.list:
        print("\n".join(job.name for job in (*tuning(), *wanted)))
        return
    if not wanted:
        raise UserError(f"--jobs={arguments.jobs}: no job has such a name; --list prints all")
    if arguments.data is None:
        raise UserError("--data=DIR is needed, unless --table or --list")
    given = _schedules(arguments.schedules)
    finished = [each for each in records(arguments.out) if "error" not in each]  # what failed is run again
    done = {each["name"] for each in finished}
    open_jobs = [job for job in [*([] if given else tuning()), *wanted] if job.name not in done]
    cache = arguments.cache / _origin(arguments)
    cache.mkdir(parents=True, exist_ok=True)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    files = {job.weights: cache / f"{job.weights}.npz" for job in open_jobs}
    unprepared = dict[str, Any]()
    for job in open_jobs:
        if not files[job.weights].exists():
            unprepared.setdefault(job.weights, job)
    settings = (arguments.data, arguments.limit, arguments.seeds, arguments.resolution)
    backend = arguments.preparers_backend or os.environ["KERAS_BACKEND"]
    environment = {"JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": "", "KERAS_BACKEND": backend}
    preparers = [Worker(environment) for _ in range(arguments.preparers)]
    trainers = [Worker(accelerator) for _ in range(arguments.workers)]
    began = time.monotonic()

    def ready(job: Any) -> bool:
        return files[job.weights].exists() and (job.held_out or bool(given) or _tuned(job.kind, finished))

    kept = arguments.out.read_bytes() if arguments.out.exists() else b""
    with open(arguments.out, "a") as out:
        if kept and not kept.endswith(b"\n"):
            out.write("\n")  # of a killed run, which has left a part of a line
        try:
            while open_jobs or any(each.job for each in trainers):
                for worker in preparers:
                    if worker.job is None and unprepared:
                        name = next(iter(unprepared))
                        worker.start(_prepare, unprepared.pop(name), files[name], *settings)
                for worker in trainers:
                    if worker.job is None and (job := next(filter(ready, open_jobs), None)):
                        open_jobs.remove(job)
                        schedule = given.get(job.kind)
                        if job.held_out:
                            schedule = 1e-3, job.epochs
                        elif schedule is None:
                            schedule = chosen(job.kind, finished)
                        worker.start(_train, job, files[job.weights], schedule, *settings)
                busy = [each for each in (*preparers, *trainers) if each.job]
                if not busy:
                    print("nothing can be prepared for: " + ", ".join(job.name for job in open_jobs), file=sys.stderr)
                    break
                answers = wait(
                    [each.connection for each in busy], min(_POLL_SECONDS, max(0.0, deadline - time.monotonic()))
                )
                for worker in busy:
                    if worker.connection not in answers:
                        continue
                    job, result = worker.finish()
                    print(f"{time.monotonic() - began:6.1f} s  {job.name}: {_summary(result)}", flush=True)
                    ended = [job] if worker in trainers else []
                    if worker in preparers and "error" in result:
                        ended = [each for each in open_jobs if each.weights == job.weights]
                        open_jobs = [each for each in open_jobs if each not in ended]
                    for each in ended:
                        finished.append(each.fields | result)
                        print(json.dumps(finished[-1]), file=out, flush=True)
                if time.monotonic() >= deadline:
                    print(f"out of time; {len(open_jobs)} jobs were not started", flush=True)
                    break
        finally:
            for worker in (*preparers, *trainers):
                worker.stop()


class Worker:
    """A process that runs one function at a time.

    Args:
        environment: variables of the process; None removes one.

    Attributes:
        job: what it is working on.
        connection: readable when it has finished.
    """

    def __init__(self, environment: Mapping[str, str | None]) -> None:
        self._environment = environment
        self.job: Any = None
        self._launch()

    def _launch(self) -> None:
        before = dict(os.environ)
        for name, value in self._environment.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()
        os.environ.clear()
        os.environ.update(before)

    def start(self, function: Callable[..., dict[str, Any]], job: Any, *arguments: Any) -> None:
        """Starts function(job, *arguments) in another process."""
        self.job = job
        self.connection.send((function, (job, *arguments)))

    def finish(self) -> tuple[Any, dict[str, Any]]:
        """Returns the job and the result; after a crash, {"error": ...}, and the process is started again."""
        job, self.job = self.job, None
        try:
            return job, self.connection.recv()
        except (EOFError, ConnectionResetError):
            self._process.join()
            code = self._process.exitcode
            self._launch()
            return job, {"error": f"the process ended with exit code {code}"}

    def stop(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.join()


def _serve(connection: Connection) -> None:
    from tfeff.execution.local import end_with_parent

    end_with_parent()
    while True:
        try:
            function, arguments = connection.recv()
        except EOFError:
            return
        try:
            result = function(*arguments)
        except Exception as error:
            traceback.print_exc()
            result = {"error": f"{type(error).__name__}: {str(error)[:500]}"}
        connection.send(result)


def _prepare(
    job: Any, file: Path, data: Path, limit: int | None, seeds: int | None, resolution: int | None
) -> dict[str, Any]:
    import keras
    import numpy as np
    from inheritance_data import initial_weights
    from inheritance_jobs import DATA

    if keras.backend.backend() == "torch":
        import torch

        torch.set_grad_enabled(False)
    began = time.monotonic()
    found = initial_weights(job, _images(job.data, data, limit), seeds or DATA[job.data].seeds, resolution)
    partial = file.with_suffix(".partial")
    with open(partial, "wb") as stream:
        np.savez(stream, *found["arrays"], report=found["report"])
    partial.rename(file)
    return {"prepared": round(time.monotonic() - began, 1)}


def _train(
    job: Any,
    file: Path,
    schedule: tuple[float, int],
    data: Path,
    limit: int | None,
    seeds: int | None,
    resolution: int | None,
) -> dict[str, Any]:
    import keras
    import numpy as np
    from inheritance_jobs import DATA
    from inheritance_training import train

    with np.load(file) as stored:
        arrays = [stored[f"arr_{number}"] for number in range(len(stored.files) - 1)]
        report = str(stored["report"])
    images, count = _images(job.data, data, limit), seeds or DATA[job.data].seeds
    found = train(job, images, arrays, seeds=count, schedule=schedule, resolution=resolution)
    if keras.backend.backend() == "jax":
        import jax

        found["device"] = jax.devices()[0].device_kind
        jax.clear_caches()
    return found | {"inheritance": report}


@lru_cache
def _images(name: str, directory: Path, limit: int | None) -> Any:
    from inheritance_data import load

    return load(name, directory, limit)


def _schedules(text: str) -> dict[str, tuple[float, int]]:
    from tfeff.errors import UserError

    found = {}
    for part in text.split(",") if text else ():
        match = re.fullmatch(rf"({'|'.join(KINDS)})=([\d.e-]+):(\d+)", part)
        if not match:
            raise UserError(f'--schedules={text}: "{part}" is not KIND=RATE:EPOCHS with one of {", ".join(KINDS)}')
        found[match[1]] = float(match[2]), int(match[3])
    if found and len(found) < len(KINDS):
        raise UserError(f"--schedules={text}: give both {' and '.join(KINDS)}")
    return found


def _tuned(kind: str, finished: Sequence[Mapping[str, Any]]) -> bool:
    """Returns whether all tuning of a kind of start has ended, failed or not."""
    from inheritance_jobs import tuning

    return {job.name for job in tuning() if job.kind == kind} <= {each["name"] for each in finished}


def chosen(kind: str, finished: Sequence[Mapping[str, Any]]) -> tuple[float, int]:
    """Returns the rate and epochs of a kind of start with the highest mean accuracy on the held-out images.

    Raises:
        UserError: all tuning of this kind has failed.
    """
    from tfeff.errors import UserError

    results: dict[tuple[float, int], list[float]] = {}
    for each in finished:
        if "accuracy" in each and each["held_out"] and each["kind"] == kind:
            for (rate, _), accuracy in zip(each["lanes"], each["accuracy"], strict=True):
                results.setdefault((rate, each["epochs"]), []).append(accuracy)
    if not results:
        raise UserError(f"tuning of {kind} starts failed; give --schedules")
    return max(results, key=lambda each: sum(results[each]) / len(results[each]))


def _summary(result: Mapping[str, Any]) -> str:
    if "accuracy" not in result:
        return json.dumps(result)
    mean = sum(result["accuracy"]) / len(result["accuracy"])
    return f"accuracy {mean:.4f}, {result['epochs']} epochs, {result['seconds']} s"


if __name__ == "__main__":
    command_line.run(main)
