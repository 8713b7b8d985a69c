"""What reports read from the records of all trials."""

import dataclasses
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from tfeff import config
from tfeff.trials.results import Block, mean_over_seeds
from tfeff.trials.store import Record
from tfeff.trials.trial import result_row


class Records:
    """The trials of a search or a sweep.

    Args:
        records: in the order of their start.
    """

    def __init__(self, records: Sequence[Record]) -> None:
        self.all = list(records)

    def done(self, candidate: str) -> list[Record]:
        """The finished trials of a candidate."""
        return [record for record in self.all if record.job.candidate == candidate and record.state == "done"]

    def values(
        self,
        candidate: str,
        epochs: int,
        training: config.Training,
        value: Callable[[Mapping[str, Any]], float],
        blocks: Collection[Block] | None = None,
    ) -> dict[Block, float]:
        """Fold -> value of a candidate after some epochs, averaged over seeds; failed and missing trials are omitted.

        Args:
            candidate: its name.
            epochs: of the trials to read.
            training: of the candidate; it says which row of metrics belongs to the weights that are kept.
            value: maps this row to the value.
            blocks: those to read; None: all.
        """
        values = {
            record.job.block: value(result_row(dataclasses.replace(training, epochs=epochs), record.rows))
            for record in self.done(candidate)
            if record.job.epochs == epochs and (blocks is None or record.job.block in blocks)
        }
        return mean_over_seeds({block: values[block] for block in sorted(values)})

    def epochs(self, candidate: str, blocks: Collection[Block]) -> dict[Block, int]:
        """Block -> epochs that a candidate was trained for, in all of its trainings on these blocks."""
        spent = Counter[Block]()
        for record in self.done(candidate):
            if record.job.block in blocks:
                spent[record.job.block] += record.job.epochs
        return spent

    @property
    def seconds(self) -> float:
        """Seconds of all trials, summed over processes."""
        return sum(record.seconds or 0.0 for record in self.all)

    @property
    def failed(self) -> list[dict[str, Any]]:
        """The failed trials."""
        return [{**asdict(record.job), "error": record.error} for record in self.all if record.state == "failed"]
