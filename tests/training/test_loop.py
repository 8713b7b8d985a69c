import io
import itertools
import math
import os
import shutil
import signal
import threading
import types

import keras
import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from tfeff import config, models, selection, training
from tfeff.errors import Interrupted, UserError
from tfeff.training import checkpoint, loop, saving
from tfeff.training.state import weights_for_evaluation
from tfeff.training.step import Step
from tfeff.training.validation import Validation


def experiment(*overrides, **data):
    """Returns two epochs of four steps on 144 digits."""
    data = {"source": "embedded:digits", "channels": 1, "train_examples": 144, "validation_fraction": 0.1} | data
    settings = config.Experiment(
        model=config.architecture("resnet", width=2, stage_blocks=(1, 1), resolution=8),
        data=config.Data(**data),
        training=config.Training(epochs=2, batch_size=32, precision="float32"),
    )
    return config.override(settings, overrides)


def final(workdir):
    return checkpoint.load(workdir.final)[0]


def measures(workdir, *left_out):
    """Returns the rows without timing, and without keys that start with one of `left_out`."""
    others = ("seconds", "images_per_second", "input_wait", *left_out)
    return [{k: v for k, v in row.items() if not k.startswith(others)} for row in workdir.rows()]


def assert_same_arrays(first, second):
    assert first.keys() == second.keys()
    for name, array in first.items():
        np.testing.assert_array_equal(second[name], array, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("last", "overrides"),
    [
        (3, ()),
        (7, ()),
        (3, ("optimizer.frozen=stem*,stage1*", "optimizer.unfreeze=1=stage1*", "training.validation_epochs=2")),
    ],
)
def test_a_signal_in_the_last_step_of_an_epoch(tmp_path, monkeypatch, last, overrides):
    """The run stops before the validation, which the resumed run makes up for, also if layers are then unfrozen."""
    settings = experiment("training.deterministic=true", *overrides)
    whole = training.train(settings, tmp_path / "whole")
    update, steps = Step.train, []

    def signalling(self, batch, *, step, learning_rate):
        steps.append(step)
        if step == last and len(steps) == last + 1:
            signal.raise_signal(signal.SIGTERM)
        return update(self, batch, step=step, learning_rate=learning_rate)

    monkeypatch.setattr(Step, "train", signalling)
    with pytest.raises(Interrupted, match=f"state saved at step {last + 1}"):
        training.train(settings, tmp_path / "stopped")
    assert len(training.Workdir(tmp_path / "stopped").rows()) == last // 4
    stopped = training.train(settings, tmp_path / "stopped")
    assert steps == list(range(8))
    assert_same_arrays(final(whole), final(stopped))
    assert measures(stopped) == measures(whole)


@pytest.mark.slow
def test_a_signal_during_a_validation_stops_it(tmp_path, monkeypatch, caplog):
    """With averaged weights, and layers that are unfrozen after the epoch that is validated."""
    changes = "training.deterministic=true", "training.ema_decay=0.9", "training.keep=best"
    settings = experiment(*changes, "optimizer.frozen=stem*", "optimizer.unfreeze=1=stem*", train_examples=400)
    whole = training.train(settings, tmp_path / "whole")
    monkeypatch.setattr(loop, "SECONDS_AT_RISK", 0.0)
    evaluate, update, validated, steps = Step.evaluate, Step.train, [], []

    def signalling(self, batch):
        validated.append(len(batch["weight"]))
        if len(validated) == 1:
            signal.raise_signal(signal.SIGTERM)
        return evaluate(self, batch)

    def recorded(self, batch, *, step, learning_rate):
        steps.append(step)
        return update(self, batch, step=step, learning_rate=learning_rate)

    monkeypatch.setattr(Step, "evaluate", signalling)
    monkeypatch.setattr(Step, "train", recorded)
    with pytest.raises(Interrupted, match="the run resumes from its last checkpoint"):
        training.train(settings, tmp_path / "stopped")
    assert (len(validated), training.Workdir(tmp_path / "stopped").rows()) == (1, [])
    stopped = training.train(settings, tmp_path / "stopped")
    assert steps == list(range(whole.rows()[-1]["step"]))
    assert_same_arrays(final(whole), final(stopped))
    assert measures(stopped) == measures(whole)
    assert "are lost" not in caplog.text


