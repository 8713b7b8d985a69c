"""Validation of experiments."""

import pytest

from tfeff import config
from tfeff.errors import UserError

LOCALIZATION = config.Task(name="localization")


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        (
            {"task": config.Task(box_weight=2.0)},
            "task.box_weight requires task.name",
        ),
        ({"task": config.Task(hidden=())}, "task.hidden requires task.name"),
        (
            {"data": config.Data(box_augmentation=config.BoxAugmentation(scale=0.1))},
            "data.box_augmentation requires task.name",
        ),
        ({"task": LOCALIZATION, "tta": config.TTA(shift=1)}, "tta.shift requires classification"),
        (
            {"task": LOCALIZATION, "data": config.Data(augmentation=config.Augmentation(mixup_alpha=0.1))},
            "data.augmentation does not transform boxes",
        ),
        (
            {"task": LOCALIZATION, "data": config.Data(box_augmentation=config.BoxAugmentation(mosaic=0.5))},
            "data.box_augmentation.mosaic should be 0 for localization",
        ),
    ],
)
def test_keys_of_another_task_are_errors(sections, words):
    with pytest.raises(UserError) as error:
        config.Experiment(**sections)
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"name": "localisation"}, 'it should be "classification" or "localization"'),
        ({"class_weight": 0.0, "box_weight": 0.0}, "the loss would always be 0"),
        ({"box_weight": -1.0}, "0 or more"),
        ({"grid": 0}, "above 0"),
        ({"hidden": (8, 0)}, "numbers above 0"),
    ],
)
def test_errors_of_wrong_values(keys, words):
    with pytest.raises(UserError) as error:
        config.Task(**{"name": "localization"} | keys)
    assert words in str(error.value)


def test_plain_epochs_require_augmented_epochs():
    strong = config.Augmentation(horizontal_flip=True, rotation=10)
    experiment = config.Experiment(data=config.Data(augmentation=strong, plain_epochs=3))
    with pytest.raises(UserError, match=r"data.plain_epochs is 3; it should be at most training.epochs = 2"):
        config.override(experiment, ["training.epochs=2", "schedule.warmup_epochs=0"])
    with pytest.raises(UserError, match=r"data.plain_epochs is 3; it should be 0, because there is no augmentation"):
        config.override(experiment, ["data.augmentation.rotation=0"])


def test_searches_and_backbones_are_classifiers():
    experiment = config.Experiment(task=LOCALIZATION)
    for make in (lambda: config.Search(experiment=experiment), lambda: config.RCNN(backbone=experiment)):
        with pytest.raises(UserError, match=r"task.name is 'localization'; it should be \"classification\""):
            make()


def test_the_default_task_is_classification():
    experiment = config.Experiment()
    assert config.from_json('{"seed": 0}', config.Experiment) == experiment
    assert experiment.task.name == "classification"
    assert config.override(experiment, ["task.name=localization", "task.hidden=64,32"]).task.hidden == (64, 32)
