"""Fills a store with the proposals of a data set, in parallel; what is there already is not computed again."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import cv2
import numpy as np

from tfeff.data.images import decoding
from tfeff.execution.executor import ATTEMPTS, Executor, Outcome
from tfeff.proposals.proposals import Proposals
from tfeff.proposals.store import ProposalStore, Writer, digest

AHEAD = 4
"""Images that wait for each slot of the executor."""


class Proposer(Protocol):
    """Boxes of an image."""

    @property
    def parameters(self) -> dict[str, Any]:
        """What decides the boxes, JSON-ready."""

    def __call__(self, image: np.ndarray) -> Proposals:
        """Proposals of an image uint8 [height, width, 3]."""


class Images(Protocol):
    """Encoded images; `data.annotations.AnnotatedSource` is such."""

    @property
    def ids(self) -> Sequence[str]:
        """One an image, all different."""

    @property
    def encoded(self) -> Callable[[int], bytes]:
        """Index -> the file's bytes."""


@dataclass
class Filled:
    """What `fill` did.

    Attributes:
        made: images whose proposals were computed.
        known: images that had theirs.
        copied: images that got those of another one of the same content.
        failed: image -> why it has none (a message that does not name it).
    """

    made: int = 0
    known: int = 0
    copied: int = 0
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def done(self) -> int:
        """Images dealt with."""
        return self.made + self.known + self.copied + len(self.failed)


@dataclass
class _Content:
    """A file's bytes, the images that wait for their proposals, and how often those were asked for."""

    encoded: bytes
    names: list[str]
    attempts: int = 0


def fill(
    store: ProposalStore,
    images: Images,
    proposer: Proposer,
    executor: Executor,
    *,
    progress: Callable[[Filled], None] = lambda filled: None,
) -> Filled:
    """Adds the proposals of every image that the store has none of, or those of other content.

    Args:
        store: made with the proposer's parameters; the caller sees to it that nobody else fills it.
        images: the data set.
        proposer: pickled where the executor's calls run elsewhere.
        executor: where images are decoded and boxes proposed. One thread here reads and writes.
        progress: told after each image.

    Returns:
        What was done. Images that cannot be read are listed and do not stop the rest.
    """
    filled = Filled()
    waiting: dict[bytes, _Content] = {}
    with Writer(store) as writer:

        def take(outcome: Outcome) -> None:
            content = outcome.key
            assert isinstance(content, bytes)
            if outcome.retryable and waiting[content].attempts < ATTEMPTS:
                submit(content)
                return
            first, *others = waiting.pop(content).names
            for name in (first, *others):
                if outcome.error is not None:
                    filled.failed[name] = outcome.error.removeprefix(f"{first}: ")
                    continue
                writer.add(name, content, outcome.value)
                filled.made += name == first
                filled.copied += name != first
            store.refresh()
            progress(filled)

        def submit(content: bytes) -> None:
            waiting[content].attempts += 1
            executor.submit(content, propose, proposer, waiting[content].encoded, waiting[content].names[0])

        for index, name in enumerate(images.ids):
            while len(waiting) >= AHEAD * executor.slots:
                for outcome in executor.wait(1.0):
                    take(outcome)
            try:
                encoded = images.encoded(index)
            except OSError as error:
                filled.failed[name] = f"cannot be read ({error.strerror})"
                progress(filled)
                continue
            content = digest(encoded)
            if store.is_of(name, content):
                filled.known += 1
            elif content in waiting:
                waiting[content].names.append(name)
                continue
            elif (known := store.by_content(content)) is not None:
                writer.add(name, content, known)
                store.refresh()
                filled.copied += 1
            else:
                waiting[content] = _Content(encoded, [name])
                submit(content)
                continue
            progress(filled)
        while waiting:
            for outcome in executor.wait(1.0):
                take(outcome)
    return filled


def propose(proposer: Proposer, encoded: bytes, name: str) -> Proposals:
    """Proposals of one encoded image, on one thread."""
    cv2.setNumThreads(1)  # there are as many images at work as there are cores
    return proposer(decoding.decode(encoded, name))