@pytest.mark.slow
@pytest.mark.usefixtures("own_graphs")
def test_runs_in_several_calls_match_a_run_in_one_call(tmp_path):
    """With dropout, averaging, plateau schedule and best epoch, which extra validations must not change."""
    settings = experiment(
        *("training.deterministic=true", "training.ema_decay=0.9", "training.keep=best", "training.epochs=5"),
        *("training.validation_epochs=2", "schedule.name=plateau", "schedule.patience_epochs=2"),
        *(
            "schedule.decay_rate=0.5",
            "optimizer.learning_rate=0.5",
            "model.dropout=0.2",
            "task.label_smoothing=0.1",
        ),
    )
    caches = selection.read(selection.request(settings), lambda *_: None)
    whole = training.train(settings, tmp_path / "whole", caches=caches, tensorboard=False)
    for until, done in ((1, 1), (3, 3), (2, 3)):
        cut = training.train(settings, tmp_path / "cut", until_epoch=until, caches=caches, tensorboard=False)
        assert cut.rows()[-1]["epoch"] == done
        assert not cut.final.exists()
    cut = training.train(settings, tmp_path / "cut", until_epoch=5)
    assert_same_arrays(final(whole), final(cut))
    ends = [checkpoint.load(workdir.checkpoints.latest()) for workdir in (whole, cut)]
    assert_same_arrays(ends[0][0], ends[1][0])
    assert ends[0][1] == ends[1][1]
    assert measures(whole, "validation") == measures(cut, "validation")
    validated = [[row["epoch"] for row in workdir.rows() if "validation_loss" in row] for workdir in (whole, cut)]
    assert validated == [[2, 4, 5], [1, 2, 3, 4, 5]]
    assert checkpoint.load(whole.final)[1]["epoch"] in validated[0]


@pytest.mark.slow
def test_a_finished_run_extended_to_more_epochs_equals_a_run_of_that_length(tmp_path, capsys):
    settings = experiment("training.deterministic=true", "training.ema_decay=0.9", "schedule.name=constant")
    longer = config.override(settings, ["training.epochs=4"])
    whole = training.train(longer, tmp_path / "whole")
    training.train(settings, tmp_path / "continued")
    continued = training.train(longer, tmp_path / "continued")
    assert "continuing the finished run to epoch 4" in capsys.readouterr().out
    assert_same_arrays(final(whole), final(continued))
    assert measures(whole) == measures(continued)
    with pytest.raises(UserError, match=r"training\.epochs: saved 4, now 2"):
        training.train(settings, tmp_path / "continued")


@pytest.mark.slow
def test_the_best_epoch_is_that_of_the_monitored_metric(tmp_path):
    changes = ("training.keep=best", "training.epochs=8", "optimizer.learning_rate=0.5")
    kept = {}
    for monitor in ("loss", "accuracy"):
        settings = experiment(*changes, f"training.monitor={monitor}", "training.deterministic=true")
        workdir = training.train(settings, tmp_path / monitor, tensorboard=False)
        values = [row[f"validation_{monitor}"] * (1 if monitor == "loss" else -1) for row in workdir.rows()]
        kept[monitor] = checkpoint.load(workdir.final)[1]["epoch"]
        assert kept[monitor] == 1 + values.index(min(values))
    assert kept["loss"] != kept["accuracy"]


def test_an_unknown_metric_is_refused(tmp_path):
    with pytest.raises(UserError, match=r'training\.monitor is \'acuracy\'; did you mean "accuracy"'):
        training.train(experiment("training.monitor=acuracy"), tmp_path)


