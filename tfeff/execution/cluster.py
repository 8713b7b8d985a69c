"""Trials on a Ray cluster (extra `ray`).

The workdir has to lie on a disk that all machines share: a training that has to go on elsewhere finds its checkpoints
there.
"""

import pickle
from collections.abc import Hashable
from typing import Any, Self

from tfeff.errors import UserError
from tfeff.execution import local
from tfeff.execution.executor import Function, Outcome

ONE_THREAD = {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
"""A task has one core; TensorFlow would make a thread for each one of the machine."""


class RayCluster:
    """Ray tasks of one core each, or of one GPU where the cluster has some.

    Args:
        address: of the cluster; None: that of the environment variable RAY_ADDRESS, else one on this machine alone.

    Raises:
        UserError: Ray is not installed, or no cluster answers.
    """

    def __init__(self, address: str | None = None) -> None:
        try:
            import ray
        except ImportError:
            raise UserError('--executor=ray needs Ray: pip install "tfeff[ray]"') from None
        self._ray = ray
        try:
            ray.init(
                address=address,
                logging_level="WARNING",
                log_to_driver=False,
                ignore_reinit_error=True,
                runtime_env={"env_vars": ONE_THREAD},
            )
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise UserError(f"--ray_address={address}: no Ray cluster answers there ({error})") from None
        resources = ray.cluster_resources()
        gpus = int(resources.get("GPU", 0))
        self.slots = max(1, gpus or int(resources.get("CPU", 1)))
        # Ray must not start a call again by itself: the search counts deaths.
        options = {"num_gpus": 1, "num_cpus": 1} if gpus else {"num_cpus": 1}
        self._call = ray.remote(max_retries=0, **options)(local.run)
        self._running: dict[Any, Hashable] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        for reference in self._running:
            self._ray.cancel(reference)  # as Ctrl-C would
        if self._running:
            self._ray.wait(list(self._running), num_returns=len(self._running), timeout=local.GRACE_SECONDS)
        for reference in self._running:
            self._ray.cancel(reference, force=True)
        self._ray.shutdown()

    def submit(self, key: Hashable, function: Function, *arguments: Any) -> None:
        """Starts a call; Ray queues it where nothing is free."""
        self._running[self._call.remote(pickle.dumps((function, arguments)))] = key

    def wait(self, timeout: float) -> list[Outcome]:
        """The calls that have ended since it was last asked; waits for one, at most `timeout` seconds."""
        if not self._running:
            return []
        ended, _ = self._ray.wait(list(self._running), num_returns=1, timeout=timeout)
        return [self._outcome(reference) for reference in ended]

    def _outcome(self, reference: Any) -> Outcome:
        key = self._running.pop(reference)
        try:
            value, error, died = self._ray.get(reference)
        except self._ray.exceptions.RayError as lost:
            reason = str(lost).strip().partition("\n")[0]
            return Outcome(key, error=f"its process or machine was lost ({reason})", died=True)
        return Outcome(key, value, error, died)
