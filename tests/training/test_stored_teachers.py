"""Training on stored outputs of teachers equals training with teachers that run in every step."""

import json
import signal
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.thoroughness import only_thorough, thorough
from tests.training.test_loop import assert_same_arrays, experiment, final, measures
from tfeff import config, selection, training
from tfeff.config.task_parts import Teacher
from tfeff.data.augment import given
from tfeff.data.augment.policy import BoxAugmentation
from tfeff.data.input.batches import Batches
from tfeff.errors import Interrupted, UserError
from tfeff.tasks.task import create
from tfeff.training import checkpoint, checks, preparation, stored, stored_teachers
from tfeff.training.distillation import STORED, Distilled
from tfeff.training.interruption import Interruption
from tfeff.training.stored import FeatureCache
from tfeff.training.stored_teachers import TaughtBatches

EXACT = "training.deterministic=true"
SHIFTED = ("task.augmentation.shift=0.2", "task.augmentation.brightness=0.3")


@pytest.fixture(scope="module")
def teachers(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two finished runs; the features of the second have another size."""
    made = []
    for number, width in enumerate((2, 4)):
        settings = experiment("training.epochs=3", f"model.width={width}", f"seed={number}")
        made.append(str(training.train(settings, tmp_path_factory.mktemp("teacher")).path))
    return made


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    (tmp_path / "unlabeled").mkdir()
    for number, pixels in enumerate(np.random.default_rng(0).integers(0, 255, (40, 8, 8), np.uint8)):
        Image.fromarray(pixels).save(tmp_path / "unlabeled" / f"{number}.png")
    return tmp_path / "unlabeled"


def assert_equal_training(first: training.Workdir, second: training.Workdir) -> None:
    """To float rounding."""
    rows = [measures(each) for each in (first, second)]
    assert rows[0][0].keys() == rows[1][0].keys()
    for one, other in zip(*rows, strict=True):
        assert one == pytest.approx(other, rel=1e-4, abs=1e-5)
    arrays = final(second)
    for name, value in final(first).items():
        np.testing.assert_allclose(value, arrays[name], rtol=1e-3, atol=1e-4, err_msg=name)


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The variants that were computed."""
    found, real = list[int](), Batches.augmented_batches

    def watched(self: Batches, epoch: int) -> tf.data.Dataset:
        found.append(epoch)
        return real(self, epoch)

    monkeypatch.setattr(Batches, "augmented_batches", watched)
    monkeypatch.setattr(TaughtBatches, "size", 1)  # which looks at a pass
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variants", "changes"),
    [
        (1, ("task.teacher.features=0.5", "data.unlabeled={photographs}", "data.unlabeled_per_label=0.5")),
        thorough(1, ("data.class_balanced=true", "training.accumulation_steps=2", "training.swa_epochs=2")),
        (2, SHIFTED),  # as many as epochs
    ],
    ids=str,
)
def test_equals_a_run_without(
    variants: int, changes: Sequence[str], teachers: list[str], photographs: Path, tmp_path: Path
) -> None:
    shared = f"task.teacher.runs={','.join(teachers)}", *(each.format(photographs=photographs) for each in changes)
    plain = training.train(experiment(*shared), tmp_path / "plain")
    on_stored = training.train(experiment(*shared, f"task.teacher.variants={variants}"), tmp_path / "stored")
    assert_equal_training(plain, on_stored)


@pytest.mark.slow
def test_equals_teachers_that_see_the_same_repeated_augmentation(
    teachers: list[str], photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, passes: list[int]
) -> None:
    new = experiment(
        *(f"task.teacher.runs={','.join(teachers)}", f"data.unlabeled={photographs}"),
        *("training.epochs=5", "data.class_balanced=true", *SHIFTED),
    )
    settings = config.override(new, ["task.teacher.variants=2"])
    on_stored = training.train(settings, tmp_path / "stored")
    assert passes == [0, 1, 0, 1]  # with labels and without
    monkeypatch.setattr(preparation, "taught", lambda parts, *_, **__: parts)
    assert_equal_training(on_stored, training.train(settings, tmp_path / "plain"))
    assert not passes[4:]
    assert measures(training.train(new, tmp_path / "new"))[-1] != pytest.approx(measures(on_stored)[-1], rel=1e-3)


