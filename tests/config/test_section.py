"""Sections that are descriptions of networks: each setting exists once, and is chosen and changed like all others."""

import dataclasses
import subprocess
import sys
import typing
from pathlib import Path

import numpy as np
import pytest

from tfeff import config
from tfeff.config import schema, section, task_parts, tasks
from tfeff.config.family import Family
from tfeff.errors import UserError
from tfeff.networks import Architecture, Detector
from tfeff.networks.catalog import BACKBONES, DETECTORS
from tfeff.networks.detectors.rcnn import RCNN

NEITHER = {
    "name",  # selects a task, an optimizer, a schedule
    "hidden",  # layers of the localizer's box head, which is no detector's
    "grid",  # cells that this head reads; R-CNN's are those of its features
}


def fields(kinds: set[type]) -> set[str]:
    return {field.name for kind in kinds for field in dataclasses.fields(kind)}


def below(kind: type) -> set[type]:
    return {kind, *(deeper for child in kind.__subclasses__() for deeper in below(child))}


def test_what_describes_a_network_is_defined_once() -> None:
    modules = schema.__name__, tasks.__name__, task_parts.__name__
    sections = {kind for kind in below(section.Section) if kind.__module__ in modules}
    assert fields(sections) & fields(below(Architecture) | below(Detector) | {RCNN}) == NEITHER


def test_what_describes_a_neck_is_defined_once() -> None:
    neck = {name for name in fields(below(Detector)) if name.startswith(("neck", "fusion", "anchor"))}
    sections = {kind for kind in below(section.Section) if kind.__module__ in (tasks.__name__, task_parts.__name__)}
    words = {word.removeprefix("neck_") for word in neck}
    assert fields(sections) & (neck | words) == set()


def test_a_field_with_another_default_keeps_its_limit() -> None:
    for kind in below(section.Section):
        hints = typing.get_type_hints(kind, include_extras=True)
        for base in kind.__bases__:
            for name, hint in typing.get_type_hints(base, include_extras=True).items():
                if getattr(hint, "__metadata__", ()):
                    assert hints[name] == hint, f"{kind.__name__}.{name}"


def test_values_of_numpy_and_paths_are_plain_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    given = {
        "seed": np.int64(3),
        "optimizer.learning_rate": np.float32(0.5),
        "schedule.warmup_epochs": np.int32(2),
        "schedule.boundaries": np.arange(1, 4),
        "training.recompute_statistics": np.bool_(True),
        "model.resolution": np.arange(64, 65)[0],
        "model.weights": Path("~/x"),
        "task.teacher.runs": [Path("a"), "b"],
    }
    plain = {
        "seed": 3,
        "optimizer.learning_rate": 0.5,
        "schedule.warmup_epochs": 2.0,
        "schedule.boundaries": (1.0, 2.0, 3.0),
        "training.recompute_statistics": True,
        "model.resolution": 64,
        "model.weights": "/home/me/x",
        "task.teacher.runs": ("a", "b"),
    }
    settings = config.override(config.Experiment(), given)
    assert settings == config.override(config.Experiment(), plain)
    assert config.to_json(settings) == config.to_json(config.override(config.Experiment(), plain))
    assert config.Schedule(boundaries=np.arange(2)) == config.Schedule(boundaries=(0.0, 1.0))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("key", "value"), [("seed", np.float64(3.5)), ("seed", np.bool_(True)), ("seed", np.arange(2)), ("seed", Path("3"))]
)
def test_other_values_of_numpy_and_paths_are_refused(key: str, value: object) -> None:
    with pytest.raises(UserError, match=f"{key} is .* it should be an integer"):
        config.override(config.Experiment(), {key: value})


def test_a_tilde_in_any_text_means_the_home_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    windows, features = task_parts.Windows(directory="~/windows"), task_parts.RegionFeatures(directory="~")
    task = config.RCNNSettings(windows=windows, features=features)
    settings = config.Experiment(task=task, data=config.Data(cache_directory="~/cache", groups="~(.*)_"))
    settings = config.replaced(settings, {"task.proposals.directory": "~/proposals"})
    found = config.flatten(settings)
    assert found["task.windows.directory"] == "/home/me/windows"
    assert found["task.features.directory"] == "/home/me"
    assert found["task.proposals.directory"] == "/home/me/proposals"
    assert found["data.cache_directory"] == "/home/me/cache"
    assert found["data.groups"] == "~(.*)_"
    assert task_parts.Teacher(runs=("~/a", "b~/c")).runs == ("/home/me/a", "b~/c")


