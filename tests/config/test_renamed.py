"""Configs of the previous version are translated, or refused with the new name."""

import dataclasses
import json
from pathlib import Path

import pytest

from tfeff import config
from tfeff.errors import UserError

PREVIOUS = Path(__file__).with_name("previous")
"""JSON written by the previous version."""


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "experiment",
            config.override(
                config.Experiment(), ["task.tta.mirrored=true", "task.tta.shift=1", "task.augmentation.rotation=5"]
            ),
        ),
        (
            "rcnn",
            config.override(
                config.RCNN(),
                [
                    "backbone.task.tta.mirrored=true",
                    "windows.max_windows=500",
                    "features.grid=2",
                    "data.source=voc:data/x",
                ],
            ),
        ),
        ("search", config.override(config.Search(), ["experiment.task.tta.shift=2"])),
    ],
)
def test_saved_configs_are_translated(name, expected):
    path = PREVIOUS / f"{name}.json"
    kinds = (config.Experiment, config.RCNN, config.Search)
    assert config.load(path, *kinds) == expected
    assert config.from_json(path.read_text(), *kinds) == expected


def test_values_of_a_task_are_moved_to_its_section():
    """Each task finds its own augmentation, and loses the keys that belonged to the other one."""
    saved = {
        "task": {"name": "classification", "class_weight": 1.0, "box_weight": 10.0, "grid": 4, "hidden": [128]},
        "data": {
            "channels": 1,
            "augmentation": {"rotation": 3.0},
            "box_augmentation": {"rotation": 4.0},
            "plain_epochs": 2,
        },
        "training": {"label_smoothing": 0.1, "epochs": 7},
        "tta": {"shift": 1},
    }
    expected = config.Experiment(
        task=config.Classification(
            label_smoothing=0.1,
            plain_epochs=2,
            augmentation=config.Augmentation(rotation=3.0),
            tta=config.TTA(shift=1),
        ),
        data=config.Data(channels=1),
        training=config.Training(epochs=7),
    )
    assert config.from_json(json.dumps(saved), config.Experiment) == expected
    saved["task"]["name"] = "localization"
    box = config.Localization(label_smoothing=0.1, plain_epochs=2, augmentation=config.BoxAugmentation(rotation=4.0))
    assert config.from_json(json.dumps(saved), config.Experiment) == dataclasses.replace(expected, task=box)


def test_a_workdir_of_the_previous_version_can_be_resumed(tmp_path):
    saved = (PREVIOUS / "experiment.json").read_text()
    (tmp_path / "config.json").write_text(saved)
    experiment = config.from_json(saved, config.Experiment)
    with config.claimed(tmp_path, experiment):
        pass
    with (
        pytest.raises(UserError, match=r"task\.tta\.shift: saved 1, now 0"),
        config.claimed(tmp_path, config.override(experiment, ["task.tta.shift=0"])),
    ):
        pass


@pytest.mark.parametrize(
    ("default", "assignment", "message"),
    [
        (
            config.Experiment(),
            "prediction.mirrored=true",
            'Experiment has no key "prediction"; it is now called "task.tta"',
        ),
        (
            config.Search(),
            "experiment.prediction.shift=1",
            'experiment has no key "prediction"; it is now called "task.tta"',
        ),
        (config.Experiment(), "data.augmentation.hue=1", 'data has no key "augmentation"; it is now called "task.aug'),
        (config.RCNN(), "windows.most=5", 'windows has no key "most"; it is now called "max_windows"'),
        (config.RCNN(), "data.on_defect=mend", "data.on_defect is 'mend'; it is now called \"fix\""),
    ],
)
def test_flags_with_old_names_are_errors(default, assignment, message):
    with pytest.raises(UserError) as error:
        config.override(default, [assignment])
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("line", "body", "message"),
    [
        ("from tfeff.config import Experiment, Prediction", "Experiment()", "line 1: tfeff.config.Prediction is now"),
        ("from tfeff.config import *", "Experiment(prediction=Prediction(shift=1))", "is now tfeff.config.TTA"),
        ("from tfeff import config", "config.RCNN(data=config.Objects())", "is now tfeff.config.DetectionData"),
        ("from tfeff.config import RCNN, Features", "RCNN()", "is now tfeff.config.RegionFeatures"),
        ("from tfeff.data.augmentation import Augmentation", "0", "import Augmentation from tfeff.config"),
        ("from tfeff.data.box_augmentation import BoxAugmentation", "0", "import BoxAugmentation from tfeff.config"),
        (
            "from tfeff.config import *",
            "Experiment(prediction=TTA())",
            'no key "prediction"; it is now called "task.tta"',
        ),
        ("from tfeff.config import Experiment, Task", "0", "is now tfeff.config.Classification or tfeff.config.Local"),
        (
            "from tfeff.config import *",
            "Experiment(data=Data(augmentation=Augmentation()))",
            'Data has no key "augmentation"; it is now called "task.augmentation"',
        ),
        (
            "from tfeff.config import *",
            "RCNN(windows=Windows(most=5))",
            'no key "most"; it is now called "max_windows"',
        ),
        (
            "from tfeff.config import *",
            'RCNN(data=DetectionData(on_defect="mend"))',
            "data.on_defect is 'mend'; it should be \"fix\"",
        ),
    ],
)
def test_python_configs_with_old_names_are_errors(tmp_path, line, body, message):
    path = tmp_path / "old.py"
    path.write_text(f"{line}\n\ndef get_config():\n    return {body}\n")
    with pytest.raises(UserError) as error:
        config.load(path, config.Experiment, config.RCNN)
    assert str(error.value).startswith(str(path))
    assert message in str(error.value)