@only_thorough
def test_outputs_of_a_detector_fit_the_images_of_each_batch(tmp_path: Path, passes: list[int]) -> None:
    """Also with mosaics, whose partners depend on the example alone."""
    teacher = Teacher(runs=("itself",), variants=2)
    augmentation = BoxAugmentation(mosaic=0.5, scale=0.2, horizontal_flip=True)
    settings = config.Experiment(
        task=config.YoloSettings(
            network=config.detector("yolo", neck="fpn", levels=("P3", "P4"), neck_channels=8),
            teacher=teacher,
            augmentation=augmentation,
        ),
        model=config.architecture("resnet", width=4, stage_blocks=(1, 1, 1), stem="7x7", resolution=64),
        data=config.Data(source="embedded:placed_digits", train_examples=10, channels=1),
        training=config.Training(batch_size=4),
    )
    plan = training.Plan.of(settings)
    images = selection.choose(plan.images, selection.read(plan.images, lambda *_: None)).train
    network = plan.build_network()
    task = Distilled(plan.task, teacher, [network])
    (batches,) = stored_teachers.taught(
        *([plan.training_pipeline(images, network.size)], 3, task, tmp_path / "teachers"),
        **{"cache": FeatureCache(), "reporter": training.Reporter(quiet=True), "interruption": Interruption()},
    )
    seen = dict[tuple[int, int], np.ndarray]()
    for step, batch in enumerate(batches.training_batches(3)):
        targets = task.targets(batch)
        assert targets.keys() == {"boxes_0", "scores_0"}
        for name, values in targets.items():
            np.testing.assert_allclose(batch[f"{STORED}{name}"], values, rtol=1e-4, atol=1e-4)
        for index, image in zip(batch["index"].numpy(), batch["image"].numpy(), strict=True):
            seen[int(index), step // 2] = image
    assert passes == [0, 1]
    for epoch, repeats in ((1, False), (2, True)):  # two images are left out of each epoch
        both = [index for index in range(10) if {(index, 0), (index, epoch)} <= seen.keys()]
        assert len(both) >= 6
        assert all(np.array_equal(seen[index, 0], seen[index, epoch]) == repeats for index in both)


def test_tasks_that_imitate_nothing_refuse_teachers() -> None:
    section = config.FasterRCNNSettings()
    with pytest.raises(UserError, match=r'runs: "x": task.name=faster_rcnn cannot imitate teachers'):
        create(section).check_teacher(keras.Model(), keras.Model(), 'config: task.teacher.runs: "x"')


@pytest.mark.slow
def test_a_killed_run_computes_nothing_again(
    teachers: list[str], photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, passes: list[int]
) -> None:
    settings = experiment(
        *(f"task.teacher.runs={teachers[0]}", "task.teacher.variants=3", f"data.unlabeled={photographs}"),
        *("training.epochs=5", EXACT, *SHIFTED),
    )
    whole = training.train(settings, tmp_path / "whole")
    assert not whole.teachers.exists()
    passes.clear()
    compute = TaughtBatches._compute_batch

    def stopping(self: TaughtBatches, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        if len(passes) == 2:  # in the second variant
            signal.raise_signal(signal.SIGTERM)
        return compute(self, batch)

    monkeypatch.setattr(TaughtBatches, "_compute_batch", stopping)
    with pytest.raises(Interrupted, match="saved for each finished variant"):
        training.train(settings, tmp_path / "parts")
    monkeypatch.setattr(TaughtBatches, "_compute_batch", compute)
    assert passes == [0, 1]
    assert len(list((tmp_path / "parts/teachers").glob("*.npz"))) == 1
    passes.clear()
    training.train(settings, tmp_path / "parts", until_epoch=2)
    assert passes == [1, 2, 0, 1]  # of images with labels, the third variant is not needed yet
    passes.clear()
    parts = training.train(settings, tmp_path / "parts")
    assert passes == [2]
    assert not parts.teachers.exists()
    assert_same_arrays(final(whole), final(parts))
    assert measures(whole) == measures(parts)


@pytest.mark.slow
def test_phases_of_a_run_share_the_outputs_of_each_variant(
    teachers: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, passes: list[int]
) -> None:
    read, load, cache = list[Path](), checkpoint.load, FeatureCache()
    monkeypatch.setattr(checkpoint, "load", lambda path: read.append(path) or load(path))
    settings = experiment(
        *(f"task.teacher.runs={teachers[0]}", "task.teacher.variants=3", "training.epochs=3", *SHIFTED),
        *("optimizer.frozen=stem*", "optimizer.unfreeze=2=stem*"),
    )
    workdir = training.train(settings, tmp_path, features=cache, tensorboard=False)
    assert passes == [0, 1, 2]
    assert workdir.teachers not in {path.parent for path in read}
    assert len(cache._stored) == 3


@pytest.mark.slow
def test_damaged_files_are_computed_again(
    teachers: list[str], tmp_path: Path, passes: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    settings = experiment(f"task.teacher.runs={teachers[0]}", "task.teacher.variants=1", EXACT)
    workdir = training.train(settings, tmp_path, until_epoch=1)
    (path,) = workdir.teachers.glob("*.npz")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    training.train(settings, tmp_path)
    assert passes == [0, 0]
    assert "damaged checkpoint; computed again" in capsys.readouterr().out


@pytest.mark.slow
def test_runs_in_one_process_share_outputs(teachers: list[str], tmp_path: Path, passes: list[int]) -> None:
    cache = FeatureCache()
    shared = experiment(f"task.teacher.runs={teachers[0]}", "task.teacher.variants=1", "training.epochs=1")
    for name, changes in {
        "first": (),
        "other student": ("model.width=3", "optimizer.learning_rate=0.01"),
        "other teacher": (f"task.teacher.runs={teachers[1]}",),
        "other temperature": ("task.teacher.temperature=3",),
        "other images": ("task.augmentation.shift=0.1",),
    }.items():
        passes.clear()
        training.train(config.override(shared, changes), tmp_path / name, features=cache)
        assert passes == ([] if name == "other student" else [0]), name


@pytest.mark.slow
def test_functions_from_python(teachers: list[str], tmp_path: Path, passes: list[int]) -> None:
    def darker(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return image * rng.uniform(0.5, 1)

    def black(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return image * 0

    def different(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return image * np.random.default_rng().uniform(0.5, 1)

    name = given.offer(darker)
    settings = experiment(f"task.teacher.runs={teachers[0]}", "task.teacher.variants=1", f"data.augment={name}")
    training.train(settings, tmp_path, until_epoch=1)
    computed = len(passes)
    given._OFFERED[name] = black  # changed between two calls
    training.train(settings, tmp_path)
    assert len(passes) == 2 * computed
    given._OFFERED[name] = different
    with pytest.raises(UserError, match=r"darker-\w+ makes other images of the same examples each time"):
        training.train(settings, tmp_path / "different")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (("task.augmentation.mixup_alpha=0.2",), "task.teacher.variants: MixUp and CutMix mix images"),
        (("task.augmentation.shift=0.1", "task.plain_epochs=1"), "task.teacher.variants: .* set task.plain_epochs=0"),
        (("task.teacher.runs=()",), "task.teacher.variants: there are no teachers"),
        (("training.feature_variants=1", "optimizer.frozen=stem*"), "remove training.feature_variants"),
    ],
    ids=str,
)
def test_errors(changes: Sequence[str], message: str, teachers: list[str], tmp_path: Path) -> None:
    settings = experiment(f"task.teacher.runs={teachers[0]}", "task.teacher.variants=2", *changes)
    with pytest.raises(UserError, match=message):
        training.train(settings, tmp_path)


@pytest.mark.parametrize("key", ["task.teacher.variants", "training.feature_variants"])
def test_mixed_images_and_several_workers_are_refused_before_images_are_read(
    key: str, teachers: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = [f"{key}=2"]
    changes += ["optimizer.frozen=stem*"] if key.startswith("training") else [f"task.teacher.runs={teachers[0]}"]
    mixed = training.Plan.of(experiment(*changes, "task.augmentation.cutmix_alpha=1"))
    with pytest.raises(UserError, match=f"config: {key}: MixUp and CutMix mix images of a batch; switch them off"):
        checks.check(mixed, 1, new_run=True)
    plan = training.Plan.of(experiment(*changes))
    checks.check(plan, 1, new_run=True)
    cluster = {"cluster": {"worker": ["a:1", "b:2"]}, "task": {"type": "worker", "index": 0}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(cluster))
    with pytest.raises(UserError, match=f"config: {key}: several workers are not supported; use one"):
        checks.check(plan, 2, new_run=True)


@pytest.mark.slow
def test_the_size_is_limited(
    teachers: list[str], photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = experiment(
        *(f"task.teacher.runs={teachers[0]}", "task.teacher.variants=2", "training.epochs=2"),
        *(f"data.unlabeled={photographs}", "data.unlabeled_per_label=0.25"),
    )
    # 130 images, and 40 whose 5 batches of 8 are seen 1.6 times; 10 probabilities each
    size = (2 * 130 + 2 * 40) * 10 * 4
    monkeypatch.setattr(stored, "LIMIT", size - 1)
    with pytest.raises(UserError, match=r"variants: .* \(130 images, 2 of each\) and .* \(40 images, 2 of each\) are"):
        training.train(settings, tmp_path / "too_large")
    monkeypatch.setattr(stored, "LIMIT", size)
    training.train(settings, tmp_path / "fits")
