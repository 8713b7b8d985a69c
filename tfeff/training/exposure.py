"""Which held-out images a run knows from earlier runs: those whose weights it starts from, and those that it imitates.

Results on such images say nothing about new ones.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from tfeff import config
from tfeff.data.dataset import Dataset
from tfeff.errors import UserError
from tfeff.training.workdir import Workdir


def notes(sources: Sequence[str], held_out: Dataset, role: str) -> list[str]:
    """Returns what the user should know, one line for each earlier run.

    Args:
        sources: where the run starts from, and whom it imitates (`Experiment.sources`).
        held_out: images that it does not train on.
        role: what they are, such as "validation".
    """
    return [
        f"{count:,} of {len(held_out):,} {role} images are training images of {run}, from which this run learns: "
        "results on known images say nothing about new ones"
        for run, count in known(sources, held_out).items()
    ]


def require_unknown(sources: Sequence[str], held_out: Dataset) -> None:
    """Refuses earlier runs that know the images on which trainings are compared.

    Args:
        sources: see `notes`.
        held_out: all images that are held out in a training or another.

    Raises:
        UserError: an earlier run was trained on some of them.
    """
    for run, count in known(sources, held_out).items():
        raise UserError(
            f"{run} was trained on {count:,} of the {len(held_out):,} images that are held out to compare trainings: "
            "what starts from it or imitates it would look better than it is. Omit it, or train it on other images "
            "than those that are compared (data.train_split)"
        )


def known(sources: Sequence[str], held_out: Dataset) -> dict[str, int]:
    """Returns earlier run -> how many of the images it was trained on; runs that know none are left out.

    An image is recognized by name, size and modification time of its file, crops by those of their photograph.
    """
    found = dict[str, int]()
    for run in _runs(sources, set()):
        count = int(np.isin(held_out.origins, Workdir(run).fingerprint().trained).sum())
        if count:
            found[run] = count
    return found


def _runs(sources: Sequence[str], followed: set[str]) -> Iterator[str]:
    """Yields the workdirs of earlier runs, and of those from which these have learned."""
    for source in sources:
        run = _workdir(source)
        if run is None or os.path.realpath(run) in followed:
            continue
        followed.add(os.path.realpath(run))
        yield str(run)
        yield from _runs(Workdir(run).config().sources, followed)


def _workdir(source: str) -> Path | None:
    """Returns the workdir of a run that is named by itself or by one of its files of weights.

    None if it is something else.
    """
    path = Path(os.path.expanduser(source))
    found = path.absolute().parent.parent if path.is_file() else path
    return found if all((found / name).is_file() for name in (config.RUN_FILE, "images.npz")) else None
