"""Stochastic weight averaging in whole runs."""

import dataclasses
import signal
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.thoroughness import only_thorough
from tfeff import config, selection, training
from tfeff.data.input.batches import Batches
from tfeff.errors import Interrupted, UserError
from tfeff.tasks.task import Batch
from tfeff.training import checkpoint, loop
from tfeff.training.assembly import AssemblyCache
from tfeff.training.loop import Loop
from tfeff.training.step import Step
from tfeff.training.swa import WeightAveraging

SETTINGS = config.Experiment(
    model=config.architecture("resnet", width=4, stage_blocks=(1, 1), resolution=8),
    data=config.Data(channels=1, train_examples=160),
    optimizer=config.Optimizer(learning_rate=0.05),
    schedule=config.Schedule(name="constant"),
    training=config.Training(epochs=5, batch_size=32, precision="float32", deterministic=True, swa_epochs=3),
)


@pytest.fixture(scope="module")
def caches() -> selection.SplitCaches:
    return selection.read(selection.request(SETTINGS), lambda *_: None)


@pytest.mark.slow
@pytest.mark.parametrize("parts", [1, 2])
def test_the_result_is_the_mean_over_epochs_with_recomputed_batch_statistics(
    caches: selection.SplitCaches, tmp_path: Path, parts: int
) -> None:
    settings, weights = config.override(SETTINGS, [f"training.accumulation_steps={parts}"]), []
    for epoch in range(1, 6):
        workdir = training.train(settings, tmp_path, until_epoch=epoch, caches=caches, tensorboard=False)
        latest = workdir.checkpoints.latest()
        assert latest is not None
        weights.append(checkpoint.load(latest)[0])
    final, _ = checkpoint.load(workdir.final)
    trained = [name for name in final if name.startswith("model/") and "moving" not in name]
    assert trained
    for name in trained:
        np.testing.assert_allclose(final[name], np.mean([each[name] for each in weights[2:]], axis=0), atol=1e-6)
        np.testing.assert_array_equal(weights[1][name.replace("model/", "average/", 1)], weights[1][name])

    # Each layer's statistics, computed directly from its inputs.
    network = training.trained_model(workdir)
    layers = [layer for layer in network._flatten_layers() if isinstance(layer, keras.layers.BatchNormalization)]
    statistics = [(np.array(layer.moving_mean), np.array(layer.moving_variance)) for layer in layers]
    inputs = keras.Model(network.input, [layer.input for layer in layers])
    images = selection.choose(selection.request(SETTINGS), caches).train
    pipeline = training.Plan.of(SETTINGS).training_pipeline(images, network.size)
    found = []
    for batch in pipeline.training_batches(5, 4 * pipeline.steps_per_epoch):
        for part in np.split(batch["image"].numpy(), parts):
            values = [each.numpy() for each in inputs(part, training=True)]
            found.append([[each.mean((0, 1, 2)), each.var((0, 1, 2))] for each in values])
    for index, (mean, variance) in enumerate(statistics):
        expected = np.mean([batch[index] for batch in found], axis=0)
        np.testing.assert_allclose(mean, expected[0], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(variance, expected[1], rtol=1e-4, atol=1e-5)


@only_thorough
def test_a_run_in_several_calls_equals_a_run_in_one_call(caches: selection.SplitCaches, tmp_path: Path) -> None:
    assemblies = AssemblyCache()
    for name, ends in (("other", (5,)), ("once", (5,)), ("several", (2, 3, 4, 5))):
        run = dataclasses.replace(SETTINGS, seed=int(name == "other"))
        for epoch in ends:
            training.train(
                run, tmp_path / name, until_epoch=epoch, caches=caches, assemblies=assemblies, tensorboard=False
            )
    once, several = (checkpoint.load(training.Workdir(tmp_path / name).final)[0] for name in ("once", "several"))
    for name in once:
        np.testing.assert_array_equal(several[name], once[name], err_msg=name)


@pytest.mark.slow
def test_a_signal_while_batch_statistics_are_computed_loses_no_training(
    caches: selection.SplitCaches, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also without validation images, before whose validation the state would be saved anyway."""
    monkeypatch.setattr(loop, "SECONDS_AT_RISK", 0.0)
    run, assemblies = config.override(SETTINGS, ["training.epochs=2", "training.swa_epochs=2"]), AssemblyCache()
    run = config.override(run, ["data.validation_fraction=0"])
    whole = training.train(run, tmp_path / "whole", assemblies=assemblies, tensorboard=False)
    update, renew, steps, passes = Step.train, WeightAveraging._run, list[int](), list[int]()

    def recorded(self: Step, batch: Batch, *, step: int, learning_rate: float) -> tf.Tensor:
        steps.append(step)
        return update(self, batch, step=step, learning_rate=learning_rate)

    def signalling(self: WeightAveraging, loop: Loop, batch: Batch, part: int) -> None:
        passes.append(loop.state.step)
        if len(passes) == 1:
            signal.raise_signal(signal.SIGTERM)
        renew(self, loop, batch, part)

    monkeypatch.setattr(Step, "train", recorded)
    monkeypatch.setattr(WeightAveraging, "_run", signalling)
    with pytest.raises(Interrupted, match="the run resumes from its last checkpoint"):
        training.train(run, tmp_path / "stopped", assemblies=assemblies, tensorboard=False)
    stopped = training.train(run, tmp_path / "stopped", assemblies=assemblies, tensorboard=False)
    assert steps == list(range(whole.rows()[-1]["step"]))
    once, resumed = (checkpoint.load(each.final)[0] for each in (whole, stopped))
    for name in once:
        np.testing.assert_array_equal(resumed[name], once[name], err_msg=name)


def test_one_pipeline_serves_all_averaged_epochs(
    caches: selection.SplitCaches, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches, starts = Batches.training_batches, list[int]()

    def recorded(self: Batches, epochs: int, start_step: int = 0) -> tf.data.Dataset:
        starts.append(start_step)
        return batches(self, epochs, start_step)

    monkeypatch.setattr(Batches, "training_batches", recorded)
    run = config.override(SETTINGS, ["training.epochs=3"])
    workdir = training.train(run, tmp_path, caches=caches, tensorboard=False)
    assert starts == [0, workdir.rows()[0]["step"]]


def test_a_finished_run_cannot_be_continued(caches: selection.SplitCaches, tmp_path: Path) -> None:
    short = config.override(SETTINGS, ["training.epochs=2", "training.swa_epochs=1"])
    training.train(short, tmp_path, caches=caches, tensorboard=False)
    with pytest.raises(UserError, match=r"training\.epochs"):
        training.train(config.override(short, ["training.epochs=3"]), tmp_path, caches=caches, tensorboard=False)


@pytest.mark.parametrize(
    "wrong",
    [
        {"swa_epochs": 6},
        {"swa_epochs": 3, "ema_decay": 0.9},
        {"swa_epochs": 0},
        {"keep": "best"},
        {"early_stopping_epochs": 2},
    ],
)
def test_impossible_settings_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UserError, match=r"training\.swa_epochs"):
        dataclasses.replace(SETTINGS.training, **wrong)
