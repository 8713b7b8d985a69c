import dataclasses
import io
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tfeff.data.dataset import Dataset
from tfeff.data.images.storage import DrawnImages
from tfeff.durable import locked
from tfeff.errors import BusyError, UserError
from tfeff.proposals import Proposals, complete
from tfeff.proposals.generation import GenerationCounts

Shown = list[GenerationCounts]


class Whole:
    """Proposes the whole image."""

    def __init__(self, version: int = 1) -> None:
        self.version = version

    @property
    def parameters(self) -> dict[str, Any]:
        return {"engine": "whole", "version": self.version}

    def __call__(self, image: np.ndarray) -> Proposals:
        size = image.shape[0], image.shape[1]
        return Proposals(np.array([[0, 0, *size]], np.uint16), size, size)


def images(*sides: int) -> Dataset:
    """Square images; one of side 0 is no image."""

    def encoded(index: int) -> bytes:
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


def test_a_store_of_other_parameters_and_unreadable_images_are_errors(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"squares: 1 of 2 images cannot be read; the first is 0\.png"):
        complete(Whole(), tmp_path, images(4, 0), lambda counts: None)
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
