import dataclasses
import io
import pickle
import random
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from tfeff.errors import UserError
from tfeff.execution.executor import ATTEMPTS, Outcome
from tfeff.execution.threads import Threads
from tfeff.proposals import Proposals, ProposalStore, fill
from tfeff.proposals.fill import AHEAD

DIED = "its process ended by signal SIGKILL"


def photo(gray, size=(20, 30)):
    file = io.BytesIO()
    Image.new("L", size[::-1], gray).save(file, "PNG")
    return file.getvalue()


class Gray:
    """Two boxes: the image's, and one as wide as the first pixel is bright."""

    @property
    def parameters(self):
        return {"engine": "gray"}

    def __call__(self, image):
        height, width, _ = image.shape
        cells = np.array([[0, 0, height, width], [0, 0, 1, 1 + image[0, 0, 0]]], np.uint16)
        return Proposals(cells, (height, width), (height, width))


class Files:
    """A data set in a dictionary; a value that is an exception is raised."""

    def __init__(self, **contents):
        self.contents = contents
        self.ids = list(contents)

    def encoded(self, index):
        content = self.contents[self.ids[index]]
        if isinstance(content, Exception):
            raise content
        return content


class Fragile:
    """An executor of this process: calls end one by one in any order, the first of some images by a death.

    Args:
        deaths: image -> how often the process dies that has it.
        before: called before each end.
    """

    slots = 2

    def __init__(self, deaths=(), before=lambda: None, seed=0):
        self.deaths, self.before = Counter(deaths), before
        self.calls, self.most, self._queue, self._random = Counter(), 0, [], random.Random(seed)

    def submit(self, key, function, *arguments):
        self._queue.append(pickle.dumps((key, function, arguments)))
        self.most = max(self.most, len(self._queue))

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
    """Image -> the first pixel that its proposals tell of."""
    return {name: int(store[name].cells[1, 3]) - 1 for name in store}


def counts(filled):
    return filled.made, filled.known, filled.copied, len(filled.failed)


@pytest.mark.parametrize("seed", range(3))
def test_every_image_gets_the_boxes_of_its_pixels_whatever_the_order_of_ends(store, seed):
    grays = {f"{number}.png": number for number in range(40)}
    executor = Fragile(seed=seed)
    filled = fill(store, Files(**{name: photo(gray) for name, gray in grays.items()}), Gray(), executor)
    assert counts(filled) == (40, 0, 0, 0)
    assert brightness(store) == brightness(ProposalStore(store.directory)) == grays
    assert store["3.png"].boxes_yxyx.tolist() == [[0, 0, 20, 30], [0, 0, 1, 4]]
    assert max(executor.calls.values()) == 1
    # A data set may be larger than the memory.
    assert executor.most <= AHEAD * executor.slots


def test_threads_fill_alike(store):
    grays = {f"{number}": number for number in range(40)}
    with Threads(3) as threads:
        filled = fill(store, Files(**{name: photo(gray) for name, gray in grays.items()}), Gray(), threads)
    assert counts(filled) == (40, 0, 0, 0)
    assert brightness(store) == grays


def test_equal_content_is_computed_once_under_all_its_names(store):
    images = Files(a=photo(1), b=photo(2), c=photo(1), d=photo(1))
    executor = Fragile()
    assert counts(fill(store, images, Gray(), executor)) == (2, 0, 2, 0)
    assert executor.calls == {"a": 1, "b": 1}
    # Another data set has the same image.
    assert counts(fill(store, Files(e=photo(2), f=photo(3)), Gray(), executor)) == (1, 0, 1, 0)
    assert executor.calls == {"a": 1, "b": 1, "f": 1}
    assert brightness(ProposalStore(store.directory)) == {"a": 1, "b": 2, "c": 1, "d": 1, "e": 2, "f": 3}


def test_what_is_known_is_not_computed_again_but_what_has_changed(store):
    images = Files(a=photo(1), b=photo(2))
    fill(store, images, Gray(), Fragile())
    images.contents["b"] = photo(7)
    executor = Fragile()
    assert counts(fill(store, images, Gray(), executor)) == (1, 1, 0, 0)
    assert executor.calls == {"b": 1}
    assert brightness(store) == {"a": 1, "b": 7}
    # What it was before is still known by its content.
    images.contents["b"] = photo(2)
    assert counts(fill(store, images, Gray(), Fragile())) == (0, 1, 1, 0)
    assert brightness(ProposalStore(store.directory)) == {"a": 1, "b": 2}


def test_images_that_cannot_be_read_are_listed_and_do_not_stop_the_rest(store):
    images = Files(
        a=photo(1),
        text=b"not an image",
        cut=photo(9)[:45],
        again=b"not an image",
        gone=FileNotFoundError(2, "No such file or directory"),
        z=photo(2),
    )
    executor = Fragile()
    filled = fill(store, images, Gray(), executor)
    assert counts(filled) == (2, 0, 0, 4)
    assert brightness(store) == {"a": 1, "z": 2}
    assert filled.failed["gone"] == "cannot be read (No such file or directory)"
    for name in ("text", "cut", "again"):
        assert filled.failed[name].startswith("not an image")
    # An image that is none stays so: no second attempt.
    assert max(executor.calls.values()) == 1


@pytest.mark.parametrize("deaths", range(ATTEMPTS + 2))
def test_an_image_whose_process_dies_is_tried_again(store, deaths):
    executor = Fragile({"b": deaths})
    filled = fill(store, Files(a=photo(1), b=photo(2), c=photo(3), d=photo(2)), Gray(), executor)
    assert executor.calls == {"a": 1, "b": min(deaths + 1, ATTEMPTS), "c": 1}
    if deaths < ATTEMPTS:
        assert counts(filled) == (3, 0, 1, 0)
        assert brightness(store) == {"a": 1, "b": 2, "c": 3, "d": 2}
    else:
        assert filled.failed == {"b": DIED, "d": DIED}
        assert brightness(store) == {"a": 1, "c": 3}


@pytest.mark.parametrize("later", [photo(9), FileNotFoundError(2, "No such file")], ids=["another", "gone"])
def test_an_image_that_changes_between_two_attempts_is_the_one_that_was_read_first(store, later):
    images = Files(a=photo(1))
    executor = Fragile({"a": 1}, before=lambda: images.contents.update(a=later))
    assert counts(fill(store, images, Gray(), executor)) == (1, 0, 0, 0)
    images.contents["a"] = photo(1)
    assert counts(fill(store, images, Gray(), Fragile())) == (0, 1, 0, 0)
    assert brightness(store) == {"a": 1}


def test_progress_is_told_of_every_image(store):
    told = []
    images = Files(a=photo(1), b=b"", c=photo(1), d=photo(2), e=OSError(5, "Input/output error"))
    filled = fill(store, images, Gray(), Fragile(), progress=lambda so_far: told.append(dataclasses.replace(so_far)))
    assert filled.done == told[-1].done == 5
    done = [so_far.made + so_far.known + so_far.copied for so_far in told]
    assert done == sorted(done)