def test_training_is_not_steered_by_shares_of_background(tmp_path):
    overrides = ["model.weights=imagenet", "model.name=efficientnet-lite0", "training.monitor=called_background"]
    with pytest.raises(UserError, match=r"training\.monitor is 'called_background'"):
        training.train(config.override(config.load("digits_rcnn", config.Experiment), overrides), tmp_path)


def test_a_metric_without_a_value_is_refused_at_the_first_validation(tmp_path, monkeypatch):
    settings = experiment("training.keep=best", "training.monitor=accuracy")
    monkeypatch.setattr(Validation, "_metrics", lambda *_: {"validation_loss": 1.0, "validation_accuracy": math.nan})
    with pytest.raises(UserError, match=r"no value of training\.monitor=accuracy"):
        training.train(settings, tmp_path)
    assert training.Workdir(tmp_path).rows() == []


def test_final_weights_are_written_after_a_kill_at_the_end(tmp_path):
    settings = experiment()
    workdir = training.train(settings, tmp_path, until_epoch=7)
    whole = final(workdir)
    workdir.final.unlink()
    assert_same_arrays(whole, final(training.train(settings, tmp_path, until_epoch=2)))


@pytest.mark.slow
def test_final_weights_are_renewed_after_a_kill_at_the_end_of_a_continued_run(tmp_path):
    short = training.train(experiment(), tmp_path)
    earlier, longer = short.final.read_bytes(), experiment("training.epochs=4")
    whole = final(training.train(longer, tmp_path))
    short.final.write_bytes(earlier)  # as if it had been killed before it wrote the new ones
    assert_same_arrays(whole, final(training.train(longer, tmp_path)))
    short.final.write_bytes(earlier[:-1])  # damaged
    assert_same_arrays(whole, final(training.train(longer, tmp_path)))


def test_a_run_that_stopped_early_is_not_made_longer(tmp_path):
    changes = "training.early_stopping_epochs=1", "optimizer.learning_rate=0.5"
    workdir = training.train(experiment(*changes, "training.epochs=40"), tmp_path)
    assert len(workdir.rows()) < 40
    with pytest.raises(UserError, match=r"training\.epochs: saved 40, now 50"):
        training.train(experiment(*changes, "training.epochs=50"), tmp_path)
    assert workdir.config().training.epochs == 40


@pytest.mark.slow
@pytest.mark.usefixtures("without_figures")
def test_a_continued_run_leaves_nothing_of_its_earlier_end(tmp_path):
    workdir = training.train(experiment(), tmp_path)
    training.finish_run(workdir, training.Reporter(quiet=True))
    listed = ("result.json", "report.html", "model_card.md", "evaluation_test.json", "predictions_test.csv", "figures")
    assert all((tmp_path / name).exists() for name in listed)
    mine = [tmp_path / name for name in ("predictions_test_checked.csv", "evaluation_notes.json", "figures/poster.png")]
    for path in mine:
        path.write_text("{}")
    training.train(experiment("training.epochs=3"), tmp_path)
    assert not [name for name in listed[:-1] if (tmp_path / name).exists()]
    assert [*(tmp_path / "figures").iterdir()] == mine[-1:]
    assert all(path.is_file() for path in mine)


def test_a_first_training_removes_nothing_that_it_did_not_write(tmp_path):
    mine = [tmp_path / name for name in ("figures/mine.png", "teachers/lite/config.json", "saved_model/notes.txt")]
    for path in mine:
        path.parent.mkdir(parents=True)
        path.touch()
    training.train(experiment("training.epochs=1"), tmp_path)
    assert all(path.is_file() for path in mine)


def test_a_signal_at_the_end_is_not_lost(tmp_path, monkeypatch):
    finish = saving.Saving.finish

    def signalling(self, loop):
        signal.raise_signal(signal.SIGTERM)
        finish(self, loop)

    monkeypatch.setattr(saving.Saving, "finish", signalling)
    with pytest.raises(Interrupted):
        training.train(experiment(), tmp_path)
    assert training.Workdir(tmp_path).is_finished()


