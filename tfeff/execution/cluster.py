"""Calls on a Ray cluster (extra `ray`).

The workdir must be on a disk that all machines share, so that a training can resume on another machine.
"""

import os
import pickle
import secrets
import sys
from collections.abc import Hashable
from typing import Any, Self

from tfeff.errors import UserError
from tfeff.execution import local
from tfeff.execution.executor import Function, Outcome

ONE_THREAD = {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
"""A task has one core, but TensorFlow would start one thread per core of the machine."""


class RayCluster:
    """Ray tasks with one GPU each, or one core each on a cluster without GPUs.

    Args:
        address: the cluster's address; None uses the environment variable RAY_ADDRESS, or else a new cluster on
            this machine.

    Raises:
        UserError: Ray is not installed, or there is no cluster at the address.
    """

    def __init__(self, address: str | None = None) -> None:
        address = address or os.environ.get("RAY_ADDRESS")
        own = address in (None, "", "local")
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray would report its use to its makers
        if own and "RAY_AUTH_MODE" not in os.environ and "ray" not in sys.modules:  # which reads this when it is loaded
            # Ray listens on the network, and whoever may talk to it can run programs.
            os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        try:
            import ray
        except ImportError:
            raise UserError('--executor=ray needs Ray: pip install "tfeff[ray]"') from None
        self._ray = ray
        try:
            ray.init(
                # Without an address, Ray would join any cluster that runs on this machine, such as another user's.
                address="local" if own else address,
                logging_level="WARNING",
                log_to_driver=False,
                ignore_reinit_error=True,
                **({"include_dashboard": False} if own else {}),
                runtime_env={"env_vars": ONE_THREAD},
            )
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise UserError(f"--ray_address={address}: cannot connect to a Ray cluster ({error})") from None
        resources = ray.cluster_resources()
        gpus = int(resources.get("GPU", 0))
        self.slots = max(1, gpus or int(resources.get("CPU", 1)))
        here = ray.get_runtime_context().get_node_id()
        (this,) = [node["Resources"] for node in ray.nodes() if node["NodeID"] == here]
        self.local_slots = max(1, int(this.get("GPU" if gpus else "CPU", 1)))
        # No retries by Ray: the caller counts attempts.
        options = {"num_gpus": 1, "num_cpus": 1} if gpus else {"num_cpus": 1}
        self._call = ray.remote(max_retries=0, **options)(local.run)
        self._running: dict[Any, Hashable] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        for reference in self._running:
            self._ray.cancel(reference)  # like Ctrl-C
        if self._running:
            self._ray.wait(list(self._running), num_returns=len(self._running), timeout=local.GRACE_SECONDS)
        for reference in self._running:
            self._ray.cancel(reference, force=True)
        self._ray.shutdown()

    def submit(self, key: Hashable, function: Function, *arguments: Any) -> None:
        """Submits a call; Ray queues it until a core or GPU is free."""
        self._running[self._call.remote(pickle.dumps((function, arguments)))] = key

    def wait(self, timeout: float) -> list[Outcome]:
        """Returns the calls that ended since the last `wait`; waits up to `timeout` seconds for one."""
        if not self._running:
            return []
        ended, _ = self._ray.wait(list(self._running), num_returns=1, timeout=timeout)
        return [self._outcome(reference) for reference in ended]

    def release(self) -> None:
        """See `Executor`; Ray ends idle processes itself."""

    def _outcome(self, reference: Any) -> Outcome:
        key = self._running.pop(reference)
        try:
            value, error, retryable = self._ray.get(reference)
        except self._ray.exceptions.RayError as lost:
            reason = str(lost).strip().partition("\n")[0]
            return Outcome(key, error=f"process or machine lost ({reason})", retryable=True)
        return Outcome(key, value, error, retryable)