def test_configs_need_neither_keras_nor_tensorflow() -> None:
    code = "import tfeff.config, sys; print([name for name in ('keras', 'tensorflow') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", [name for family in BACKBONES.values() for name in family])
def test_the_name_of_a_backbone_selects_its_description(name: str) -> None:
    published = config.architecture(name)
    experiment = config.override(config.Experiment(), [f"model.name={name}"])
    assert experiment.model == published
    assert config.from_json(config.to_json(experiment), config.Experiment) == experiment
    assert config.from_json(f'{{"model": {{"name": "{name}"}}}}', config.Experiment) == experiment


@pytest.mark.parametrize("name", [name for family in DETECTORS.values() for name in family])
def test_the_name_of_a_detector_selects_its_description(name: str) -> None:
    published = config.detector(name)
    (task,) = (task.name for task in tasks.TASKS.values() if type(getattr(task, "network", None)) is type(published))
    experiment = config.override(config.Experiment(), [f"task.network.name={name}", f"task.name={task}"])
    assert experiment.task.network == published
    assert not any("backbone" in key or "task.network.resolution" in key for key in config.flatten(experiment))
    changed = config.override(experiment, ["task.network.head_repeats=7"])
    assert changed.task.network == config.detector(name, head_repeats=7)
    assert config.from_json(config.to_json(changed), config.Experiment) == changed
    described = changed.task.describe(config.architecture("mobilenet-v2", resolution=96))
    assert (described.backbone.name, described.resolution, described.head_repeats) == ("mobilenet-v2", 96, 7)


def test_another_name_keeps_what_was_set_and_what_both_have() -> None:
    given = ["model.resolution=64", "model.width=5", "model.weights=w.npz"]
    experiment = config.override(config.Experiment(), given)
    changed = config.override(experiment, ["model.name=efficientnet-b3"])
    assert changed.model == config.architecture("efficientnet-b3", resolution=64, weights="w.npz")
    wide = config.override(experiment, ["model.name=resnet50"])
    assert wide.model == config.architecture("resnet50", resolution=64, width=5, weights="w.npz")


def test_another_task_keeps_what_was_set_of_its_network() -> None:
    given = ["task.name=yolo", "task.network.aspect=1.5", "task.network.neck=fpn", "task.network.bins=9"]
    experiment = config.override(config.Experiment(), given)
    assert experiment.task.network == config.detector("yolo", aspect=1.5, neck="fpn", bins=9)
    changed = config.override(experiment, ["task.name=efficientdet", "task.network.name=efficientdet-lite2"])
    assert changed.task.network == config.detector("efficientdet-lite2", aspect=1.5, neck="fpn")


def test_json_with_some_keys_changes_the_default_of_the_name() -> None:
    text = '{"task": {"name": "faster_rcnn", "network": {"aspect": 1}, "suppression": {"overlap": 0.4}}}'
    task = config.from_json(text, config.Experiment).task
    assert task.network == config.detector("faster-rcnn", aspect=1.0)
    assert task.suppression == config.Suppression(overlap=0.4, minimum_score=0.05)  # as in Faster R-CNN


