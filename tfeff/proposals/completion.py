"""Adds the missing proposals of a dataset to a store, which other processes may use, too."""

from collections.abc import Callable
from pathlib import Path

from tfeff.data.dataset import Dataset
from tfeff.durable import locked
from tfeff.errors import UserError
from tfeff.execution.threads import Threads
from tfeff.proposals.generation import GenerationCounts, Proposer, generate
from tfeff.proposals.store import ProposalStore


def complete(
    proposer: Proposer,
    directory: Path,
    images: Dataset,
    progress: Callable[[GenerationCounts], None],
    *,
    key: str = "proposals.directory",
    wait: bool = False,
) -> ProposalStore:
    """A store with the proposals of all images; those that are missing are computed.

    Args:
        proposer: computes them.
        directory: of the store.
        images: the dataset.
        progress: called with the counts after each image.
        key: of the config, which named the directory, for messages.
        wait: if another process is adding proposals, wait for it; otherwise that is an error.

    Raises:
        UserError: an image cannot be read, or the store holds proposals made with other settings.
        BusyError: see `wait`.
    """
    with locked(directory, key, wait=wait), Threads() as threads:
        store = ProposalStore.create(directory, proposer.parameters)
        counts = generate(store, images, proposer, threads, progress=progress)
    if counts.failed:
        name, reason = next(iter(counts.failed.items()))
        raise UserError(
            f"{images.name}: {len(counts.failed)} of {len(images)} images cannot be read; the first is {name} "
            f'({reason}). Replace or remove them, or set data.corrupt_images = "skip"'
        )
    return store
