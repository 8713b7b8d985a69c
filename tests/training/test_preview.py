from pathlib import Path

import numpy as np
import pytest

from tests.training.tracking.small_run import SETTINGS
from tfeff import config, selection
from tfeff.data.input.cache import ImageCache
from tfeff.errors import UserError
from tfeff.reporting.augmentation import Example
from tfeff.training.plan import Plan
from tfeff.training.preview import ORIGINAL, columns, write_preview

VARIED = config.override(SETTINGS, ["task.augmentation.horizontal_flip=true", "task.augmentation.brightness=0.3"])


def shown(settings: config.Experiment, count: int = 5) -> tuple[dict[str, list[Example]], ImageCache]:
    plan = Plan.of(settings)
    images = selection.choose(plan.images, selection.read(plan.images, lambda *_: None)).train.take(np.arange(count))
    return dict(columns(plan, images)), images


@pytest.mark.slow
def test_each_augmentation_is_shown_alone() -> None:
    found, images = shown(VARIED)
    assert list(found) == [ORIGINAL, "horizontal_flip", "brightness=0.3", *(f"all, epoch {n}" for n in (1, 2, 3))]
    for example, image in zip(found[ORIGINAL], next(images.chunks(5)), strict=True):
        assert np.array_equal(example.pixels, image)
    pairs = list(zip(found["horizontal_flip"], found[ORIGINAL], strict=True))
    flipped = [np.array_equal(after.pixels, before.pixels[:, ::-1]) for after, before in pairs]
    kept = [np.array_equal(after.pixels, before.pixels) for after, before in pairs]
    assert all(np.logical_xor(flipped, kept))
    assert any(flipped)


def test_variations_without_effect_are_left_out() -> None:
    found, _ = shown(config.override(SETTINGS, ["task.augmentation.brightness=1e-6"]))
    assert "brightness=1e-06" not in found


@pytest.mark.slow
def test_plain_epochs_do_not_hide_the_augmentation() -> None:
    found, _ = shown(config.override(VARIED, ["task.plain_epochs=1"]))
    assert any(not a.equals(b) for a, b in zip(found["all, epoch 2"], found[ORIGINAL], strict=True))


def test_images_that_are_drawn_together_are_shown_once_each() -> None:
    together = ["task.name=embedding", "task.loss=supervised_contrastive", "task.augmentation.brightness=0.3"]
    found, images = shown(config.override(SETTINGS, together))
    assert {len(examples) for examples in found.values()} == {len(images)}
    for example, image in zip(found[ORIGINAL], next(images.chunks(5)), strict=True):
        assert np.array_equal(example.pixels, image)


@pytest.mark.slow
def test_mixed_images_are_shown(tmp_path: Path) -> None:
    found, _ = shown(config.override(SETTINGS, ["task.augmentation.mixup_alpha=0.4"]))
    assert "mixup_alpha=0.4" in found
    files = write_preview(Plan.of(config.override(SETTINGS, ["task.augmentation.mixup_alpha=0.4"])), tmp_path)
    assert [path.name for path in files] == ["augmentation.png", "augmentation.svg"]
    assert all(path.is_file() for path in files)


def test_tasks_without_augmentation_are_refused(tmp_path: Path) -> None:
    overrides = ["model.weights=imagenet", "model.name=efficientnet-lite0"]
    settings = config.override(config.load("digits_rcnn", config.Experiment), overrides)
    with pytest.raises(UserError, match="without augmentation"):
        write_preview(Plan.of(settings), tmp_path)