@pytest.mark.parametrize(
    ("assignments", "message"),
    [
        (["model.squeeze_ratio=0"], 'model has no key "squeeze_ratio"; it requires model.name=efficientnet-b0 or'),
        (["model.widht=3"], 'model has no key "widht"; did you mean "width"'),
        (["model.name=resnet51"], "model.name is 'resnet51'; did you mean \"resnet50\""),
        (["model.resolution=4"], "config: model.resolution 4: must be an integer, at least 8"),
        (["model.resolution=x"], "model.resolution is 'x'; it should be an integer"),
        (["model.std=0"], "config: model.std (0.0,): every standard deviation must be above 0"),
        (
            ["model.mean=1,2,3", "model.weights=imagenet"],
            'config: model.mean: omit it: the network takes that of the weights "imagenet"',
        ),
        (
            ["model.std=1,2,3", "model.weights=w.pth"],
            'config: model.std: omit it: the network takes that of the weights "w.pth"',
        ),
        (["model.mean=1,2"], "config: model.mean: 2 per-channel statistics for images with 3 channels"),
        (["task.name=grid", "task.network.bins=3"], 'task.network has no key "bins"'),
        (["task.name=grid", "task.network.name=yolo"], "task.network.name is 'yolo'"),
        (["task.name=grid", "task.network.backbone=yolo"], 'task.network has no key "backbone"'),
        (["task.name=yolo", "task.network.neck=panets"], 'config: task.network: no neck "panets"'),
        (
            ["task.name=yolo", "task.network.neck_depth_coefficient=0"],
            "config: task.network.neck_depth_coefficient 0.0: must be above 0",
        ),
        (
            ["task.name=efficientdet", "task.network.anchor_size=0"],
            "config: task.network.anchor_size 0.0: every value must be above 0",
        ),
        (["task.network.neck=fpn"], 'task has no key "network"; it requires task.name=efficientdet or retinanet or'),
        (["task.network=fpn", "task.name=yolo"], "task.network is a section; set one of its keys: name, aspect"),
        (["model=resnet"], "model is a section; set one of its keys: name, weights"),
    ],
)
def test_errors_name_the_key(assignments: list[str], message: str) -> None:
    with pytest.raises(UserError) as error:
        config.override(config.Experiment(), assignments)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        (config.Experiment, '{"task": {"name": []}}', r"f.json.task.name is \[\]; known: "),
        (config.Experiment, '{"model": {"name": {}}}', r"f.json.model.name is \{\}; known: "),
        (Family, '{"alpha": 1.2}', "f.json: no value for beta, gamma; add them"),
    ],
)
def test_edited_files_have_messages(kind: type, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        config.from_json(text, kind, where="f.json")


def test_the_backbone_of_a_detector_is_the_section_model() -> None:
    with pytest.raises(UserError, match=r"task\.network: omit its backbone and resolution"):
        config.YoloSettings(network=config.detector("yolo", resolution=640))
    with pytest.raises(UserError, match=r"task\.network\.name is 'mine'"):
        config.YoloSettings(network=dataclasses.replace(config.detector("yolo"), name="mine"))


def test_given_anchors_are_not_replaced() -> None:
    network = config.detector("anchor-yolo", anchors=(0.1,) * 18)
    with pytest.raises(UserError, match=r"task\.anchors_per_level is 3; it should be none"):
        config.AnchorYoloSettings(network=network)
    assert config.AnchorYoloSettings(network=network, anchors_per_level=None).network == network
    with pytest.raises(UserError, match=r"task\.anchors_per_level is None; it should be a number"):
        config.AnchorYoloSettings(anchors_per_level=None)


@pytest.mark.parametrize(("levels", "count"), [(("P3", "P4"), 3), (("P2", "P3", "P4", "P5"), 3), (("P4",), 5)])
def test_anchors_of_any_levels_can_be_found(levels: tuple[str, ...], count: int) -> None:
    network = config.detector("anchor-yolo", levels=levels)
    section = config.AnchorYoloSettings(network=network, anchors_per_level=count)
    described = section.describe(config.architecture("resnet"))
    assert described.per_position == count
    assert section.with_network(described) == section


def test_a_section_takes_another_detector_of_its_task() -> None:
    network = config.detector("efficientdet-lite0", neck_channels=8)
    described = dataclasses.replace(network, backbone=config.architecture("resnet"))
    section = config.EfficientDetSettings().with_network(described)
    assert section.describe(described.backbone) == described


def test_a_description_takes_its_normalization_from_the_config() -> None:
    given = ["model.mean=1,2,3", "model.std=4,5,6", "task.name=yolo"]
    described = config.override(config.Experiment(), given).description
    assert (described.backbone.mean, described.backbone.std) == ((1.0, 2.0, 3.0), (4.0, 5.0, 6.0))


@pytest.mark.parametrize(
    ("text", "patterns"),
    [
        ("none", ()),
        ("()", ()),
        ("stem*, head*", ("stem*", "head*")),
        ("[stem*,head*]", ("stem*", "head*")),
        ('["stem*", "head*"]', ("stem*", "head*")),
        ("[st]em*,stage[12]", ("[st]em*", "stage[12]")),
        ("none*", ("none*",)),
    ],
)
def test_a_list_in_a_flag(text: str, patterns: tuple[str, ...]) -> None:
    assert config.override(config.Experiment(), [f"optimizer.frozen={text}"]).optimizer.frozen == patterns


@pytest.mark.parametrize(
    ("base", "override", "words"),
    [
        (config.Experiment(), "seed=-1", "config: seed is -1"),
        (config.Experiment(), "schedule.name=step", "config: schedule.boundaries is (); it should be epochs"),
        (config.Experiment(), "schedule.boundaries=a", "a list; each item should be a number"),
        (config.Experiment(), "task.augmentation.rotation=-400", "config: task.augmentation.rotation"),
        (config.Sweep(axes=("model.dropout=0|0.1",)), "axes=", "config: axes is ()"),
    ],
)
def test_messages_name_the_key_that_was_set(base: config.Experiment, override: str, words: str) -> None:
    with pytest.raises(UserError) as error:
        config.override(base, [override])
    assert words in str(error.value)