def test_a_corrected_config_uses_the_workdir_of_a_failed_start(image_folder, tmp_path):
    root = image_folder({"train/a": 6, "train/b": 6, "test/a": 2, "test/b": 2})
    data = {"source": f"folder:{root}", "channels": 3, "train_examples": None}
    with pytest.raises(UserError, match="use at most"):
        training.train(experiment(**data), tmp_path)
    assert (tmp_path / "unreadable").exists()
    assert training.train(experiment("training.batch_size=4", **data), tmp_path).is_finished()
    with pytest.raises(UserError, match="belongs to another config"):
        training.train(experiment("training.batch_size=2", **data), tmp_path)


def test_error_if_stores_were_read_with_other_settings(tmp_path):
    caches = selection.read(selection.request(experiment()), lambda *_: None)
    with pytest.raises(ValueError, match=r"data\.channels: 1 then, 3 now"):
        training.train(experiment("data.channels=3"), tmp_path, caches=caches)


def test_a_run_without_tensorboard(tmp_path):
    settings = experiment("training.validation_epochs=2", "training.epochs=3")
    console = Console(file=io.StringIO(), width=120)
    workdir = training.train(settings, tmp_path, reporter=training.Reporter(console), tensorboard=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *(".lock", "checkpoints", "config.json", "dataset.json", "images.npz", "metrics.jsonl", "unreadable")
    ]
    assert [row["epoch"] for row in workdir.rows() if "validation_accuracy" in row] == [2, 3]
    said, head, *lines = console.file.getvalue().splitlines()[-5:]
    assert said == "validated every 2 epochs, and after the last one"
    end = head.index("val. accuracy") + len("val. accuracy")
    assert [line[:end].endswith(" –") for line in lines] == [True, False, False]
    assert {len(line) for line in lines} == {len(head)}


def test_seconds_and_speeds_agree(tmp_path, monkeypatch):
    """With a fake clock that advances by one second whenever it is read."""
    clock = itertools.count(100.0)
    monkeypatch.setattr(loop, "time", types.SimpleNamespace(perf_counter=lambda: next(clock)))
    monkeypatch.setattr(loop, "SECONDS_BETWEEN_LOGS", 0.0)
    speeds = []

    class Recorder(training.Reporter):
        def advance(self, step, images_per_second, loss):
            speeds.append(images_per_second)

    rows = training.train(experiment(), tmp_path, reporter=Recorder(quiet=True)).rows()
    # Preparing the batches takes one second, and so does waiting for each.
    computing = (32 / np.array(speeds)).reshape(2, 4).sum(axis=1)
    seconds = computing + np.array([1, 0])
    assert seconds.sum() < next(clock) - 100
    assert [row["seconds"] for row in rows] == pytest.approx(seconds)
    assert [row["images_per_second"] for row in rows] == pytest.approx(128 / seconds)
    assert [row["input_wait"] for row in rows] == pytest.approx([5, 4] / seconds)


def test_training_in_another_thread(tmp_path):
    """Python cannot handle signals in other threads."""
    thread = threading.Thread(target=training.train, args=(experiment("training.epochs=1"), tmp_path))
    thread.start()
    thread.join()
    assert training.Workdir(tmp_path).final.is_file()


def test_divergence_is_an_error_and_never_saved(tmp_path):
    with pytest.raises(UserError, match=r"training diverged.*optimizer\.learning_rate \(now 1e\+30\)"):
        training.train(experiment("optimizer.learning_rate=1e30", "model.batch_norm=false"), tmp_path)
    assert training.Workdir(tmp_path).divergence()["epoch"] == 1
    latest = checkpoint.Checkpoints(tmp_path / "checkpoints").latest()
    assert latest is None or all(np.isfinite(array).all() for array in checkpoint.load(latest)[0].values())


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_has_float32_variables(tmp_path, precision, monkeypatch):
    policies = []
    build = training.Plan.build_network
    monkeypatch.setattr(
        training.Plan, "build_network", lambda plan: policies.append(keras.config.dtype_policy().name) or build(plan)
    )
    workdir = training.train(experiment(f"training.precision={precision}"), tmp_path)
    assert policies == [precision]
    assert all(array.dtype != np.float16 for array in final(workdir).values())
    assert workdir.rows()[-1]["train_loss"] < workdir.rows()[0]["train_loss"]
    assert checkpoint.load(workdir.checkpoints.latest())[1]["precision"] == precision


