"""The recipes for a user's own images, with labels and with boxes."""

import dataclasses
import io
import json
import shutil
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import tfeff
from tests.models.weights.coco_archive import write_archive
from tests.rcnn.voc_digits import write_voc
from tests.thoroughness import only_thorough, thorough
from tests.verbs import ROOT
from tfeff import api, checked, config, models, selection, training
from tfeff.budget import candidates
from tfeff.config.tasks import TASKS
from tfeff.data.input.cache import ImageCache
from tfeff.errors import UserError
from tfeff.models import architecture
from tfeff.models.rcnn import build_rcnn
from tfeff.models.weights import coco
from tfeff.models.weights.coco import CLASS_NAMES
from tfeff.recipes import WarmStart, dense, own
from tfeff.recipes.image_set import AnnotatedImages, LabeledImages, counted_images
from tfeff.tasks.suppression import suppress
from tfeff.training import checks
from tfeff.training.agreement import Agreement
from tfeff.training.interruption import Interruption
from tfeff.training.preparation import Preparation, Prepared
from tfeff.training.stored import FeatureCache

pytestmark = pytest.mark.slow

PATH = ROOT / "configs" / "own_images.py"
TINY = (
    "--config.model.weights=none",
    *("--config.training.epochs=1", "--config.task.tta.mirrored=false"),
)


@pytest.fixture
def root(image_folder) -> Path:
    return image_folder({"train/ant": 20, "train/bee": 20, "test/ant": 4, "test/bee": 4}, size=(40, 48))


def test_training_prints_and_saves_what_it_chose_and_resumes_with_it(verbs, root, tmp_path):
    workdir, damaged = tmp_path / "run", next(root.rglob("train/*/*"))
    damaged.write_bytes(damaged.read_bytes()[:-20])
    command = ("train", f"--config={PATH}", f"--workdir={workdir}", f"--config.data.source=folder:{root}", *TINY)
    done = verbs(*command).succeeds()
    assert f"skipped a corrupt image: {damaged}" in done.out
    table = done.out.split(":\n")[1].partition("\n\n")[0]
    for row in (["training.batch_size", "8"], ["model.name", "resnet"], ["model.resolution", "32"]):
        assert any(line.split()[:2] == row for line in table.splitlines()), done.out
    assert "training.epochs" not in table
    saved = config.load(workdir / "config.json", config.Experiment)
    assert (saved.training.batch_size, saved.model.resolution, saved.training.epochs) == (8, 32, 1)
    assert (workdir / "saved_model").is_dir()
    assert json.loads((workdir / "result.json").read_text())

    # As if something else had been chosen then, which would not be chosen now.
    path = workdir / "config.json"
    assert '"cache": "memory"' in path.read_text()
    record = checked.read_json(path, "")
    checked.write_json(path, record | {"data": record["data"] | {"cache": "none"}})
    again = verbs(*command, "--config.training.epochs=2", "--noevaluate").succeeds()
    assert "keeping the values that were chosen when this run began" in again.out
    resumed = config.load(path, config.Experiment)
    assert (resumed.data.cache, resumed.training.epochs) == ("none", 2)
    other = verbs(*command, "--config.training.epochs=2", "--config.seed=5")
    other.fails_with("belongs to another config", "seed: saved 0, now 5")
    moved = shutil.copytree(root, tmp_path / "other")
    elsewhere = verbs(*command, "--config.training.epochs=2", f"--config.data.source=folder:{moved}")
    elsewhere.fails_with("belongs to another config", "data.source: saved")


def test_a_workdir_of_other_images_is_refused(root, tmp_path):
    """In Python, the source is an argument of the recipe, not an override; so are all values of an edited recipe."""
    workdir, overrides = tmp_path / "run", {"model.weights": None, "training.epochs": 1}
    recipe = tfeff.own_images(f"folder:{root}", overrides)
    settings, _ = api.complete(recipe, workdir, quiet=True)
    with config.claimed(workdir, settings):
        (workdir / "metrics.jsonl").touch()
    assert api.complete(recipe, workdir, quiet=True)[0] == settings
    # As if something else had been chosen then; and a value that was set then is kept.
    then = config.replaced(settings, {"training.batch_size": 3})
    checked.write_json(workdir / "config.json", json.loads(config.to_json(then)))
    again = tfeff.own_images(f"folder:{root}", {"model.weights": None})
    assert api.complete(again, workdir, quiet=True)[0] == then

    moved = shutil.copytree(root, tmp_path / "other")
    elsewhere = api.complete(tfeff.own_images(f"folder:{moved}", overrides), workdir, quiet=True)[0]
    assert elsewhere.data.source == f"folder:{moved}"  # which `claimed` refuses
    assert elsewhere.training.batch_size == 3
    base = config.replaced(recipe.base, {"task.augmentation.horizontal_flip": False})
    edited = api.complete(dataclasses.replace(recipe, base=base), workdir, quiet=True)[0]
    assert not edited.task.augmentation.horizontal_flip


