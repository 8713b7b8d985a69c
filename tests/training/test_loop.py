import os
import shutil
import signal

import keras
import numpy as np
import pytest
from PIL import Image

from tfeff import config, training
from tfeff.errors import Interrupted, UserError
from tfeff.training import build, checkpoint
from tfeff.training.step import Step


def experiment(*overrides, **data):
    """Two epochs of four steps on 144 digits: seconds, most of them tracing."""
    data = {"source": "embedded:digits", "channels": 1, "train_examples": 144, "validation_fraction": 0.1} | data
    settings = config.Experiment(
        model=config.Model(width=2, stage_blocks=(1, 1, 1, 1), resolution=8),
        data=config.Data(**data),
        training=config.Training(epochs=2, batch_size=32, precision="float32"),
    )
    return config.override(settings, overrides)


def final(workdir):
    return checkpoint.load(workdir.final)[0]


def test_a_signal_in_the_last_step_of_an_epoch_loses_nothing(tmp_path, monkeypatch):
    settings = experiment("training.deterministic=true")
    whole = training.train(settings, tmp_path / "whole")
    update = Step.train

    def signalling(self, batch, *, step, learning_rate):
        if step == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return update(self, batch, step=step, learning_rate=learning_rate)

    monkeypatch.setattr(Step, "train", signalling)
    with pytest.raises(Interrupted, match="state saved at step 4"):
        training.train(settings, tmp_path / "stopped")
    assert [row["epoch"] for row in training.Workdir(tmp_path / "stopped").rows()] == [1]
    monkeypatch.undo()
    stopped = training.train(settings, tmp_path / "stopped")
    for name, array in final(whole).items():
        np.testing.assert_array_equal(final(stopped)[name], array, err_msg=name)
    measures = ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy")
    assert [[row[key] for key in measures] for row in stopped.rows()] == [
        [row[key] for key in measures] for row in whole.rows()
    ]


def test_divergence_is_told_and_never_saved(tmp_path):
    with pytest.raises(UserError, match=r"training diverged.*optimizer\.learning_rate \(1e\+30 now\)"):
        training.train(experiment("optimizer.learning_rate=1e30", "model.batch_norm=false"), tmp_path)
    latest = checkpoint.Checkpoints(tmp_path / "checkpoints").latest()
    assert latest is None or all(np.isfinite(array).all() for array in checkpoint.load(latest)[0].values())


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_trains_in_float32_variables(tmp_path, precision):
    workdir = training.train(experiment(f"training.precision={precision}"), tmp_path)
    assert keras.mixed_precision.dtype_policy().name == precision
    assert all(array.dtype != np.float16 for array in final(workdir).values())
    assert workdir.rows()[-1]["train_loss"] < workdir.rows()[0]["train_loss"]
    assert checkpoint.load(workdir.checkpoints.latest())[1]["precision"] == precision


def test_xla_and_profiler_on_one_device(tmp_path):
    workdir = training.train(experiment("training.xla=true", "training.epochs=3"), tmp_path, profile=True)
    assert list(workdir.tensorboard.rglob("*.xplane.pb"))


def test_early_stopping_keeps_the_best_epoch(tmp_path):
    changes = ("training.early_stopping_epochs=1", "training.epochs=40", "optimizer.learning_rate=0.5")
    workdir = training.train(experiment(*changes), tmp_path)
    losses = [row["validation_loss"] for row in workdir.rows()]
    assert len(losses) < 40
    assert checkpoint.load(workdir.final)[1]["epoch"] == 1 + int(np.argmin(losses)) == len(losses) - 1


def test_transfer_brings_preprocessing_and_leaves_the_source_behind(tmp_path, capsys):
    source = training.train(experiment("data.normalization=dataset"), tmp_path / "source")
    weights = shutil.copy(source.final, tmp_path / "weights.npz")
    settings = experiment(f"model.weights={weights}")
    network = build.model(settings, source.dataset() | {"mean": [], "std": []})
    images = np.random.default_rng(0).uniform(0, 255, (5, 8, 8, 1)).astype(np.float32)
    expected = build.trained_model(source)(images)
    assert np.abs(network(images) - expected).max() > 0.01
    network = build.model(settings, source.dataset() | {"mean": [], "std": []})
    build.initial_weights(settings, network)
    np.testing.assert_allclose(network(images), expected, atol=1e-4)

    target = training.train(settings, tmp_path / "target")
    assert "variables loaded, 0 not" in capsys.readouterr().out
    os.remove(weights)  # a finished run needs nothing but its own files
    assert training.assess(target, "test", training.Reporter(quiet=True)).report["examples"] == 359


def test_changed_images_are_noticed_at_a_restart(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for index in range(40):
            pixels = rng.integers(0, 255, (8, 8, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / name / f"{index}.png")
    settings = experiment(source=f"folder:{tmp_path / 'images'}", channels=3, train_examples=None)
    workdir = training.train(settings, tmp_path / "run")
    workdir.final.unlink()  # as if it had been killed before its end
    (tmp_path / "images" / "a" / "0.png").unlink()
    with pytest.raises(UserError, match="have changed since this run began"):
        training.train(settings, tmp_path / "run")


def test_one_process_a_workdir(tmp_path):
    settings = experiment()
    with (
        training.Workdir(tmp_path).claimed(settings),
        pytest.raises(UserError, match="another process is training there"),
    ):
        training.train(settings, tmp_path)
    training.train(settings, tmp_path)