@pytest.mark.slow
def test_xla_and_profiler_on_one_device(tmp_path):
    workdir = training.train(experiment("training.xla=true", "training.epochs=3"), tmp_path, profile=True)
    assert list(workdir.tensorboard.rglob("*.xplane.pb"))


def test_early_stopping_counts_epochs_without_validation(tmp_path):
    changes = ("training.early_stopping_epochs=4", "training.epochs=40", "optimizer.learning_rate=1e-9")
    settings = config.override(experiment(*changes), ["training.validation_epochs=3"])
    workdir = training.train(settings, tmp_path, tensorboard=False)
    losses = {row["epoch"]: row["validation_loss"] for row in workdir.rows() if "validation_loss" in row}
    best = min(losses, key=losses.__getitem__)
    assert list(losses) == list(range(3, best + 7, 3))
    assert workdir.rows()[-1]["epoch"] == best + 6 < 40
    assert checkpoint.load(workdir.final)[1]["epoch"] == best


def test_early_stopping_keeps_the_best_epoch(tmp_path):
    changes = ("training.early_stopping_epochs=1", "training.epochs=40", "optimizer.learning_rate=0.5")
    workdir = training.train(experiment(*changes), tmp_path)
    losses = [row["validation_loss"] for row in workdir.rows()]
    assert len(losses) < 40
    assert checkpoint.load(workdir.final)[1]["epoch"] == 1 + int(np.argmin(losses)) == len(losses) - 1


@pytest.mark.slow
@pytest.mark.usefixtures("without_figures")
def test_transfer_copies_the_normalization(tmp_path, capsys):
    source = training.train(experiment("data.normalization=dataset"), tmp_path / "source")
    weights = shutil.copy(source.final, tmp_path / "weights.npz")
    settings = experiment(f"model.weights={weights}", "optimizer.frozen=stage1*", "training.ema_decay=0.9")
    network = training.Plan.of(settings).learned(source.dataset() | {"mean": [], "std": []}).build_network()
    images = np.random.default_rng(0).uniform(0, 255, (5, 8, 8, 1)).astype(np.float32)
    expected = training.trained_model(source)(images)
    assert np.abs(network(images) - expected).max() > 0.01
    network = training.Plan.of(settings).learned(source.dataset() | {"mean": [], "std": []}).build_network()
    training.Plan.of(settings).load_weights(network)
    np.testing.assert_allclose(network(images), expected, atol=1e-4)

    target = training.train(settings, tmp_path / "target")
    output = capsys.readouterr().out
    assert "variables loaded, 0 skipped" in output
    assert "88 parameters are frozen" in output
    start, end = final(source), final(target)
    assert {name for name in end if np.array_equal(start[name], end[name]) and name.startswith("model/")} == {
        name for name in end if name.startswith("model/stage1")
    }
    os.remove(weights)  # a finished run does not need them
    assert training.evaluate_run(target, "test", training.Reporter(quiet=True)).report["examples"] == 359


@pytest.mark.slow
def test_a_checkpoint_of_an_unfinished_run_loads_as_it_would_be_evaluated(tmp_path):
    settings = experiment("training.ema_decay=0.99", "data.normalization=dataset")
    workdir = training.train(settings, tmp_path, until_epoch=1, tensorboard=False)
    latest = workdir.checkpoints.latest()
    evaluated = training.Plan.opened(workdir).build_network()
    models.load_weights(evaluated, weights_for_evaluation(checkpoint.load(latest)[0]))
    network = training.Plan.of(settings).learned(workdir.dataset() | {"mean": [], "std": []}).build_network()
    assert not models.load_weights(network, latest).skipped
    images = np.random.default_rng(0).uniform(0, 255, (5, 8, 8, 1)).astype(np.float32)
    np.testing.assert_allclose(network(images), evaluated(images), atol=1e-4)


