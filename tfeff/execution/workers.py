"""The workers of a run, which the environment variable TF_CONFIG lists."""

import json
import os
from typing import Any

from tfeff.errors import UserError


def is_chief() -> bool:
    """Returns whether this process writes the run's files. True for the first worker only."""
    return worker_index() == 0


def worker_index() -> int:
    """Returns the index of this worker."""
    index: int = _tf_config().get("task", {}).get("index", 0)
    return index


def worker_count() -> int:
    """Returns the number of workers, at least 1."""
    return max(1, len(addresses()))


def addresses() -> list[str]:
    """Returns the addresses of the workers, if there are any."""
    cluster = dict(_tf_config().get("cluster", {}))
    workers: list[str] = cluster.pop("worker", [])
    if cluster:
        raise UserError(f'TF_CONFIG: has tasks of type {", ".join(cluster)}; list all of them under "worker"')
    return workers


def _tf_config() -> dict[str, Any]:
    text = os.environ.get("TF_CONFIG", "{}")
    try:
        given: dict[str, Any] = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"TF_CONFIG is not JSON ({error}): {text}") from None
    form = '{"cluster": {"worker": ["HOST:PORT", ...]}, "task": {"type": "worker", "index": N}}'
    try:
        workers, index = given.get("cluster", {}).get("worker", []), given.get("task", {}).get("index", 0)
        right = isinstance(workers, list) and all(isinstance(each, str) for each in workers)
        right = right and type(index) is int and 0 <= index < max(1, len(workers))
    except AttributeError:
        right = False
    if not right:
        raise UserError(f"TF_CONFIG: expected {form}, with 0 <= N < number of workers; it is {text}")
    return given
