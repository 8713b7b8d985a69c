import dataclasses
import io
import pickle
import random
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tfeff.data.dataset import Dataset
from tfeff.data.images.storage import DrawnImages, content_digest
from tfeff.durable import locked
from tfeff.errors import BusyError, UserError
from tfeff.execution.executor import ATTEMPTS, Outcome, Threads
from tfeff.proposals import ProposalStore, ProposedBoxes, complete, generate
from tfeff.proposals.generation import QUEUED_PER_SLOT, GenerationCounts

DIED = "its process ended by signal SIGKILL"


def png(gray, size=(20, 30)):
    file = io.BytesIO()
    Image.new("L", size[::-1], gray).save(file, "PNG")
    return file.getvalue()


class Gray:
    """A proposer of the whole image and of a box whose width encodes the first pixel."""

    @property
    def parameters(self):
        return {"engine": "gray"}

    def __call__(self, image):
        height, width, _ = image.shape
        cells = np.array([[0, 0, height, width], [0, 0, 1, 1 + image[0, 0, 0]]], np.uint16)
        return ProposedBoxes(cells, (height, width), (height, width))


class Files:
    """An in-memory dataset; values that are exceptions are raised."""

    def __init__(self, **contents):
        self.contents = contents
        self.ids = list(contents)
        self.images = self

    def encoded(self, index):
        content = self.contents[self.ids[index]]
        if isinstance(content, Exception):
            raise content
        return content

    def digest(self, index):
        return content_digest(self.encoded(index))


class CrashingExecutor:
    """An executor that runs calls in this process, in random order; some images crash their worker first.

    Args:
        deaths: image -> number of crashes.
        before: called before each call.
    """

    slots = 2

    def __init__(self, deaths=(), before=lambda: None, seed=0):
        self.deaths, self.before = Counter(deaths), before
        self.calls, self.max_queued, self._queue, self._random = Counter(), 0, [], random.Random(seed)

    def submit(self, key, function, *arguments):
        self._queue.append(pickle.dumps((key, function, arguments)))
        self.max_queued = max(self.max_queued, len(self._queue))

    def wait(self, timeout):
        self.before()
        key, function, arguments = pickle.loads(self._queue.pop(self._random.randrange(len(self._queue))))
        name = arguments[-1]
        self.calls[name] += 1
        if self.calls[name] <= self.deaths[name]:
            return [Outcome(key, error=DIED, retryable=True)]
        try:
            return [Outcome(key, function(*arguments))]
        except UserError as error:
            return [Outcome(key, error=str(error))]


@pytest.fixture
def store(tmp_path):
    return ProposalStore.create(tmp_path / "store", Gray().parameters)


def brightness(store):
    """Returns image -> the first pixel, decoded from its proposals."""
    return {name: int(store[name].cells[1, 3]) - 1 for name in store}


def counts(result):
    return result.computed, result.existing, result.copied, len(result.failed)


@pytest.mark.parametrize("seed", range(3))
def test_every_image_gets_its_own_boxes_in_any_order_of_completion(store, seed):
    grays = {f"{number}.png": number for number in range(40)}
    executor = CrashingExecutor(seed=seed)
    result = generate(store, Files(**{name: png(gray) for name, gray in grays.items()}), Gray(), executor)
    assert counts(result) == (40, 0, 0, 0)
    assert brightness(store) == brightness(ProposalStore(store.directory)) == grays
    assert store["3.png"].boxes_yxyx.tolist() == [[0, 0, 20, 30], [0, 0, 1, 4]]
    assert max(executor.calls.values()) == 1
    # A dataset may be larger than memory.
    assert executor.max_queued <= QUEUED_PER_SLOT * executor.slots


def test_threads_give_the_same_result(store):
    grays = {f"{number}": number for number in range(40)}
    with Threads(3) as threads:
        result = generate(store, Files(**{name: png(gray) for name, gray in grays.items()}), Gray(), threads)
    assert counts(result) == (40, 0, 0, 0)
    assert brightness(store) == grays


