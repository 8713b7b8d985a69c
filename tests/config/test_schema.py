"""What an experiment may say of its task, and what contradicts it."""

import pytest

from tfeff import config
from tfeff.data.augment.box_policy import BoxAugmentation
from tfeff.data.augment.policy import Augmentation
from tfeff.errors import UserError

LOCALIZATION = config.Task(name="localization")


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"task": config.Task(box_weight=2.0)}, "task.box_weight is 2.0; it should be left out unless task.name"),
        ({"task": config.Task(hidden=())}, "task.hidden is (); it should be left out unless"),
        ({"data": config.Data(box_augmentation=BoxAugmentation(scale=0.1))}, "data.box_augmentation: left out unless"),
        (
            {"task": LOCALIZATION, "data": config.Data(augmentation=Augmentation(mixup_alpha=0.1))},
            "data.augmentation: left out where task.name",
        ),
        (
            {"task": LOCALIZATION, "data": config.Data(box_augmentation=BoxAugmentation(mosaic=0.5))},
            "data.box_augmentation.mosaic: 0 for localization",
        ),
    ],
)
def test_keys_of_another_task_are_refused(sections, words):
    with pytest.raises(UserError) as error:
        config.Experiment(**sections)
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"name": "localisation"}, 'it should be "classification" or "localization"'),
        ({"class_weight": 0.0, "box_weight": 0.0}, "nothing would be learned"),
        ({"box_weight": -1.0}, "0 or more"),
        ({"grid": 0}, "above 0"),
        ({"hidden": (8, 0)}, "numbers above 0"),
    ],
)
def test_wrong_values_are_named(keys, words):
    with pytest.raises(UserError) as error:
        config.Task(**{"name": "localization"} | keys)
    assert words in str(error.value)


def test_plain_epochs_need_others_before_them():
    strong = Augmentation(horizontal_flip=True, rotation=10)
    experiment = config.Experiment(data=config.Data(augmentation=strong, plain_epochs=3))
    with pytest.raises(UserError, match=r"data.plain_epochs is 3; it should be at most training.epochs = 2"):
        config.override(experiment, ["training.epochs=2", "schedule.warmup_epochs=0"])
    with pytest.raises(UserError, match=r"data.plain_epochs is 3; it should be 0 where augmentation varies nothing"):
        config.override(experiment, ["data.augmentation.rotation=0"])


def test_a_search_and_a_detectors_backbone_are_for_classifiers():
    experiment = config.Experiment(task=LOCALIZATION)
    for make in (lambda: config.Search(experiment=experiment), lambda: config.RCNN(backbone=experiment)):
        with pytest.raises(UserError, match=r"task.name is 'localization'; it should be \"classification\""):
            make()


def test_a_config_of_before_there_were_tasks_is_a_classifiers():
    experiment = config.Experiment()
    assert config.from_json('{"seed": 0}', config.Experiment) == experiment
    assert experiment.task.name == "classification"
    assert config.override(experiment, ["task.name=localization", "task.hidden=64,32"]).task.hidden == (64, 32)