@pytest.mark.parametrize(
    ("count", "overrides", "expected"),
    [
        (30, ("model.weights=none",), {"model.name": "resnet", "training.batch_size": 8, "optimizer.frozen": ()}),
        (600, ("model.weights=none",), {"training.batch_size": 32, "training.epochs": 56}),
        (30, ("model.weights=none", "training.batch_size=5"), {"training.batch_size": 5}),
        (
            30,
            ("model.weights=none", "model.name=mobilenet-v2"),
            {"model.name": "mobilenet-v2", "model.bn_momentum": 0.984},  # 300 updates
        ),
        (
            30,
            ("model.weights=w.npz", "model.name=resnet"),
            {"model.weights": "w.npz", "model.width": 12},
        ),
        (
            30,
            ("model.weights=none", "model.name=mobilenet-v2", "model.bn_momentum=0.999"),
            {"model.bn_momentum": 0.999},
        ),
        (30, ("model.weights=none", "model.resolution=24"), {"model.resolution": 24, "data.image_size": 24}),
        # defaults of the network that another one replaces
        (30, ("model.weights=none", "model.resolution=224"), {"model.resolution": 224, "data.image_size": 224}),
        (30, ("model.weights=none", "model.dropout=0.2"), {"model.dropout": 0.2}),
        # the network's own resolution, although the rule would choose another one
        (30, ("model.resolution=224",), {"model.resolution": 224, "data.image_size": 224}),
        (30, ("model.weights=none", "task.crop=false", "task.center_crop=0.875"), {"data.image_size": None}),
        (30, ("model.weights=none",), {"optimizer.freeze_normalization": False}),
        (30, ("model.weights=imagenet", "optimizer.frozen="), {"optimizer.freeze_normalization": True}),
        (490, ("model.weights=imagenet",), {"optimizer.freeze_normalization": False, "training.epochs": 10}),
        (490, ("model.weights=imagenet",), {"training.feature_variants": 2}),
        (490, ("model.weights=imagenet", "training.epochs=1"), {"training.feature_variants": 1}),
        (500, ("model.weights=imagenet",), {"training.feature_variants": None}),
        (30, ("model.weights=imagenet", "optimizer.frozen=stage*"), {"training.feature_variants": None}),
        (30, ("model.weights=imagenet", "training.rematerialize=true"), {"training.feature_variants": None}),
        (30, ("model.weights=none",), {"training.feature_variants": None}),
        (
            500,
            ("model.weights=imagenet",),
            {"optimizer.freeze_normalization": True, "optimizer.frozen": (), "training.epochs": 26},
        ),
        (
            2_000,
            ("model.weights=imagenet",),
            {
                "optimizer.freeze_normalization": True,
                "optimizer.frozen": (),
                "training.batch_size": 32,
                "training.epochs": 13,
            },
        ),
        (2_000, ("model.weights=imagenet", "optimizer.transfer=auto"), {"optimizer.freeze_normalization": True}),
        (30, ("model.weights=w.npz",), {"optimizer.learning_rate_factors": ("*=0.1", "head_classifier*=1")}),
        (30, ("model.weights=w.npz", "optimizer.transfer=auto"), {"optimizer.learning_rate_factors": ()}),
    ],
)
def test_choices(image_folder, count, overrides, expected):
    root = image_folder({f"train/{name}": count // 2 for name in ("ant", "bee")}, size=(8, 8))
    recipe = config.load_recipe(PATH, config.Experiment)
    settings, _ = config.complete(recipe, [f"data.source=folder:{root}", *overrides])
    values = config.flatten(settings)
    assert {key: values.get(key) for key in expected} == expected


@pytest.mark.parametrize(("loss", "balanced"), [("normalized_softmax", True), ("supervised_contrastive", False)])
def test_an_embedder_is_trained_on_images_of_very_different_classes(image_folder, loss, balanced):
    root = image_folder({"train/ant": 30, "train/bee": 6}, size=(8, 8))
    recipe = config.load_recipe(PATH, config.Experiment)
    changes = "task.name=embedding", f"task.loss={loss}", "data.validation_fraction=0.2", "model.weights=none"
    settings, _ = config.complete(recipe, [f"data.source=folder:{root}", *changes])
    assert (settings.data.class_balanced, settings.task.dimension) == (balanced, 128)
    checks.check(training.Plan.of(settings), 1, new_run=True)


def test_an_embedding_may_be_tested_on_classes_that_are_not_trained_on(image_folder):
    root = image_folder({"train/ant": 15, "train/bee": 15, "test/wasp": 4}, size=(8, 8))
    recipe = config.load_recipe(PATH, config.Experiment)
    settings, _ = config.complete(recipe, [f"data.source=folder:{root}", "task.name=embedding", "model.weights=none"])
    assert settings.training.batch_size == 8


def test_a_missing_folder(verbs, tmp_path):
    done = verbs("train", f"--config={PATH}", f"--workdir={tmp_path / 'run'}", "--config.data.source=folder:nowhere")
    done.fails_with("own_images.py", "nowhere does not exist")
    assert not (tmp_path / "run").exists()


BOXES_PATH = ROOT / "configs" / "own_boxes.py"


@pytest.fixture
def source(tmp_path) -> str:
    write_voc(tmp_path / "voc", {"train": range(12), "test": range(12, 15)})
    return f"voc:{tmp_path / 'voc'}"


def completed(*overrides: str) -> tuple[config.Experiment, config.Choices]:
    return config.complete(config.load_recipe(BOXES_PATH, config.Experiment), overrides)


def test_choices_for_boxes(source):
    settings, choices = completed(f"data.source={source}", "model.weights=none")
    assert settings.task.name == "yolo"
    assert settings.description.backbone == dense.SMALL
    assert settings.data.validation_fraction == 0.15
    assert settings.training.epochs == settings.training.validation_epochs == 120
    assert settings.task.max_objects == choices["task.max_objects"].value == 10
    settings, _ = completed(f"data.source={source}", "model.weights=none", "model.resolution=224")
    assert settings.model.resolution == 224  # that of the network that another one replaces
    settings, _ = completed(f"data.source={source}", "model.resolution=96")
    assert (settings.model.name, settings.model.weights, settings.model.resolution) == (
        "efficientnet-lite0",
        "imagenet",
        96,
    )


@pytest.mark.parametrize(
    ("splits", "overrides", "expected"),
    [
        (("train", "val", "trainval", "test"), (), "trainval"),
        (("train", "val", "trainval", "test"), ("data.train_split=train",), "train"),
        (("train", "val", "trainval", "test"), ("data.validation_split=val",), "train"),
        (("train", "val", "trainval", "test"), ("task.name=rcnn",), "train"),
        (("train", "val", "test"), (), "train"),
        (("train", "val", "trainval", "test"), ("data.test_split=val",), "train"),
        (("train", "val", "trainval", "test"), ("data.test_split=none",), "trainval"),
    ],
)
def test_detectors_train_on_trainval_if_it_is_listed_beside_the_others(tmp_path, splits, overrides, expected):
    numbers = {"train": range(8), "val": range(8, 12), "trainval": range(12), "test": range(12, 15)}
    write_voc(tmp_path / "voc", {split: numbers[split] for split in splits})
    settings, choices = completed(f"data.source=voc:{tmp_path / 'voc'}", "model.weights=none", *overrides)
    assert settings.data.train_split == expected
    assert ("data.train_split" in choices) == (expected == "trainval")
    assert settings.data.validation_fraction == 0.15
    wanted = selection.request(settings)
    selection.check(wanted, selection.open_source(wanted))


def test_choices_follow_from_values_that_are_set(source, image_folder):
    settings, choices = completed(f"data.source={source}", "training.epochs=14", "training.batch_size=2")
    assert "training.epochs" not in choices
    assert (settings.training.validation_epochs, settings.task.plain_epochs) == (14, 2)
    assert settings.schedule.warmup_epochs == pytest.approx(14 / 30)
    root = image_folder({f"train/{name}": 500 for name in ("ant", "bee")}, size=(8, 8))
    recipe, updates = config.load_recipe(PATH, config.Experiment), []
    for size in (32, 64):
        flags = [f"data.source=folder:{root}", "model.weights=none", f"training.batch_size={size}"]
        settings, _ = config.complete(recipe, flags)
        updates.append(settings.training.epochs * (1000 // size))
    assert updates[0] == pytest.approx(updates[1], rel=0.1)


@pytest.mark.parametrize("name", ["efficientdet", "faster_rcnn"])
def test_other_detectors_are_trained_by_the_same_rules(source, name):
    yolo, settings = (completed(f"data.source={source}", f"task.name={each}")[0] for each in ("yolo", name))
    assert settings.task.name == name
    assert settings.optimizer == yolo.optimizer
    assert settings.training == yolo.training


def test_the_detector_of_a_run_is_trained_further(source, tmp_path):
    weights = saved(tmp_path / "run", "task.name=faster_rcnn", "task.network.neck_channels=32", resolution=96)
    settings, choices = completed(f"data.source={source}", weights)
    assert (settings.task.name, settings.task.network.neck_channels) == ("faster_rcnn", 32)
    assert choices["task.name"].why.startswith("the detector of ")
    assert completed(f"data.source={source}", weights, "task.name=yolo")[0].task.name == "yolo"
    assert completed(f"data.source={source}", weights, "task.max_objects=20")[0].task.name == "yolo"  # of its section
    proposals = saved(
        tmp_path / "proposals", "task.name=fast_rcnn", f"task.proposals.directory={tmp_path}", resolution=96
    )
    settings, choices = completed(f"data.source={source}", proposals)
    assert (settings.task.name, choices["task.name"]) == ("yolo", dense.DETECTOR)
    assert settings.task.augmentation == own.detectors(source).task.augmentation


@pytest.fixture
def small_objects(tmp_path) -> str:
    """Images of 320x240 pixels: a class of squares of 16 to 24 pixels, and one of 100."""
    rows = [f"{n % 4}.png,cell,{30 * n},5,{30 * n + 16 + n},{21 + n}" for n in range(9)]
    rows += [f"{n}.png,other,100,100,200,200" for n in range(4)]
    for number in range(4):
        Image.fromarray(np.zeros((240, 320, 3), np.uint8)).save(tmp_path / f"{number}.png")
    (tmp_path / "boxes.csv").write_text("\n".join(["image,label,xmin,ymin,xmax,ymax", *rows]))
    return f"csv:{tmp_path / 'boxes.csv'}"


@pytest.mark.parametrize(("name", "size"), [("efficientdet", 17 / 8), ("retinanet", 17 / 8), ("faster_rcnn", 17 / 4)])
def test_anchors_fit_the_objects_unless_they_are_set_or_trained(small_objects, tmp_path, name, size):
    """A tenth of the objects, classes counted equally, has at most 17 pixels."""
    flags = f"data.source={small_objects}", "data.train_split=all", "data.validation_fraction=0", f"task.name={name}"
    settings, choices = completed(*flags, "model.weights=none")
    fitted = choices["task.network.anchor_size"].value
    assert settings.task.network.anchor_size == fitted == pytest.approx(size, abs=0.06)
    assert "17 to 100 pixels" in choices["task.network.anchor_size"].why
    settings, choices = completed(*flags, "model.weights=none", "task.network.anchor_size=3")
    assert settings.task.network.anchor_size == 3
    assert "task.network.anchor_size" not in choices
    published = TASKS[name].network.anchor_size
    for weights in ("model.weights=coco", saved(tmp_path / "same", f"task.name={name}"), "model.weights=detector.npz"):
        settings, choices = completed(*flags, weights)
        assert settings.task.network.anchor_size == published
        assert "task.network.anchor_size" not in choices
    settings, _ = completed(*flags, saved(tmp_path / "other", "task.name=yolo", resolution=320))
    assert settings.task.network.anchor_size == fitted


def test_the_head_of_a_run_is_kept_unless_another_one_is_set(source, tmp_path):
    changes = "task.name=rcnn", "task.network.hidden=8", "task.network.grid=2"
    flags = f"data.source={source}", "task.name=rcnn", saved(tmp_path / "run", *changes, resolution=32)
    assert completed(*flags)[0].task.network.hidden == (8,)
    settings, _ = completed(*flags, "task.network.head=classic")
    assert settings.task.network == config.RCNN(head="classic")


def test_choices_for_regions(source):
    settings, choices = completed(f"data.source={source}", "model.weights=none", "task.name=rcnn")
    assert (settings.model.name, settings.model.resolution) == ("resnet", 48)
    assert settings.task.proposals.max_proposals in (250, 1000)
    assert "objects per image" in choices["task.vote_overlap"].why
    plain = own.regions(source)
    assert settings.optimizer == plain.optimizer
    assert settings.training == plain.training
    assert settings.schedule == plain.schedule
    settings, _ = completed(f"data.source={source}", "task.name=rcnn", "optimizer.learning_rate=0.5")
    assert settings.optimizer.learning_rate == 0.5


def test_a_network_that_is_set_is_trained_from_random_weights(source):
    settings, _ = completed(f"data.source={source}", "model.weights=none", "model.name=efficientnet-lite0")
    assert (settings.task.name, settings.model.name) == ("yolo", "efficientnet-lite0")


@pytest.mark.parametrize("steps", [4, 8])
def test_batches_are_multiples_of_accumulated_parts(source, steps):
    flags = f"data.source={source}", "model.weights=none", f"training.accumulation_steps={steps}"
    assert completed(*flags)[0].training.batch_size % steps == 0


def test_more_accumulated_parts_than_images_are_refused(source):
    flags = f"data.source={source}", "model.weights=none", "training.accumulation_steps=16"
    with pytest.raises(UserError, match=r"training\.accumulation_steps is too large: .* 16 images, more than the 10"):
        completed(*flags)
    assert completed(*flags, "training.batch_size=16")[0].training.batch_size == 16


@pytest.mark.parametrize("task", ["yolo", "rcnn"])
@pytest.mark.parametrize(("count", "trained"), [(2, 1), (3, 2), (4, 3)])
def test_one_of_few_images_is_held_out(tmp_path, task, count, trained):
    write_voc(tmp_path / "voc", {"train": range(count), "test": range(12, 15)})
    flags = f"data.source=voc:{tmp_path / 'voc'}", "model.weights=none", f"task.name={task}"
    settings, choices = completed(*flags)
    wanted = selection.request(settings)
    assert len(selection.trained_part(wanted, selection.open_source(wanted))[1]) == trained
    assert ("data.validation_fraction" in choices) == (count < 4)


def test_a_detector_needs_more_than_one_image(tmp_path):
    write_voc(tmp_path / "voc", {"train": range(1), "test": range(12, 15)})
    flags = f"data.source=voc:{tmp_path / 'voc'}", "model.weights=none"
    with pytest.raises(UserError, match="a single image to train on; add some"):
        completed(*flags)
    assert completed(*flags, "data.validation_fraction=0")[0].data.validation_fraction == 0


def photographed(count: int, shown: int) -> AnnotatedImages:
    """Returns images of two classes with three objects each."""
    shape = 3.0, 0.3, (0.1, 0.5), 1.5, (shown, shown), 5, 640, (1.0, 1.0, 1.0), 640, (640, 640), count
    return AnnotatedImages(count, shown, *shape)


def test_few_of_many_images_with_objects_are_trained_on_in_few_thousand_updates():
    base, model = own.detectors("voc:x"), architecture("resnet", resolution=320)
    for shown, epochs in ((20, 33), (10_000, 20)):
        settings = own.trained_for_images(base, base.task, model, photographed(10_000, shown))
        assert (settings.training.batch_size, settings.training.epochs) == (32, epochs)


@pytest.mark.parametrize(
    ("name", "weights", "momentum"),
    [("mobilenet-v2", None, 0.995), ("resnet", None, 0.9), ("efficientnet-lite0", "w.npz", 0.99)],
)
def test_batch_statistics_settle_in_the_updates_of_a_training(name, weights, momentum):
    model, labeled = architecture(name, weights=weights), LabeledImages(243, (122, 121), 333, 1.3, None, 243)
    bases = own.images("folder:x").base, own.detectors("voc:x")
    for base, counted in zip(bases, (labeled, photographed(243, 243)), strict=True):
        found = own.trained_for_images(base, base.task, model, counted).model.bn_momentum
        assert found == pytest.approx(momentum, abs=0.004)  # 1,005 and 2,500 updates from random weights
    kept = dataclasses.replace(model, weights="imagenet")
    if name == "mobilenet-v2":  # of a classifier's weights, the statistics are kept
        chosen = own.training_for_images(
            labeled, kept, WarmStart("imagenet", name, "imagenet", ""), bases[0].task, bases[0].optimizer, {}, 3
        )
        assert "model.bn_momentum" not in chosen


@pytest.mark.parametrize(
    ("resolution", "given", "size"), [(64, {}, 128), (256, {}, 32), (256, {"training.batch_size": 128}, 128)]
)
def test_batches_of_classifiers_fit_into_memory(resolution, given, size):
    """10,000 images, all layers of Lite0."""
    base, start = own.images("folder:x").base, WarmStart("imagenet", "efficientnet-lite0", "imagenet", "")
    model = architecture("efficientnet-lite0", weights="imagenet", resolution=resolution)
    counted = LabeledImages(10_000, (5_000, 5_000), 333, 1.3, None, 10_000)
    chosen = own.training_for_images(counted, model, start, base.task, base.optimizer, given, 3)
    assert given.get("training.batch_size", chosen["training.batch_size"].value) == size
    assert chosen["training.epochs"].value == 11  # as with batches of 128
    assert chosen["training.epochs"].why == f"{11 * (10_000 // size):,} updates"


@pytest.mark.parametrize(
    "overrides",
    [
        ("model.weights=none",),
        ("model.weights=none", "model.name=efficientnet-lite0"),
        thorough(("model.weights=none", "model.name=mobilenet-v2")),
        ("model.weights=w.npz",),
    ],
)
def test_the_chosen_network_of_regions_can_be_built(source, overrides):
    settings, _ = completed(f"data.source={source}", "task.name=rcnn", *overrides)
    build_rcnn(settings.description, num_classes=2)


def test_the_backbone_of_a_run_is_adopted(source, tmp_path):
    model = architecture("resnet", width=5, stage_blocks=(1, 2), resolution=24)
    (tmp_path / "crops").mkdir()
    (tmp_path / "crops" / "config.json").write_text(config.to_json(config.Experiment(model=model)))
    checkpoint = tmp_path / "crops" / "checkpoints" / "final.npz"
    checkpoint.parent.mkdir()
    checkpoint.touch()
    for weights in (tmp_path / "crops", checkpoint):
        settings, choices = completed(f"data.source={source}", f"model.weights={weights}", "task.name=rcnn")
        assert settings.description.backbone == model
        assert choices["model.width"].value == 5


def saved(workdir: Path, *overrides: str, **model: Any) -> str:
    """Writes the config of a run; returns what `model.weights` is then."""
    workdir.mkdir()
    settings = config.Experiment(model=architecture("resnet", width=5, stage_blocks=(1, 1, 1, 1), **model))
    (workdir / "config.json").write_text(config.to_json(config.override(settings, overrides)))
    return f"model.weights={workdir}"


def test_only_a_detector_of_whole_images_has_a_resolution_for_others(source, tmp_path):
    flags = f"data.source={source}", "task.name=yolo"
    usual, _ = completed(*flags)
    for name in ("classification", "rcnn"):
        weights = saved(tmp_path / name, f"task.name={name}", resolution=32)
        settings, choices = completed(*flags, weights)
        assert (settings.model.width, settings.model.resolution) == (5, usual.model.resolution)
        assert "the median object" in choices["model.resolution"].why
    settings, _ = completed(*flags, saved(tmp_path / "yolo", "task.name=yolo", resolution=96))
    assert (settings.model.width, settings.model.resolution) == (5, 96)


def test_neck_and_heads_of_a_run_are_adopted(source, tmp_path):
    network = ("neck_repeats=2", "head_repeats=1", "aspect=2", "anchor_scales=1.0")
    weights = saved(
        *(tmp_path / "run", "task.name=efficientdet", "task.network.name=efficientdet-d1", "task.stretch=true"),
        *(f"task.network.{each}" for each in network),
        resolution=96,
    )
    flags = f"data.source={source}", weights
    settings, choices = completed(*flags, "task.name=efficientdet", "task.network.head_repeats=3")
    found = settings.task.network
    assert (found.name, found.neck_repeats, found.head_repeats, found.anchor_scales) == (
        "efficientdet-d1", 2, 3, (1.0,)
    )  # fmt: skip
    assert found.neck_channels == config.detector("efficientdet-d1").neck_channels
    assert (found.aspect, settings.task.stretch) == (1.0, True)
    assert choices["task.network.neck_repeats"].why == f"the network of {tmp_path / 'run'}"
    settings, choices = completed(*flags, "task.name=efficientdet", "task.network.name=efficientdet-d0")
    assert settings.task.network == config.detector("efficientdet-d0")
    settings, choices = completed(*flags, "task.name=yolo")
    assert settings.task.network == config.YoloSettings().network
    assert choices["model.name"].why.endswith("its other layers are those of task.name=efficientdet")


@pytest.mark.parametrize(
    ("task", "backbone"),
    [
        ("efficientdet", "efficientnet-b0"),
        ("retinanet", "resnet50-v1.5"),
        ("faster_rcnn", "resnet50-v1.5"),
        ("yolo", None),
    ],
)
def test_coco_weights_have_their_backbone(source, task, backbone):
    flags = f"data.source={source}", "model.weights=coco"
    if backbone is None:
        for name in (task, "rcnn"):
            with pytest.raises(UserError, match=f"no COCO weights of {name}; set task.name=efficientdet, retinanet or"):
                completed(*flags, f"task.name={name}")
        return
    settings, choices = completed(*flags, f"task.name={task}")
    assert (settings.model.name, settings.model.weights) == (backbone, "coco")
    assert choices["model.name"].why == "the backbone of the COCO weights"
    published = coco.published_detector(settings.description)
    assert dataclasses.replace(settings.task.network, aspect=published.aspect) == published


def test_a_fine_tuning_from_coco_starts_with_the_detections_of_shared_classes(tmp_path, monkeypatch):
    """From a file of the published format, up to the state before the first step."""
    write_archive(tmp_path, monkeypatch)
    rng = np.random.default_rng(0)
    for number in range(8):
        Image.fromarray(rng.integers(0, 256, (128, 128, 3), np.uint8)).save(tmp_path / f"{number}.png")
    rows = [f"{n}.png,{name},4,4,90,100" for n in range(8) for name in ("zebra", "unicorn", "dog")]
    (tmp_path / "boxes.csv").write_text("\n".join(["image,label,xmin,ymin,xmax,ymax", *rows]))
    settings, _ = completed(
        f"data.source=csv:{tmp_path / 'boxes.csv'}",
        *("training.precision=float32", "task.name=efficientdet", "model.weights=coco", "model.resolution=128"),
    )
    prepared, images = prepare(settings, tmp_path / "run")
    assert prepared.plan.class_names == ("dog", "unicorn", "zebra")
    task, network = prepared.plan.task, prepared.state.model
    source = models.build_detector("efficientdet-d0", num_classes=90, weights="coco", resolution=128)
    pixels = prepared.plan.inputs(images, network.size)

    def detected(model: models.Network, *classes: int) -> dict[str, tf.Tensor]:
        boxes, scores = task.candidates(task.forward(model, {"image": pixels}, training=False))
        return suppress(boxes, tf.gather(scores, classes, axis=-1), settings.task.suppression)

    expected = detected(source, *(CLASS_NAMES.index(name) for name in ("dog", "zebra")))
    found = detected(task.predictor(network), *(prepared.plan.class_names.index(name) for name in ("dog", "zebra")))
    assert (np.asarray(expected["count"]) > 10).all()
    assert {*np.unique(expected["labels"])} == {0, 1}
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-5, atol=1e-4, err_msg=name)


def prepare(settings: config.Experiment, directory: Path) -> tuple[Prepared, ImageCache]:
    """Returns a run before its first step, and its validation images."""
    reporter, workdir = training.Reporter(quiet=True), training.Workdir(directory)
    with config.claimed(directory, settings), Interruption() as interruption:
        preparation = Preparation(
            plan=training.Plan.of(settings, workdir),
            workdir=workdir,
            strategy=tf.distribute.get_strategy(),
            until_epoch=None,
            source=None,
            caches=None,
            assemblies=None,
            features=FeatureCache(),
            reporter=reporter,
            interruption=interruption,
            agreement=Agreement(tf.distribute.get_strategy()),
        )
        prepared = preparation.prepare()
        assert prepared is not None
        assert preparation.images.validation is not None
        return prepared, preparation.images.validation


def test_crowded_images_have_small_batches_of_regions(tmp_path):
    rng = np.random.default_rng(0)
    for number in range(4):
        Image.fromarray(rng.integers(0, 256, (64, 64, 3), np.uint8)).save(tmp_path / f"{number}.png")
    boxes = [f"0.png,a,{x},{y},{x + 2},{y + 2}" for x in range(0, 60, 2) for y in range(0, 60, 2)]
    boxes += [f"{number}.png,a,4,4,30,30" for number in (1, 2, 3)]
    (tmp_path / "boxes.csv").write_text("\n".join(["image,label,xmin,ymin,xmax,ymax", *boxes]))
    flags = f"data.source=csv:{tmp_path / 'boxes.csv'}", "data.validation_fraction=0", "data.train_split=all"
    settings, _ = completed(*flags, "task.name=faster_rcnn", "model.weights=none")
    assert (settings.task.network.regions, settings.training.batch_size) == (5_000, 2)
    set_by_user = "task.network.regions=100", "task.network.neck_channels=32", "task.sampled_regions=32"
    settings, _ = completed(*flags, "task.name=faster_rcnn", "model.weights=none", *set_by_user)
    assert settings.training.batch_size == completed(*flags)[0].training.batch_size == 4
    settings, _ = completed(*flags, "task.name=faster_rcnn", "training.batch_size=3")
    assert settings.training.batch_size == 3


@pytest.fixture
def crowded(tmp_path) -> str:
    """Four of 1600x1200 pixels, with eight objects of 40 pixels in one row each."""
    for number in range(4):
        Image.fromarray(np.full((1200, 1600, 3), 20 * number, np.uint8)).save(tmp_path / f"{number}.png")
    boxes = [f"{n}.png,a,{x},{100 * n},{x + 40},{100 * n + 40}" for n in range(4) for x in range(0, 560, 70)]
    (tmp_path / "boxes.csv").write_text("\n".join(["image,label,xmin,ymin,xmax,ymax", *boxes]))
    return f"csv:{tmp_path / 'boxes.csv'}"


def test_large_photographs_with_small_objects_are_cut_into_tiles(crowded, tmp_path):
    flags = f"data.source={crowded}", "data.train_split=all", "data.validation_fraction=0", "model.weights=none"
    settings, choices = completed(*flags)
    assert (settings.data.tile, settings.data.tile_overlap) == (800, 200)
    assert "40 of 1,600 pixels" in choices["data.tile"].why
    assert (settings.model.resolution, settings.task.network.aspect) == (640, 1.0)  # of the tiles
    assert settings.data.image_size == 800
    assert "8 training examples" in choices["training.batch_size"].why  # of 24 tiles, four with objects
    whole = flags[0], flags[1], "model.weights=none"
    for other in ("data.tile=none", "data.reduced_decoding=true", "task.name=fast_rcnn", "task.name=rcnn"):
        settings, _ = completed(*whole, other)
        assert settings.data.tile is None
    settings, _ = completed(*flags, "model.resolution=1280")
    assert (settings.data.tile, settings.data.image_size) == (None, 1600)
    settings, _ = completed(*flags, "data.tile=400")
    assert (settings.data.tile, settings.data.tile_overlap) == (400, None)
    cut = saved(tmp_path / "run", "task.name=yolo", "data.tile=320", "data.tile_overlap=32", resolution=320)
    settings, choices = completed(*flags, cut)
    assert (settings.data.tile, settings.data.tile_overlap) == (320, 32)
    settings, _ = completed(*flags, saved(tmp_path / "whole", "task.name=yolo", resolution=352))
    assert (settings.data.tile, settings.data.tile_overlap, settings.model.resolution) == (448, 112, 352)
    settings, _ = completed(*flags, saved(tmp_path / "crops", "task.name=classification", resolution=320))
    assert settings.data.tile == 800


def test_a_budget_for_boxes_may_be_in_tiles(source, image_folder):
    settings, _ = budget(f"data.source={source}", "data.tile=64")
    assert selection.request(settings.experiment).data.tile == 64
    root = image_folder({"train/ant": 3, "train/bee": 3})
    settings, _ = budget(f"data.source=folder:{root}", "data.tile=64")
    with pytest.raises(UserError, match=r"data\.tile is 64; .*task\.name=classification is not trained in tiles"):
        selection.request(settings.experiment)


@pytest.mark.parametrize(("size", "cache"), [(None, "memory"), (9_000, "none")])
def test_images_of_detectors_are_counted_for_the_cache_at_the_size_that_is_set(source, size, cache):
    assert completed(f"data.source={source}", f"data.image_size={size}")[0].data.cache == cache


def photographs(root: Path, *sizes: tuple[int, int]) -> str:
    """Writes files with the headers of photographs, (height, width), with a box each; returns their source."""
    root.mkdir()
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(buffer, "JPEG")
    lines = ["split,image,label,xmin,ymin,xmax,ymax"]
    for number, (height, width) in enumerate(sizes):
        content = buffer.getvalue()
        frame = content.index(b"\xff\xc0") + 5  # where the header says height and width
        content = content[:frame] + struct.pack(">HH", height, width) + content[frame + 4 :]
        (root / f"{number}.jpg").write_bytes(content)
        lines.append(f"train,{number}.jpg,a,{width // 4},{height // 4},{width // 2},{height // 2}")
    (root / "boxes.csv").write_text("\n".join(lines))
    return f"csv:{root / 'boxes.csv'}"


LARGE, OTHER = (3024, 4032), (3000, 4000)


@pytest.mark.parametrize(
    ("sizes", "overrides", "expected"),
    [
        ([LARGE] * 60, (), (640, "memory", "55 MB")),  # 60 * 480 * 640 * 3 bytes
        ([LARGE] * 59 + [OTHER], (), (640, "memory", "55 MB")),  # as without the odd one
        ([LARGE] * 61, ("model.resolution=1920",), (3840, "none", "2.0 GB")),
        ([LARGE] * 60, ("data.image_size=none",), (None, "none", "2.2 GB")),  # all have one size, which is kept
        ([LARGE] * 59 + [OTHER], ("data.image_size=none",), (None, "memory", "14 MB")),
        ([LARGE] * 9, ("data.image_size=1000",), (1000, "memory", "20 MB")),
        ([(90, 120)] * 9, (), (120, "memory", "0 MB")),
        ([LARGE] * 9, ("task.augmentation.scale_range=0.1,2.5",), (800, "memory", "13 MB")),
        (
            [LARGE] * 9,
            ("task.augmentation.scale_range=none", "task.augmentation.scale=0.5", "task.augmentation.aspect=3"),
            (960, "memory", "19 MB"),
        ),
        ([LARGE] * 9, ("task.augmentation.scale_range=none",), (320, "memory", "2 MB")),
        ([LARGE] * 9, ("task.name=faster_rcnn",), (640, "memory", "8 MB")),
        ([LARGE] * 9, ("task.name=efficientdet", "model.resolution=512"), (1024, "memory", "21 MB")),
    ],
)
def test_detectors_load_images_at_the_size_that_is_counted_for_the_cache(tmp_path, sizes, overrides, expected):
    source = photographs(tmp_path / "photographs", *sizes)
    settings, choices = completed(f"data.source={source}", "model.weights=none", *overrides)
    assert (settings.data.image_size, settings.data.cache, choices["data.cache"].why.split("take ")[1]) == expected
    wanted = selection.request(settings)
    height, width = selection.image_size(wanted, selection.open_source(wanted).load("train")) or (0, 0)
    number, unit = expected[2].split()
    total = len(sizes) * height * width * 3 / {"MB": 1e6, "GB": 1e9}[unit]
    assert total == pytest.approx(float(number), abs=0.5 if unit == "MB" else 0.05)


def test_photographs_of_twice_the_input_are_loaded_as_they_are(dataset):
    settings, choices = completed(f"data.source=voc:{dataset('bccd') / 'BCCD'}", "model.weights=none")
    wanted = selection.request(settings)
    images = selection.open_source(wanted).load(settings.data.train_split)
    assert (settings.description.size, images.size) == ((240, 320), (480, 640))
    assert selection.image_size(wanted, images) == images.size
    assert choices["data.cache"].why == "decoded, the images take 0.3 GB"  # 292 * 480 * 640 * 3 bytes


@only_thorough
def test_training_a_detector_on_a_backbone_that_was_trained_on_crops(verbs, source, tmp_path):
    backbone, workdir = tmp_path / "crops", tmp_path / "run"
    small = "--config.model.width=4", "--config.model.stage_blocks=1,1", "--config.training.epochs=1"
    verbs(
        *("train", f"--config={ROOT / 'configs' / 'own_images.py'}", f"--workdir={backbone}"),
        *(f"--config.data.source=crops:{source}", "--config.model.weights=none", "--config.model.name=resnet", *small),
    ).succeeds()
    done = verbs(
        *("train", f"--config={BOXES_PATH}", f"--workdir={workdir}", f"--config.data.source={source}"),
        *(f"--config.model.weights={backbone}", "--config.task.proposals.max_proposals=60"),
        *("--config.task.name=rcnn", "--config.training.epochs=1"),
    ).succeeds()
    assert "model.resolution" in done.out
    saved = config.load(workdir / "config.json", config.Experiment)
    assert saved.task.proposals.max_proposals == 60
    assert saved.model.resolution == training.Workdir(backbone).config().model.resolution
    assert (workdir / "evaluation_test.json").is_file()


BUDGET_PATH = ROOT / "configs" / "own_budget.py"


def budget(*overrides: str) -> tuple[config.BudgetSearch, config.Choices]:
    return config.complete(config.load_recipe(BUDGET_PATH, config.BudgetSearch), overrides)


def test_a_budget_for_labels_is_for_a_classifier(image_folder):
    root = image_folder({"train/ant": 3, "train/bee": 3})
    settings, choices = budget(f"data.source=folder:{root}")
    assert {key: (each.value, each.why) for key, each in choices.items()} == {
        "experiment.task.name": ("classification", "the images have labels")
    }
    assert settings.experiment.task.name == "classification"
    assert settings.objective.metric == "validation_accuracy"
    assert not settings.experiment.task.tta.mirrored  # which would double the latency
    settings, _ = budget(f"data.source=folder:{root}", "training.epochs=10", "optimizer.frozen=")
    assert settings.candidates.kept == ("optimizer.frozen", "training.epochs")
    base, counted = settings.experiment, counted_images(settings.experiment.data, 0, boxes=False)
    rule = own.trained_for_images(base, base.task, base.model, counted)
    assert (rule.training.epochs, rule.optimizer.frozen) != (10, ())
    kept = own.trained_for_images(base, base.task, base.model, counted, kept=settings.candidates.kept)
    assert (kept.training.epochs, kept.optimizer.frozen) == (10, ())
    settings, _ = budget(f"data.source=folder:{root}", "task.teacher.features=0", "distill=true")
    assert settings.candidates.kept == ("task.teacher.features",)
    with pytest.raises(UserError, match=r"experiment\.model\.weights: omit it: .* named by candidates\.starts"):
        budget(f"data.source=folder:{root}", "model.weights=none")
    with pytest.raises(UserError, match=r"candidates\.kept: omit it"):
        budget(f"data.source=folder:{root}", "candidates.kept=training.epochs")


def test_a_budget_keeps_where_images_are_decoded_and_what_is_held_out(image_folder):
    root = image_folder({"train/ant": 30, "train/bee": 30}, size=(64, 64))
    settings, _ = budget(f"data.source=folder:{root}", "data.cache=memory", "data.validation_fraction=0.1")
    assert settings.candidates.kept == ("data.cache", "data.validation_fraction")


def test_a_budget_says_why_a_table_that_could_have_boxes_has_none(image_folder):
    root = image_folder({"ant": 3, "bee": 3})
    lines = [f"{path},{path.parent.name},1,1,8,8" for path in sorted(root.rglob("*/*"))]
    (root / "boxes.csv").write_text("\n".join(["image,label,x,y,w,h", *lines]))
    settings, choices = budget(f"data.source=csv:{root / 'boxes.csv'}")
    assert settings.experiment.task.name == "classification"
    assert "no boxes" in choices["experiment.task.name"].why
    assert "xmin" in choices["experiment.task.name"].why


@pytest.mark.parametrize(
    ("size", "resolution", "total"),
    [("original", 32, "0 MB"), ("none", 32, "0 MB"), ("none", 700, "92 MB"), (800, 32, "92 MB")],
)
def test_whole_images_are_counted_for_the_cache(image_folder, size, resolution, total):
    """With 800 pixels of the shorter side, 40 images take 40 * 800 * 960 * 3 bytes."""
    root = image_folder({"train/ant": 20, "train/bee": 20}, size=(40, 48))
    overrides = ("model.weights=none", "task.crop=false", "task.center_crop=0.875", f"data.image_size={size}")
    overrides = (*overrides, f"model.resolution={resolution}")
    settings, choices = config.complete(
        config.load_recipe(PATH, config.Experiment), (f"data.source=folder:{root}", *overrides)
    )
    assert settings.data.image_size == (None if size == "none" else size)
    assert choices["data.cache"] == config.Choice("memory", f"decoded, the images take {total}")


def test_a_budget_for_boxes_is_for_a_detector(source):
    settings, choices = budget(f"data.source={source}", "task.plain_epochs=2", "optimizer.clip_norm=5")
    base = settings.experiment
    assert settings.objective.metric == "validation_mean_ap"
    assert (base.task.name, base.task.network.aspect, base.model.resolution) == ("yolo", 1.0, 320)
    assert base.task.augmentation == own.detectors(source).task.augmentation
    assert (base.task.plain_epochs, base.optimizer.clip_norm) == (2, 5.0)
    varied, _ = budget(f"data.source={source}", "task.augmentation.brightness=0.1", "task.augmentation.rotation=5")
    augmentation = varied.experiment.task.augmentation
    assert (augmentation.brightness, augmentation.rotation, augmentation.contrast) == (0.1, 5.0, 0.2)
    assert "experiment.optimizer.clip_norm" not in choices
    with pytest.raises(UserError, match=r"experiment\.task\.crop was set, .* because experiment\.task\.name is yolo"):
        budget(f"data.source={source}", "task.crop=false")


def test_a_classifier_can_be_searched_for_in_images_with_boxes(source):
    settings, choices = budget(f"data.source={source}", "task.name=classification")
    assert (settings.experiment.task.name, choices) == ("classification", {})


def test_the_task_of_a_detector_can_be_set_with_its_keys(source):
    settings, _ = budget(f"data.source={source}", "task.name=grid", "task.max_objects=7")
    assert (settings.experiment.task.name, settings.experiment.task.max_objects) == ("grid", 7)


def test_searches_for_detectors_use_the_images_to_train_and_to_validate_on(tmp_path):
    numbers = {"train": range(8), "val": range(8, 12), "trainval": range(12), "test": range(12, 15)}
    write_voc(tmp_path / "voc", numbers)
    source, key = f"data.source=voc:{tmp_path / 'voc'}", "experiment.data.train_split"
    settings, choices = budget(source)
    assert (settings.experiment.data.train_split, settings.experiment.data.validation_fraction) == ("trainval", 0.15)
    assert choices["experiment.data.validation_fraction"].why == "the score threshold is chosen on these images"
    whole, _ = budget(source, "data.validation_fraction=0")
    assert (whole.experiment.data.train_split, whole.experiment.data.validation_fraction) == ("trainval", 0.0)
    assert [key in budget(source, each)[1] for each in ("data.train_split=train", "data.test_split=val")] == [False] * 2
    assert key not in budget(source, "task.name=classification")[1]


def test_the_second_stage_that_was_set_is_kept_in_searches(source):
    """Of what `dense.two_stages` would choose: P3 and the published number of sampled regions."""
    changes = "task.name=faster_rcnn", "task.network.levels=P4,P5", "task.sampled_regions=512"
    settings, _ = budget(f"data.source={source}", *changes)
    objects = counted_images(settings.experiment.data, settings.experiment.seed, boxes=True)
    start = candidates.Start("a", "scratch", architecture("resnet", resolution=320), settings.experiment.task)
    section = dataclasses.replace(settings.candidates, resolutions=(1.0,))
    found, *_ = candidates.scaled(section, [start], side=320, channels=3, num_classes=3, objects=objects)
    assert found.task.network.levels == ("P4", "P5")
    assert (found.task.sampled_regions, found.task.network.neck_channels) == (512, 96)


def test_detectors_are_trained_by_the_rules_except_for_values_that_were_set(source):
    settings, _ = budget(f"data.source={source}", "training.batch_size=2")
    base, model = settings.experiment, architecture("resnet", resolution=64)
    counted = counted_images(base.data, base.seed, boxes=True)
    found = own.trained_for_images(base, base.task, model, counted)
    assert found.model == model
    assert (found.training.batch_size, found.training.epochs) == (2, 120)
    assert found.training.validation_epochs == 120
    assert (found.optimizer.name, found.optimizer.learning_rate, found.optimizer.clip_norm) == ("adamw", 2e-3, 10.0)
    short = own.trained_for_images(base, base.task, model, counted, pace=0.2)
    assert (short.training.epochs, short.training.validation_epochs, short.task.plain_epochs) == (24, 24, 3)
    assert short.schedule.warmup_epochs == pytest.approx(0.8)
    assert short.optimizer == found.optimizer
    changes = ["task.plain_epochs=10", "schedule.warmup_epochs=40", "optimizer.frozen=*", "optimizer.unfreeze=30=*"]
    given = config.override(
        base, [*changes, "training.ema_decay=none", "training.swa_epochs=30", "training.epochs=120"]
    )
    for by_rules in (True, False):  # what is given in epochs is shortened, too
        short = own.trained_for_images(given, given.task, model, counted, by_rules=by_rules, pace=0.2)
        assert (short.training.epochs, short.training.swa_epochs, short.task.plain_epochs) == (24, 6, 2)
        assert short.optimizer.unfreeze == ("6=*",)
        assert short.schedule.warmup_epochs == pytest.approx(8.0)
    kept = own.trained_for_images(base, base.task, model, counted, kept=["training.epochs", "optimizer.name"])
    assert (kept.training.epochs, kept.optimizer.name) == (base.training.epochs, base.optimizer.name)
    as_set = own.trained_for_images(base, base.task, model, counted, by_rules=False)
    assert (as_set.training, as_set.optimizer) == (base.training, base.optimizer)
