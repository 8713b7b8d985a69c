"""Validation of experiments."""

import pytest

from tfeff import config
from tfeff.errors import UserError

LOCALIZATION = config.LocalizationSettings()


@pytest.mark.parametrize(
    ("assignments", "words"),
    [
        (["task.box_weight=2"], 'task has no key "box_weight"; it requires task.name=localization'),
        (["task.name=localization", "task.tta.shift=1"], 'task has no key "tta"; it requires task.name=classification'),
        (["task.augmentation.mixup_alpha=0.1", "task.name=localization"], 'task.augmentation has no key "mixup_alpha"'),
        (["task.name=localisation"], "task.name is 'localisation'; did you mean \"localization\"?"),
        (["task.label_smooting=0.1"], 'did you mean "label_smoothing"?'),
    ],
)
def test_flags_for_keys_of_another_task_are_errors(assignments, words):
    with pytest.raises(UserError) as error:
        config.override(config.Experiment(), assignments)
    assert words in str(error.value)


def test_json_for_keys_of_another_task_is_an_error():
    with pytest.raises(UserError, match=r'no key "hidden"; it requires task.name=localization'):
        config.from_json('{"task": {"name": "classification", "hidden": [3]}}', config.Experiment)
    with pytest.raises(UserError, match=r"task.name is 'detection'"):
        config.from_json('{"task": {"name": "detection"}}', config.Experiment)


def test_a_change_of_the_task_keeps_the_keys_that_both_have():
    experiment = config.Experiment(task=config.ClassificationSettings(label_smoothing=0.1, tta=config.TTA(shift=1)))
    changed = config.override(experiment, ["task.hidden=64,32", "task.name=localization"])
    assert changed.task == config.LocalizationSettings(label_smoothing=0.1, hidden=(64, 32))
    assert config.override(experiment, ["task.name=classification"]) == experiment
    restored = config.from_json(config.to_json(changed), config.Experiment)
    assert restored == changed
    detector = config.override(config.Experiment(task=config.YoloSettings(max_objects=7)), ["task.name=efficientdet"])
    assert detector.task == config.EfficientDetSettings(max_objects=7)  # with its own default weights of the loss
    assert ("task.tta.shift", 1, None) in config.differences(experiment, changed)
    assert ("task.hidden", None, (64, 32)) in config.differences(experiment, changed)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"name": "classification"}, "task.name is 'classification'; it should be \"localization\""),
        ({"augmentation": config.BoxAugmentation(mosaic=0.5)}, "without mosaic"),
        ({"augmentation": config.BoxAugmentation(mixup=0.5)}, "without mosaic, mixup"),
        ({"augmentation": config.BoxAugmentation(copy_paste=0.5)}, "without mosaic, mixup and copy_paste"),
        ({"class_weight": 0.0, "box_weight": 0.0}, "the loss would always be 0"),
        ({"box_weight": -1.0}, "0 or more"),
        ({"grid": 0}, "above 0"),
        ({"hidden": (8, 0)}, "numbers above 0"),
    ],
)
def test_errors_of_wrong_values(keys, words):
    with pytest.raises(UserError) as error:
        config.LocalizationSettings(**keys)
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("assignments", "words"),
    [
        (["task.center_crop=0"], "task.center_crop is 0.0; it should be above 0"),
        (["task.center_crop=1.2"], "between 0 and 1"),
        (["task.center_crop=0.9", "task.crop=true"], "task.crop is True; it should be false with task.center_crop"),
        (["task.center_crop=0.9", "task.augmentation.crop_padding=2"], "without crop_padding"),
        (["task.interpolation=cubic"], '"bilinear" or "bicubic"'),
        (
            ["data.image_size=original", "task.center_crop=0.9", "data.reduced_decoding=true"],
            "with data.image_size=original, images are not reduced",
        ),
        (["data.image_size=original"], "only task.center_crop keeps the sizes of images"),
        (["data.image_size=0"], "above 0"),
        (["data.image_size=large", "task.center_crop=0.9"], 'an integer or "original" or none'),
    ],
)
def test_errors_of_how_images_are_cropped(assignments, words):
    with pytest.raises(UserError) as error:
        config.override(config.Experiment(), assignments)
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("assignments", "words"),
    [
        (["data.reduced_decoding=true"], "data.reduced_decoding is True; it should be false"),
        (["data.image_size=512"], "data.image_size is 512; it should be none"),
        (["data.image_size=original"], "data.image_size is 'original'; it should be none"),
        (["data.cache=disk", "data.cache_directory=/tmp"], "data.cache is 'disk'; it should be \"none\""),
    ],
)
def test_whole_images_from_which_regions_are_cut_are_neither_reduced_nor_kept(assignments, words):
    settings = config.override(config.Experiment(task=config.RCNNSettings()), ["data.cache=none"])
    with pytest.raises(UserError) as error:
        config.override(settings, assignments)
    assert f"{words}: task.name=rcnn cuts regions from whole images" in str(error.value)


