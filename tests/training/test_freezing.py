import itertools
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.thoroughness import only_thorough
from tfeff import config, models, selection, training
from tfeff.errors import UserError
from tfeff.tasks.classification import ClassificationTask
from tfeff.training import freezing, optimizers
from tfeff.training.averaging import Average
from tfeff.training.features import split
from tfeff.training.freezing import freeze, frozen_params, matching
from tfeff.training.step import Step

STEM = ("stem*",)


def network() -> keras.Model:
    """Returns two convolutions with batch normalization, and a classifier."""
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((6, 6, 1))
    for name in ("stem", "stage"):
        x = keras.layers.Conv2D(4, 3, use_bias=False, name=f"{name}_conv")(x)
        x = keras.layers.BatchNormalization(momentum=0.5, name=f"{name}_bn")(x)
        x = keras.layers.ReLU(name=f"{name}_relu")(x)
    return keras.Model(inputs, keras.layers.Dense(3, name="head")(keras.layers.Flatten()(x)))


def values(model: keras.Model) -> dict[str, np.ndarray]:
    return {weight.path: weight.numpy() for weight in model.weights}


def batch_of(images: np.ndarray | tf.Tensor) -> dict[str, tf.Tensor]:
    return {
        "image": tf.convert_to_tensor(images),
        "label": tf.one_hot(np.arange(len(images)) % 3, 3),
        "weight": tf.ones(len(images)),
    }


def step_of(model: keras.Model, average: Average | None = None, **options: float) -> Step:
    optimizer = optimizers.build("sgd", model, weight_decay=0.1, **options)
    return Step(
        model, optimizer, tf.distribute.get_strategy(), task=ClassificationTask(), batch_size=8, average=average
    )


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).normal(2, 3, (8, 6, 6, 1)).astype(np.float32)


def test_training_changes_everything_but_the_frozen_part(images: np.ndarray) -> None:
    model = network()
    paths = [weight.path for weight in model.weights]
    freeze(model, STEM)
    assert [weight.path for weight in model.weights] == paths
    average = Average(model, 0.5)
    step = step_of(model, average, clip_norm=1.0)
    assert len(step.optimizer.variables) == 2 + 5  # iteration and learning rate; momentum of the trained variables
    before = values(model)
    for index in range(3):
        step.train(batch_of(images), step=index, learning_rate=0.1)
    for (path, after), mean in zip(values(model).items(), average.variables, strict=True):
        same = path.startswith("stem")
        assert np.array_equal(after, before[path]) == same, path
        assert np.array_equal(mean.numpy(), before[path]) == same, path


def test_training_with_a_frozen_stem_is_training_the_rest_on_its_features(images: np.ndarray) -> None:
    whole, other = network(), network()
    for model in (whole, other):
        model.get_layer("stem_bn").moving_mean.assign([0.5, -0.5, 1.0, 2.0])
    freeze(whole, STEM)
    rest = keras.Model(other.get_layer("stem_relu").output, other.output)
    features = keras.Model(other.input, other.get_layer("stem_relu").output)(images, training=False)
    for model, batch in ((whole, batch_of(images)), (rest, batch_of(features))):
        step = step_of(model, clip_norm=0.5)
        for index in range(3):
            step.train(batch, step=index, learning_rate=0.1)
    found = values(whole)
    for path, expected in values(rest).items():
        np.testing.assert_allclose(found[path], expected, rtol=1e-5, atol=1e-6, err_msg=path)


def test_only_frozen_batch_normalization_runs_in_inference_mode(images: np.ndarray) -> None:
    model = network()
    freeze(model, ("stem*", "stage_bn/gamma"))  # beta of the second one is trained, so it stays in training mode
    outputs = [keras.Model(model.input, model.get_layer(f"{name}_bn").output) for name in ("stem", "stage")]
    same = [np.array_equal(output(images, training=True), output(images, training=False)) for output in outputs]
    assert same == [True, False]
    assert [variable.path for variable in model.trainable_variables] == [
        "stage_conv/kernel",
        "stage_bn/beta",
        "head/kernel",
        "head/bias",
    ]


def test_batch_normalization_without_variables_is_frozen_by_its_statistics() -> None:
    x = inputs = keras.Input((6, 6, 1))
    for name in ("stem", "stage"):
        x = keras.layers.Conv2D(4, 3, name=f"{name}_conv")(x)
        x = keras.layers.BatchNormalization(center=False, scale=False, name=f"{name}_bn")(x)
    model = keras.Model(inputs, keras.layers.Dense(3, name="head")(keras.layers.Flatten()(x)))
    freeze(model, STEM)
    assert [model.get_layer(f"{name}_bn").trainable for name in ("stem", "stage")] == [False, True]
    frozen = split(model)
    assert frozen is not None
    assert [layer.name for layer in frozen[0].layers if layer.weights] == ["stem_conv", "stem_bn"]
    freeze(other := network(), ("stem*", "stage*"), ("stage*",))
    assert [other.get_layer(f"{name}_bn").trainable for name in ("stem", "stage")] == [False, True]


