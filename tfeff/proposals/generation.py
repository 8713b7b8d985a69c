"""Parallel generation of a dataset's proposals; images that the store already has are not computed again."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

from tfeff.data.dataset import Dataset
from tfeff.data.images import decoding
from tfeff.data.images.storage import content_digest
from tfeff.data.images.unreadable import IN_RUN, unreadable_images
from tfeff.durable import locked
from tfeff.errors import UserError
from tfeff.execution.executor import ATTEMPTS, Executor, Outcome, Threads
from tfeff.proposals.proposals import ProposedBoxes
from tfeff.proposals.store import ProposalStore, Writer

QUEUED_PER_SLOT = 4
"""Images in flight per slot of the executor; bounds the memory."""


class Proposer(Protocol):
    """Proposer of boxes for one image."""

    @property
    def parameters(self) -> dict[str, Any]:
        """Everything that determines the boxes, as JSON values."""

    def __call__(self, image: np.ndarray) -> ProposedBoxes:
        """Returns the proposals of an image uint8 [height, width, 3]."""


@dataclass
class GenerationCounts:
    """Numbers of images by how `generate` handled them.

    Attributes:
        computed: images whose proposals were computed.
        existing: images whose proposals were in the store.
        copied: images whose content equals that of another image, whose proposals they share.
        failed: image id -> error message (without the id), for images that cannot be read or decoded.
    """

    computed: int = 0
    existing: int = 0
    copied: int = 0
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def processed(self) -> int:
        """All images handled so far."""
        return self.computed + self.existing + self.copied + len(self.failed)


@dataclass
class _Pending:
    """Content whose proposals are being computed: the bytes, the ids of its images, and the attempts so far."""

    encoded: bytes
    ids: list[str]
    attempts: int = 0


def generate(
    store: ProposalStore,
    images: Dataset,
    proposer: Proposer,
    executor: Executor,
    *,
    progress: Callable[[GenerationCounts], None] = lambda counts: None,
) -> GenerationCounts:
    """Adds proposals to a store for every image that is missing or whose content has changed.

    An image that cannot be read or decoded is skipped and listed in `failed`. If processes or machines are lost, their
    images are tried again; what still fails is an error at the end, so that no image goes missing unnoticed.

    Args:
        store: created with the proposer's parameters. The caller makes sure that this is the only writer.
        images: the dataset.
        proposer: computes the proposals; pickled if the executor uses other processes.
        executor: decodes the images and runs the proposer. The calling thread reads and writes files.
        progress: called with the counts after each image.

    Returns:
        The final counts.

    Raises:
        UserError: the computation of an image failed ATTEMPTS times. The proposals of all others are stored.
    """
    counts, lost = GenerationCounts(), dict[str, str]()
    pending: dict[bytes, _Pending] = {}
    with Writer(store) as writer:

        def finish(outcome: Outcome) -> None:
            content = outcome.key
            assert isinstance(content, bytes)
            if outcome.retryable and pending[content].attempts < ATTEMPTS:
                submit(content)
                return
            if outcome.retryable:
                lost.update(dict.fromkeys(pending.pop(content).ids, str(outcome.error)))
                return
            first, *others = pending.pop(content).ids
            for image_id in (first, *others):
                if outcome.error is not None:
                    counts.failed[image_id] = outcome.error.removeprefix(f"{first}: ")
                    continue
                writer.add(image_id, content, outcome.value)
                counts.computed += image_id == first
                counts.copied += image_id != first
            store.refresh()
            progress(counts)

        def submit(content: bytes) -> None:
            pending[content].attempts += 1
            executor.submit(content, propose, proposer, pending[content].encoded, pending[content].ids[0])

        for index, image_id in enumerate(images.ids):
            while len(pending) >= QUEUED_PER_SLOT * executor.slots:
                for outcome in executor.wait(1.0):
                    finish(outcome)
            encoded = b""
            try:
                content = images.images.digest(index)
                if content not in pending and store.by_content(content) is None:
                    encoded = images.encoded(index)
                    content = content_digest(encoded)  # the file may have changed since its digest was computed
            except (OSError, UserError) as error:
                counts.failed[image_id] = f"cannot be read ({getattr(error, 'strerror', None) or error})"
                progress(counts)
                continue
            if store.matches(image_id, content):
                counts.existing += 1
            elif content in pending:
                pending[content].ids.append(image_id)
                continue
            elif (proposals := store.by_content(content)) is not None:
                writer.add(image_id, content, proposals)
                store.refresh()
                counts.copied += 1
            else:
                pending[content] = _Pending(encoded, [image_id])
                submit(content)
                continue
            progress(counts)
        while pending:
            for outcome in executor.wait(1.0):
                finish(outcome)
    if lost:
        image_id, reason = next(iter(lost.items()))
        raise UserError(
            f"{len(lost)} images have no proposals, because their computation failed {ATTEMPTS} times; {image_id}: "
            f"{reason}. All others are stored; run the same command again"
        )
    return counts


def propose(proposer: Proposer, encoded: bytes, image_id: str) -> ProposedBoxes:
    """Decodes one image and returns its proposals, on one thread."""
    cv2.setNumThreads(1)  # the executor already runs one image per core
    return proposer(decoding.decode(encoded, image_id))


def complete(
    proposer: Proposer,
    directory: Path,
    images: Dataset,
    progress: Callable[[GenerationCounts], None],
    *,
    key: str = "proposals.directory",
    wait: bool = False,
    skip: bool = False,
) -> ProposalStore:
    """Returns a store with the proposals of all images; those that are missing are computed.

    Args:
        proposer: computes them.
        directory: directory of the store.
        images: the dataset.
        progress: called with the counts after each image.
        key: key of the config, which named the directory, for messages.
        wait: if another process is adding proposals, wait for it; otherwise that is an error.
        skip: the store lacks images that cannot be read; otherwise they are an error.

    Raises:
        UserError: an image cannot be read, or the store holds proposals made with other settings.
        BusyError: see `wait`.
    """
    with locked(directory, key, wait=wait), Threads() as threads:
        store = ProposalStore.create(directory, proposer.parameters)
        counts = generate(store, images, proposer, threads, progress=progress)
    if counts.failed and not skip:
        raise UserError(unreadable_images(images.name, len(images), counts.failed, IN_RUN))
    return store