@pytest.mark.slow
def test_error_if_images_changed_before_a_restart(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for index in range(40):
            pixels = rng.integers(0, 255, (8, 8, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / name / f"{index}.png")
    settings = experiment(source=f"folder:{tmp_path / 'images'}", channels=3, train_examples=None)
    workdir = training.train(settings, tmp_path / "run")
    workdir.final.unlink()  # as if it had been killed before the end
    (tmp_path / "images" / "a" / "0.png").unlink()
    with pytest.raises(UserError, match="have changed since this run began"):
        training.train(settings, tmp_path / "run")


def test_error_if_other_images_are_corrupt_than_before_a_restart(image_folder, tmp_path):
    root = image_folder({"train/a": 20, "train/b": 20})
    data = {"source": f"folder:{root}", "channels": 3, "train_examples": None, "corrupt_images": "skip"}
    settings = experiment("training.batch_size=8", "training.epochs=1", **data)
    path = root / "train/a/000.png"
    stat, content = path.stat(), path.read_bytes()
    path.write_bytes(bytes(len(content)))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    workdir = training.train(settings, tmp_path / "run")
    workdir.final.unlink()  # as if it had been killed before the end
    path.write_bytes(content)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    with pytest.raises(UserError, match=r"000\.png: 1 then, 0 now"):
        training.train(settings, tmp_path / "run")


def test_a_workdir_is_locked(tmp_path):
    settings = experiment()
    with (
        config.claimed(tmp_path, settings),
        pytest.raises(UserError, match="another process is using it"),
    ):
        training.train(settings, tmp_path)
    training.train(settings, tmp_path)


@pytest.mark.slow
def test_statistics_of_initial_weights_are_those_of_the_training_images(tmp_path):
    source = training.train(experiment("data.normalization=dataset"), tmp_path / "source")
    dark = experiment(f"model.weights={source.path}", "training.recompute_statistics=true", "optimizer.frozen=stem*")
    kept = experiment(f"model.weights={source.path}", "optimizer.frozen=stem*")
    statistics = [
        final(training.train(settings, tmp_path / name))["model/stem_conv_bn/moving_mean"]
        for name, settings in (("recomputed", dark), ("kept", kept))
    ]
    np.testing.assert_array_equal(statistics[1], final(source)["model/stem_conv_bn/moving_mean"])
    assert np.abs(statistics[0] - statistics[1]).max() > 1e-4


VARIED = "task.augmentation.shift=0.1", "task.augmentation.mixup_alpha=0.2", "task.plain_epochs=1"


@pytest.mark.slow
def test_batches_finished_on_the_device_train_the_same_network(tmp_path):
    host, device = (
        final(
            training.train(experiment(*VARIED, f"data.augment_on_device={there}"), tmp_path / there, tensorboard=False)
        )
        for there in ("false", "true")
    )
    assert host.keys() == device.keys()
    for name, values in host.items():
        np.testing.assert_allclose(device[name], values, rtol=1e-4, atol=1e-4, err_msg=name)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (("data.cache=none",), "only images with one label"),
        (("task.center_crop=0.875",), "only images with one label"),
        (("training.feature_variants=2", "optimizer.frozen=stem*"), r"training\.feature_variants needs batches"),
        (("task.name=yolo", "data.source=embedded:placed_digits", "model.resolution=64"), "only images with one label"),
    ],
)
def test_what_the_device_cannot_finish_is_refused_before_images_are_read(tmp_path, overrides, words, monkeypatch):
    monkeypatch.setattr(selection, "read", lambda *_, **__: pytest.fail("images are read"))
    with pytest.raises(UserError, match=rf"data\.augment_on_device.*{words}"):
        training.train(experiment("data.augment_on_device=true", *overrides), tmp_path)
