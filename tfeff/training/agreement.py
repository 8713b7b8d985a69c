"""What the workers of a run have in common, and what they decide together."""

import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tfeff import config
from tfeff.data.dataset import Dataset
from tfeff.errors import UserError, WorkerLostError
from tfeff.execution import workers

_OF_MACHINES = frozenset({"data.source", "data.unlabeled", "model.weights"})
"""Keys that may name the same files by other paths on each machine."""
_COMMAND = "run the same command on all workers, with the same version of tfeff and the same installed weights"
_SHARED = "all workers need the workdir of the first one, such as on a shared disk"
CONFIG, CHECKPOINT, IMAGES, STATE = "another config", "another checkpoint", "other images", "other weights"
_REMEDIES = {CONFIG: _COMMAND, CHECKPOINT: _SHARED, IMAGES: "all workers need the same images", STATE: _COMMAND}


class Agreement:
    """Exchanges numbers between the workers of a run, all of which must call its methods in the same order.

    Args:
        strategy: the run's.
    """

    def __init__(self, strategy: tf.distribute.Strategy) -> None:
        replicas = strategy.num_replicas_in_sync

        def placed(values: tf.Tensor) -> tf.Tensor:
            number = tf.distribute.get_replica_context().replica_id_in_sync_group
            return tf.one_hot(number, replicas, dtype=tf.int64)[:, tf.newaxis] * values

        def exchanged(values: tf.Tensor) -> tf.Tensor:
            return strategy.reduce(tf.distribute.ReduceOp.SUM, strategy.run(placed, args=(values,)), axis=None)

        self._exchanged = tf.function(exchanged, autograph=False, jit_compile=False)

    def gathered(self, values: Sequence[int]) -> npt.NDArray[np.int64]:
        """Returns the values of all devices, of one worker after the other: int64 [devices, n]."""
        own = np.array(values, np.int64)
        return own[np.newaxis] if workers.worker_count() == 1 else np.asarray(self._exchanged(tf.constant(own)))

    def any(self, flag: bool) -> bool:
        """Returns whether the flag of any worker is set."""
        return bool(self.gathered([flag]).any())

    def require_equal(self, values: Mapping[str, int]) -> None:
        """Checks that all workers have the same values.

        Args:
            values: checksums or numbers, by keys of `_REMEDIES`.

        Raises:
            UserError: they have not; in all workers.
        """
        found = self.gathered(list(values.values()))
        for (name, _), column in zip(values.items(), found.T, strict=True):
            other = np.flatnonzero(column != column[0])
            if len(other):
                worker = other[0] * workers.worker_count() // len(column)
                raise UserError(f"TF_CONFIG: worker {worker} has {name} than worker 0; {_REMEDIES[name]}")


def checksum_of_config(values: Mapping[str, Any]) -> int:
    """Returns a checksum of all values of a config, by dotted key, that must be equal on all machines."""
    kept = sorted(key for key in values if key not in _OF_MACHINES and not config.changes_no_result(key))
    return zlib.crc32(repr([(key, values[key]) for key in kept]).encode())


def checksum_of_images(dataset: Dataset) -> int:
    """Returns a checksum of the images of a dataset by their ids, and of their labels or objects."""
    found = zlib.crc32("\n".join(dataset.ids).encode(errors="surrogatepass"))
    if dataset.has_labels:
        found = zlib.crc32(dataset.labels.tobytes(), found)
    for each in dataset.objects if dataset.has_objects else ():
        found = zlib.crc32(each.labels.tobytes() + each.boxes_yxyx.tobytes(), found)
    return found


def checksum_of_arrays(arrays: Iterable[np.ndarray]) -> int:
    """Returns a checksum of arrays."""
    found = 0
    for each in arrays:
        found = zlib.crc32(each.tobytes(), found)
    return found


@contextmanager
def noticing_lost_workers(explain: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Turns the errors of TensorFlow's collective operators into one error.

    Args:
        explain: called before; it raises another error if it knows why a worker was lost.

    Raises:
        WorkerLostError: another worker of a distributed run is lost.
    """
    try:
        yield
    except (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError) as error:
        if workers.worker_count() == 1:
            raise
        explain()
        raise WorkerLostError("lost another worker") from error
