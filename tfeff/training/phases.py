"""Gradual unfreezing: a run in phases, in each of which other variables are trained.

Howard and Ruder, "Universal Language Model Fine-tuning for Text Classification" (arXiv:1801.06146), section 3.3: the
last layers are trained first, and earlier ones join from epoch to epoch.
"""

import dataclasses

from tfeff import config


def span(settings: config.Experiment, done: int, until_epoch: int | None) -> tuple[int, int]:
    """The first and the last epoch, counted as finished epochs, of the phase that follows after `done` epochs.

    Args:
        settings: the experiment.
        done: finished epochs.
        until_epoch: epoch at which the call ends; None: the last one.

    >>> from tfeff.config import Experiment, Optimizer, Training
    >>> run = Experiment(optimizer=Optimizer(frozen=("*",), unfreeze=("2=head*", "5=*")), training=Training(epochs=9))
    >>> span(run, 0, None), span(run, 2, None), span(run, 4, 4), span(run, 7, None)
    ((0, 2), (2, 5), (2, 4), (5, 9))
    """
    epochs = settings.training.epochs
    last = min(until_epoch or epochs, epochs)
    starts = sorted({epoch for epoch, _ in settings.optimizer.unfreezing() if 0 < epoch < epochs})
    start = max((epoch for epoch in starts if epoch <= done), default=0)
    return start, min((last, *(epoch for epoch in starts if epoch > done)))


def at(settings: config.Experiment, epoch: int) -> config.Experiment:
    """The experiment as it is after `epoch` epochs: what is unfrozen by then is unfrozen from the beginning."""
    freed = tuple(f"0={pattern}" for start, pattern in sorted(settings.optimizer.unfreezing()) if start <= epoch)
    return dataclasses.replace(settings, optimizer=dataclasses.replace(settings.optimizer, unfreeze=freed))