def test_batch_normalization_alone_is_frozen(images: np.ndarray) -> None:
    model = network()
    freeze(model, (), normalization=True)
    step, before = step_of(model), values(model)
    step.train(batch_of(images), step=0, learning_rate=0.1)
    changed = {path for path, after in values(model).items() if not np.array_equal(after, before[path])}
    assert changed == {"stem_conv/kernel", "stage_conv/kernel", "head/kernel", "head/bias"}
    np.testing.assert_array_equal(model(images, training=True), model(images, training=False))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options"),
    [("efficientdet-d0", {}), ("faster-rcnn", {}), ("grid", {}), ("yolo", {}), ("yolo", {"end_to_end": True})],
)
def test_neck_and_heads_of_detectors_keep_learning_their_statistics(name: str, options: dict[str, Any]) -> None:
    detector = models.build_detector(name, num_classes=2, resolution=128, **options)
    backbone = models.build(detector.description.backbone, num_classes=2)
    of_backbone = {layer.name for layer in backbone.layers if isinstance(layer, keras.layers.BatchNormalization)}
    found = [each for each in detector.layers if isinstance(each, keras.layers.BatchNormalization)]
    assert {each.name for each in found} & of_backbone
    freeze(detector, (), normalization=True)
    assert {each.name for each in found if not each.trainable} == {each.name for each in found} & of_backbone


def test_batch_normalization_inside_a_frozen_submodel(images: np.ndarray) -> None:
    inner = keras.Sequential([keras.layers.BatchNormalization(), keras.layers.Conv2D(2, 3)], name="inner")
    model = keras.Sequential([keras.Input((6, 6, 1)), inner, keras.layers.Flatten(), keras.layers.Dense(3)])
    freeze(model, ("*batch_normalization*",))
    model(images, training=True)
    np.testing.assert_array_equal(inner.layers[0].moving_mean, [0.0])
    assert len(model.trainable_variables) == 4


def test_frozen_params_include_statistics() -> None:
    model = network()
    freeze(model, STEM)
    assert frozen_params(model, STEM) == 3 * 3 * 4 + 4 * 4
    assert frozen_params(model, ()) == 0


def test_error_if_nothing_is_left_to_train() -> None:
    with pytest.raises(UserError, match="freezes all variables"):
        freeze(network(), ("st*", "head*"))


def test_statistics_cannot_be_frozen_alone() -> None:
    with pytest.raises(UserError, match="matches no variable that is trained"):
        freeze(network(), ("*/moving_mean",))


PATHS = ["stem_conv/kernel", "stage1_block1_conv1/kernel", "stage1_block1_conv1_bn/gamma", "stage2_block1_conv/kernel"]


@pytest.mark.parametrize(
    ("pattern", "indices"),
    [
        ("stem*", [0]),
        ("*", [0, 1, 2, 3]),
        ("stage[12]_*/kernel", [1, 3]),
        ("[!s]*", []),
        ("*_bn/*", [2]),
        ("stage?_block1_conv/kernel", [3]),
        ("stage1_block1_conv1", []),  # whole paths
        ("Stem*", []),
    ],
)
def test_patterns_match_whole_paths(pattern: str, indices: list[int]) -> None:
    expected = {PATHS[index] for index in indices}
    if expected:
        assert matching(pattern, PATHS, "key") == expected
    else:
        with pytest.raises(UserError):
            matching(pattern, PATHS, "key")


@pytest.mark.parametrize(
    ("pattern", "hint"),
    [
        ("stm*", 'did you mean "stem*"?'),
        ("stage2/block1*", 'did you mean "stage2_block1*"?'),
        ("backbone/*", "known: stage1*, stage1_block1*, stage2*, stage2_block1*, stem*, stem_conv*"),
    ],
)
def test_a_pattern_that_matches_nothing_is_an_error_with_a_suggestion(pattern: str, hint: str) -> None:
    with pytest.raises(UserError) as error:
        matching(pattern, PATHS, "optimizer.frozen")
    assert str(error.value) == f"config: optimizer.frozen: {pattern!r} matches no variable that is trained; {hint}"


SETTINGS = config.Experiment(
    model=config.architecture("resnet", width=4, stage_blocks=(1, 1), resolution=8),
    data=config.Data(channels=1, train_examples=96),
    optimizer=config.Optimizer(
        name="adamw", learning_rate=0.01, frozen=("stem*", "stage*"), unfreeze=("1=stage2*", "3=stage1*")
    ),
    training=config.Training(epochs=4, batch_size=32, precision="float32", deterministic=True, ema_decay=0.5),
)