def test_identical_images_are_computed_once(store):
    images = Files(a=png(1), b=png(2), c=png(1), d=png(1))
    executor = CrashingExecutor()
    assert counts(generate(store, images, Gray(), executor)) == (2, 0, 2, 0)
    assert executor.calls == {"a": 1, "b": 1}
    # Another dataset with the same image.
    assert counts(generate(store, Files(e=png(2), f=png(3)), Gray(), executor)) == (1, 0, 1, 0)
    assert executor.calls == {"a": 1, "b": 1, "f": 1}
    assert brightness(ProposalStore(store.directory)) == {"a": 1, "b": 2, "c": 1, "d": 1, "e": 2, "f": 3}


def test_only_changed_images_are_computed_again(store):
    images = Files(a=png(1), b=png(2))
    generate(store, images, Gray(), CrashingExecutor())
    images.contents["b"] = png(7)
    executor = CrashingExecutor()
    assert counts(generate(store, images, Gray(), executor)) == (1, 1, 0, 0)
    assert executor.calls == {"b": 1}
    assert brightness(store) == {"a": 1, "b": 7}
    # The store still has the proposals of the earlier content.
    images.contents["b"] = png(2)
    assert counts(generate(store, images, Gray(), CrashingExecutor())) == (0, 1, 1, 0)
    assert brightness(ProposalStore(store.directory)) == {"a": 1, "b": 2}


def test_unreadable_images_are_listed_and_skipped(store):
    images = Files(
        a=png(1),
        text=b"not an image",
        cut=png(9)[:45],
        again=b"not an image",
        gone=FileNotFoundError(2, "No such file or directory"),
        z=png(2),
    )
    executor = CrashingExecutor()
    result = generate(store, images, Gray(), executor)
    assert counts(result) == (2, 0, 0, 4)
    assert brightness(store) == {"a": 1, "z": 2}
    assert result.failed["gone"] == "cannot be read (No such file or directory)"
    for name in ("text", "again"):
        assert result.failed[name].startswith("not an image")
    assert result.failed["cut"].startswith("a corrupt image")
    # A corrupt image is not retried.
    assert max(executor.calls.values()) == 1


@pytest.mark.parametrize("deaths", range(ATTEMPTS + 2))
def test_an_image_is_retried_after_its_worker_crashes(store, deaths):
    images, executor = Files(a=png(1), b=png(2), c=png(3), d=png(2)), CrashingExecutor({"b": deaths})
    if deaths < ATTEMPTS:
        assert counts(generate(store, images, Gray(), executor)) == (3, 0, 1, 0)
    else:
        with pytest.raises(UserError, match=f"2 images have no proposals.*; b: {DIED}. All others are stored"):
            generate(store, images, Gray(), executor)
        assert brightness(store) == {"a": 1, "c": 3}
    assert executor.calls == {"a": 1, "b": min(deaths + 1, ATTEMPTS), "c": 1}
    generate(store, images, Gray(), CrashingExecutor())
    assert brightness(store) == {"a": 1, "b": 2, "c": 3, "d": 2}


@pytest.mark.parametrize("later", [png(9), FileNotFoundError(2, "No such file")], ids=["another", "gone"])
def test_a_retry_uses_the_bytes_of_the_first_attempt(store, later):
    images = Files(a=png(1))
    executor = CrashingExecutor({"a": 1}, before=lambda: images.contents.update(a=later))
    assert counts(generate(store, images, Gray(), executor)) == (1, 0, 0, 0)
    images.contents["a"] = png(1)
    assert counts(generate(store, images, Gray(), CrashingExecutor())) == (0, 1, 0, 0)
    assert brightness(store) == {"a": 1}


def test_progress_is_reported_for_every_image(store):
    calls = []
    images = Files(a=png(1), b=b"", c=png(1), d=png(2), e=OSError(5, "Input/output error"))
    result = generate(
        store, images, Gray(), CrashingExecutor(), progress=lambda counts: calls.append(dataclasses.replace(counts))
    )
    assert result.processed == calls[-1].processed == 5
    succeeded = [counts.computed + counts.existing + counts.copied for counts in calls]
    assert succeeded == sorted(succeeded)