def test_whole_images_from_which_crops_are_cut_are_not_reduced():
    with pytest.raises(UserError, match=r"data.reduced_decoding is True; it should be false: crops are cut from whole"):
        config.override(config.Experiment(), ["data.source=crops:voc:pets", "data.reduced_decoding=true"])


def test_batches_of_regions_have_room_for_background():
    settings = config.Experiment(task=config.RCNNSettings())
    with pytest.raises(UserError) as error:
        config.override(settings, ["training.batch_size=100"])
    assert str(error.value) == "config: task.joint.positives is 100; it should be below training.batch_size = 100"
    config.override(settings, ["training.batch_size=101"])


@pytest.mark.parametrize(
    ("head", "change"),
    [
        *((head, change) for head in ("classic", "sliding_window") for change in ("hidden=8", "dropout=0", "l1=0.1")),
        ("classic", "class_boxes=true"),
        ("sliding_window", "grid=2"),
    ],
)
def test_settings_that_a_head_does_not_use_are_refused(head, change):
    flags = ["task.name=rcnn", f"task.network.{change}"]
    config.override(config.Experiment(), flags)
    with pytest.raises(UserError, match=f"task.network.{change.split('=')[0]} is .*head={head} does not use it"):
        config.override(config.Experiment(), [*flags, f"task.network.head={head}"])


def test_hard_suppression_has_no_sigma():
    with pytest.raises(UserError, match=r"task.suppression.sigma is 0.3; it should be 0.5, or set .*kind=gaussian"):
        config.Suppression(sigma=0.3)
    assert config.Suppression(kind="gaussian", sigma=0.3).sigma == 0.3


def test_plain_epochs_require_augmented_epochs():
    strong = config.Augmentation(horizontal_flip=True, rotation=10)
    experiment = config.Experiment(task=config.ClassificationSettings(augmentation=strong, plain_epochs=3))
    with pytest.raises(UserError, match=r"task.plain_epochs is 3; it should be at most training.epochs = 2"):
        config.override(experiment, ["training.epochs=2", "schedule.warmup_epochs=0"])
    with pytest.raises(UserError, match=r"task.plain_epochs is 3; it should be 0, because there is no augmentation"):
        config.override(experiment, ["task.augmentation.rotation=0"])
    given = config.override(experiment, ["task.augmentation.rotation=0", "data.augment=shadows"])
    assert given.task.plain_epochs == 3


def test_a_teacher_must_be_imitated_in_something():
    with pytest.raises(UserError, match=r"task.teacher.weight is 0.0; it should be above 0, or set task.teacher.feat"):
        config.override(config.Experiment(), ["task.teacher.runs=a", "task.teacher.weight=0"])
    config.override(config.Experiment(), ["task.teacher.runs=a", "task.teacher.weight=0", "task.teacher.features=1"])
    with pytest.raises(UserError, match=r"task.teacher.features is 1.0; it should be 0: detectors imitate boxes"):
        config.override(config.Experiment(task=config.YoloSettings()), ["task.teacher.features=1"])


def test_which_tasks_a_search_can_have():
    localizer = config.Experiment(task=LOCALIZATION)
    with pytest.raises(UserError, match=r"task.name is 'localization'; it should be that of a classifier or"):
        config.Search(experiment=localizer)
    detector = config.Experiment(task=config.YoloSettings())
    assert config.Search(experiment=detector).experiment.task.name == "yolo"


def test_the_default_task_is_classification():
    experiment = config.Experiment()
    assert config.from_json('{"seed": 0}', config.Experiment) == experiment
    assert experiment.task.name == "classification"
    assert config.override(experiment, ["task.name=localization", "task.hidden=64,32"]).task.hidden == (64, 32)


def test_all_lengths_that_exceed_the_training_are_named_at_once() -> None:
    values = {"training.epochs": 1, "schedule.warmup_epochs": 2, "task.plain_epochs": 3}
    values |= {"task.augmentation.brightness": 0.1}
    with pytest.raises(UserError) as raised:
        config.override(config.Experiment(), values)
    assert str(raised.value) == (
        "config: training.epochs = 1 is too short for schedule.warmup_epochs = 2.0, task.plain_epochs = 3; add "
        "--config.schedule.warmup_epochs=0 --config.task.plain_epochs=0"
    )


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["task.name=yolo", "task.teacher.runs=a", "task.teacher.temperature=3"], "task.teacher.temperature is 3.0"),
        (["task.name=faster_rcnn", "task.teacher.runs=a"], "task.teacher.runs is .* two stages cannot imitate"),
        (["task.name=fast_rcnn", "task.network.sampling=3"], "omit sampling and aligned"),
        (["task.name=fast_rcnn", "task.network.aligned=true"], "omit sampling and aligned"),
    ],
)
def test_settings_without_effect_on_a_detector_are_refused(overrides, message):
    with pytest.raises(UserError, match=message):
        config.override(config.Experiment(), overrides)
