"""The tf.distribute strategy of a run: one device, several GPUs, or several workers."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import tensorflow as tf

from tfeff.errors import UserError
from tfeff.execution.workers import addresses, worker_count, worker_index


def strategy(name: str) -> tf.distribute.Strategy:
    """Creates a strategy by name; `auto` uses the workers of TF_CONFIG, else all GPUs, else one device.

    Raises:
        UserError: for `multi_worker` without a valid TF_CONFIG, another strategy with several workers, or if this
            worker cannot listen on its port.
    """
    workers = addresses()
    if len(workers) > 1 and name in ("single", "mirrored"):
        raise UserError(
            f"training.strategy is {name}, but TF_CONFIG lists {len(workers)} workers; unset one of the two"
        )
    if name == "auto":
        several_gpus = len(tf.config.list_physical_devices("GPU")) > 1
        name = "multi_worker" if len(workers) > 1 else "mirrored" if several_gpus else "single"
    if name == "multi_worker":
        if not workers:
            raise UserError(
                "training.strategy is multi_worker, but TF_CONFIG lists no workers; set it on each worker, as in "
                '{"cluster": {"worker": ["host1:2222", "host2:2222"]}, "task": {"type": "worker", "index": 0}}'
            )
        try:
            return tf.distribute.MultiWorkerMirroredStrategy()
        except tf.errors.UnknownError as error:
            raise UserError(
                f"TF_CONFIG: worker {worker_index()} cannot listen on {workers[worker_index()]} ({error.message}); is "
                "another process using this port?"
            ) from error
    if name == "mirrored":
        return tf.distribute.MirroredStrategy()
    return tf.distribute.get_strategy()


def replicas(name: str) -> int:
    """Returns the number of devices that `strategy` uses, over all workers, without initializing them."""
    return 1 if name == "single" else worker_count() * max(1, len(tf.config.list_physical_devices("GPU")))


def distribute(
    strategy: tf.distribute.Strategy,
    batches: tf.data.Dataset,
    batch_size: int,
    finish: Callable[[Any], Any] | None = None,
) -> Any:
    """Splits this worker's batches among its devices and prefetches to them.

    Args:
        strategy: distribution strategy.
        batches: this worker's part of each batch.
        batch_size: examples of a batch, over all workers.
        finish: turns what a device receives into its batch, on the device; None: it receives its batch.
    """
    given = _distributed(strategy, batches, batch_size)
    return given if finish is None else _Finished(given, strategy, finish)


class _Finished:
    """Batches that devices finish."""

    def __init__(self, given: Iterable[Any], strategy: tf.distribute.Strategy, finish: Callable[[Any], Any]) -> None:
        def run(part: Any) -> Any:
            return strategy.run(finish, args=(part,))

        self._given, self._run = given, tf.function(run, autograph=False, jit_compile=False)

    def __iter__(self) -> Iterator[Any]:
        return map(self._run, self._given)


def _distributed(strategy: tf.distribute.Strategy, batches: tf.data.Dataset, batch_size: int) -> Any:
    replicas = strategy.num_replicas_in_sync
    if replicas == 1:
        gpus = tf.config.list_logical_devices("GPU")
        return batches.apply(tf.data.experimental.prefetch_to_device(gpus[0].name)) if gpus else batches
    if replicas > worker_count():
        batches = batches.rebatch(batch_size // replicas)
    return strategy.distribute_datasets_from_function(lambda context: batches)