Shown = list[GenerationCounts]


class Whole:
    """A proposer of the whole image."""

    def __init__(self, version: int = 1) -> None:
        self.version = version

    @property
    def parameters(self) -> dict[str, Any]:
        return {"engine": "whole", "version": self.version}

    def __call__(self, image: np.ndarray) -> ProposedBoxes:
        size = image.shape[0], image.shape[1]
        return ProposedBoxes(np.array([[0, 0, *size]], np.uint16), size, size)


def images(*sides: int, read: list[int] | None = None) -> Dataset:
    """Square images; one of side 0 is no image. The sides of those that are read are added to `read`."""

    def encoded(index: int) -> bytes:
        if read is not None:
            read.append(sides[index])
        file = io.BytesIO()
        if sides[index]:
            Image.new("RGB", (sides[index],) * 2).save(file, "PNG")
        return file.getvalue()

    names = [f"{side}.png" for side in sides]
    return Dataset(name="squares", class_names=("a",), ids=names, images=DrawnImages(len(sides), encoded, "1"))


def test_only_missing_proposals_are_computed(tmp_path: Path) -> None:
    first, second = Shown(), Shown()
    store = complete(Whole(), tmp_path, images(4, 5), lambda counts: first.append(dataclasses.replace(counts)))
    assert store["5.png"].boxes_yxyx.tolist() == [[0, 0, 5, 5]]
    store = complete(Whole(), tmp_path, images(5, 6), lambda counts: second.append(dataclasses.replace(counts)))
    assert (len(store), first[-1].computed, second[-1].computed, second[-1].existing) == (3, 2, 1, 1)


def test_images_with_proposals_are_read_for_their_digests_alone(tmp_path: Path) -> None:
    complete(Whole(), tmp_path, images(4, 5), lambda counts: None)
    read = list[int]()
    again = images(4, 5, read=read)
    store = complete(Whole(), tmp_path, again.take(np.array([1, 0])), lambda counts: None)
    assert [store.of(again, index).size for index in range(2)] == [(4, 4), (5, 5)]
    assert sorted(read) == [4, 5]


def test_datasets_with_the_same_ids_share_a_store(tmp_path: Path) -> None:
    """Such as `train[0]`; one is completed between the completion and the use of the other."""
    first, second = (dataclasses.replace(images(side), ids=["train[0]"]) for side in (4, 5))
    complete(Whole(), tmp_path, first, lambda counts: None)
    store = complete(Whole(), tmp_path, second, lambda counts: None)
    assert [store.of(each, 0).size for each in (first, second)] == [(4, 4), (5, 5)]
    with pytest.raises(UserError, match=r"no proposals of 6\.png; run tfeff\.propose on its dataset"):
        store.of(images(6), 0)


def test_a_store_of_other_parameters_and_unreadable_images_are_errors(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"squares: 1 of 2 images cannot be read:\n  0\.png: not an image"):
        complete(Whole(), tmp_path, images(4, 0), lambda counts: None)
    assert list(complete(Whole(), tmp_path, images(4, 0), lambda counts: None, skip=True)) == ["4.png"]
    with pytest.raises(UserError, match=r"another version of tfeff:(?s:.*)version: saved 1, now 2"):
        complete(Whole(2), tmp_path, images(4), lambda counts: None)


def test_it_waits_for_another_writer_if_it_may(tmp_path: Path) -> None:
    done = threading.Event()

    def wait() -> None:
        complete(Whole(), tmp_path, images(4), lambda counts: None, wait=True)
        done.set()

    waiting = threading.Thread(target=wait)
    with locked(tmp_path):
        with pytest.raises(BusyError, match="another process is using it"):
            complete(Whole(), tmp_path, images(4), lambda counts: None)
        waiting.start()
        assert not done.wait(0.3)
    waiting.join(30)
    assert done.is_set()