@pytest.fixture(scope="module")
def caches() -> selection.SplitCaches:
    return selection.read(selection.request(SETTINGS), lambda *_: None)


def run(directory: Path, caches: selection.SplitCaches, until: int | None = None) -> dict[str, np.ndarray]:
    """Returns the weights after some epochs."""
    workdir = training.train(SETTINGS, directory, until_epoch=until, caches=caches, tensorboard=False)
    latest = workdir.checkpoints.latest()
    assert latest is not None
    with np.load(latest) as arrays:
        return {name: arrays[name] for name in arrays.files if name.startswith("model/")}


@pytest.mark.slow
def test_each_phase_trains_the_layers_that_are_unfrozen_so_far(caches: selection.SplitCaches, tmp_path: Path) -> None:
    after = [run(tmp_path, caches, epoch) for epoch in (1, 2, 3, 4)]
    for epoch, (before, now) in enumerate(itertools.pairwise(after), start=2):
        changed = {name for name in now if not np.array_equal(before[name], now[name])}
        parts = {name.removeprefix("model/").partition("_")[0] for name in changed}
        assert parts == ({"head", "stage2"} if epoch < 4 else {"head", "stage2", "stage1"})


@only_thorough
def test_a_run_in_several_calls_equals_a_run_in_one_call(caches: selection.SplitCaches, tmp_path: Path) -> None:
    once = run(tmp_path / "once", caches)
    for epoch in (1, 2, 4):
        several = run(tmp_path / "several", caches, epoch)
    for name, value in once.items():
        np.testing.assert_array_equal(several[name], value, err_msg=name)
    rows = training.Workdir(tmp_path / "once").rows()
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]


def test_images_are_chosen_once_for_all_phases(
    caches: selection.SplitCaches, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen, choose = list[selection.TrainingData](), selection.choose

    def counted(*args: Any) -> selection.TrainingData:
        chosen.append(choose(*args))
        return chosen[-1]

    monkeypatch.setattr(selection, "choose", counted)
    run(tmp_path, caches, 2)
    assert len(training.Workdir(tmp_path).rows()) == 2
    assert len(chosen) == 1


def test_phases_end_where_something_is_unfrozen() -> None:
    assert [freezing.phase(SETTINGS.optimizer, 4, done, None) for done in range(4)] == [(0, 1), (1, 3), (1, 3), (3, 4)]
    assert freezing.phase(SETTINGS.optimizer, 4, 1, 2) == (1, 2)
    assert freezing.phase(config.Optimizer(), 10, 3, None) == (0, 10)
    assert freezing.unfrozen_at(SETTINGS.optimizer, 2).unfreeze == ("0=stage2*", "3=stage1*")


def test_layers_that_are_unfrozen_later_have_their_learning_rates() -> None:
    factors = "optimizer.learning_rate_factors=stage*=0.5,stage2*=0.1,head*=1"
    plan = training.Plan.of(config.override(SETTINGS, [factors]))
    for epoch, expected in ((0, {1.0}), (1, {0.1, 1.0}), (3, {0.1, 0.5, 1.0})):
        assert set(plan.in_phase(epoch).build_optimizer(plan.build_network()).factors) == expected


@only_thorough
def test_a_damaged_checkpoint_returns_to_the_phase_before(caches: selection.SplitCaches, tmp_path: Path) -> None:
    once = run(tmp_path / "once", caches)
    run(tmp_path / "damaged", caches, 2)
    latest = training.Workdir(tmp_path / "damaged").checkpoints.latest()
    assert latest is not None
    latest.write_bytes(latest.read_bytes()[:1000])
    for name, value in run(tmp_path / "damaged", caches).items():
        np.testing.assert_array_equal(value, once[name], err_msg=name)


@pytest.mark.parametrize(
    ("unfreeze", "words"),
    [
        (("1=head*",), "matches no variable"),
        (("1=stage2*",) * 2, "matches no variable"),
        (("x=stage2*",), "a number of epochs"),
        (("stage2*",), "a number of epochs"),
        (("4=stage2*",), "below training.epochs = 4"),
    ],
)
def test_wrong_items_are_reported_before_training(unfreeze: tuple[str, ...], words: str, tmp_path: Path) -> None:

    def run() -> None:
        changed = config.override(SETTINGS, [f"optimizer.unfreeze={','.join(unfreeze)}"])
        training.train(changed, tmp_path, tensorboard=False)

    with pytest.raises(UserError, match=words):
        run()
