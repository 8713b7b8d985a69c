"""Which images a run learns from, holds out and is measured on."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from tfeff import config
from tfeff.data.annotations import AnnotatedSource
from tfeff.errors import UserError
from tfeff.rcnn import images

SOURCE = "embedded:placed_digits:64"


def settings(**data: object) -> config.RCNN:
    return config.RCNN(data=config.DetectionData(source=SOURCE, **data))


def test_images_are_learned_from_or_held_out() -> None:
    made = images.sources(settings(train_split="validation", validation_fraction=0.25, train_examples=80))
    train, held_out = made["train"], made["validation"]
    assert (len(train), len(held_out)) == (60, 20)
    assert not set(train.ids) & set(held_out.ids)
    again = images.sources(settings(train_split="validation", validation_fraction=0.25, train_examples=80))
    assert list(again["validation"].ids) == list(held_out.ids)
    of = settings(train_split="validation", validation_fraction=0.25, train_examples=80)
    # Even where the data set has a split of that name.
    assert list(images.images_of(of, "validation", images.sources(of)).ids) == list(held_out.ids)


def test_splits_that_share_images_are_refused() -> None:
    with pytest.raises(UserError, match="are among those of"):
        images.sources(settings(train_split="all", validation_split="validation"))


def test_images_without_objects_are_refused(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    source = images.load(settings(), "validation")
    for number in range(20):
        (tmp_path / "images" / f"{number}.png").write_bytes(source.encoded(number))
    with pytest.raises(UserError, match="have no objects"):
        images.sources(config.RCNN(data=config.DetectionData(source=f"yolo:{tmp_path}")))


def test_the_test_split_is_the_data_sets_own_whatever_it_is_called() -> None:
    of = settings(test_split="validation")
    learned = images.sources(of)
    tested = images.images_of(of, "validation", learned)
    assert list(tested.ids) == list(images.load(of, "validation").ids)
    assert not set(tested.ids) & set(learned["validation"].ids)


@pytest.mark.parametrize("held_out", [True, False])
def test_images_that_were_learned_from_are_no_test(held_out: bool) -> None:
    of = settings(train_split="validation" if held_out else "all", test_split="validation" if held_out else "test")
    with pytest.raises(UserError, match="give another data"):
        images.images_of(of, of.data.test_split, images.sources(of))


def part(names: tuple[str, ...], contents: list[bytes]) -> AnnotatedSource:
    """Images called 0, 1, ... of these contents."""
    source = images.load(settings(), "validation").take(np.arange(len(contents)))
    ids = [str(number) for number in range(len(contents))]
    return dataclasses.replace(source, class_names=names, ids=ids, encoded=contents.__getitem__)


def test_images_of_one_name_may_be_different_ones() -> None:
    images.apart(part(("a",), [b"x", b"y"]), part(("a",), [b"y", b"x"]), "key")
    with pytest.raises(UserError, match="the first is 1"):
        images.apart(part(("a",), [b"x", b"y"]), part(("a",), [b"z", b"y"]), "key")


def test_splits_of_other_classes_are_refused() -> None:
    with pytest.raises(UserError, match="must list the same ones"):
        images.apart(part(("a", "b"), [b"x"]), part(("b",), [b"y"]), "key")


def test_a_run_remembers_what_it_learns_from(tmp_path: Path) -> None:
    path = tmp_path / "dataset.json"
    learned = images.sources(settings(train_split="validation"))
    images.remember(path, learned)
    images.remember(path, images.sources(settings(train_split="validation")))
    assert images.class_names(path) == learned["train"].class_names
    other = dataclasses.replace(learned["train"], class_names=("ant", *learned["train"].class_names))
    moved = [dataclasses.replace(of, boxes_yxyx=of.boxes_yxyx + 1) for of in learned["train"].objects]
    for train in (
        other,
        learned["train"].take(np.arange(len(learned["train"]) - 1)),
        dataclasses.replace(learned["train"], objects=moved),
    ):
        with pytest.raises(UserError, match="put them back"):
            images.remember(path, {**learned, "train": train})
