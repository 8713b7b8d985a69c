"""The verbs on valid and invalid input: results, or one clear message with exit code 2; never a traceback."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.thoroughness import thorough
from tests.verbs import ROOT, Done
from tfeff import cli

CONFIG = """
from tfeff.config import Data, Experiment, architecture, Optimizer, Schedule, Training

def get_config():
    return Experiment(
        model=architecture("resnet", width=4, stage_blocks=(1, 1), resolution=16),
        data=Data(source="folder:nowhere", image_size=16),
        optimizer=Optimizer(learning_rate=0.05),
        training=Training(epochs=2, batch_size=16, precision="float32", deterministic=True),
    )
"""


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Callable[..., Path]:
    """`images("train/a", ...)`: an image folder of two classes without the given folders."""
    whole = tmp_path_factory.mktemp("whole")
    rng = np.random.default_rng(0)
    for part, count in (("train/a", 40), ("train/b", 40), ("test/a", 6), ("test/b", 6)):
        (whole / part).mkdir(parents=True)
        for i in range(count):
            Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8)).save(whole / part / f"{i:03}.jpg")

    def make(*without: str) -> Path:
        root = tmp_path_factory.mktemp("images") / "set"
        shutil.copytree(whole, root)
        for part in without:
            shutil.rmtree(root / part)
        return root

    return make


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("config") / "tiny.py"
    path.write_text(CONFIG)
    return path


@dataclass(frozen=True)
class Trained:
    """A finished run, its flags and its output."""

    workdir: Path
    flags: tuple[str, ...]
    done: Done

    def copy(self, to: Path) -> Path:
        shutil.copytree(self.workdir, to)
        return to


@pytest.fixture(scope="module")
def trained(verbs, images, config, tmp_path_factory) -> Trained:
    workdir = tmp_path_factory.mktemp("trained") / "run"
    flags = (f"--config={config}", f"--config.data.source=folder:{images()}")
    done = verbs("train", *flags, f"--workdir={workdir}", figures=True)
    assert done.code == 0, done
    return Trained(workdir, flags, done)


def test_train_evaluates_exports_and_lists_the_files(trained):
    result = json.loads((trained.workdir / "result.json").read_text())
    assert result["epochs"] == 2
    assert result["split"] == "test"
    assert json.loads((trained.workdir / "evaluation_test.json").read_text())["skipped_images"] == []
    assert (trained.workdir / "saved_model" / "saved_model.pb").is_file()
    for line in trained.done.out.splitlines():
        if line.startswith("wrote "):
            directory, names = line.removeprefix("wrote ").split(": ")
            assert all((Path(directory) / name).exists() for name in names.split(", ")), line
    assert (trained.workdir / "report.html").is_file()


@pytest.mark.slow
def test_rerunning_a_finished_run_only_evaluates(trained, verbs, tmp_path):
    run = trained.copy(tmp_path / "run")
    (run / "result.json").unlink()
    again = verbs("train", *trained.flags, f"--workdir={run}")
    assert again.code == 0
    assert "already finished" in again.out
    assert (run / "result.json").read_bytes() == (trained.workdir / "result.json").read_bytes()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--confg=x.py"], ["confg", "Did you mean: config"]),
        (["--epochs=3"], ["no flag --epochs; did you mean --config.training.epochs?"]),
        (["--flagfile=nowhere"], ["nowhere"]),
        ([], ["--config=", "--workdir="]),
        (["--config=nowhere.py", "--workdir=run"], ["nowhere.py", "no such file"]),
        (["--config={config}", "--workdir=run", "--config.training.epoch=3"], ['"epochs"']),
        (["--config={config}", "--workdir=run", "--config.batch_size=3"], ['"training.batch_size"']),
        (["--config={config}", "--workdir=run", "epochs=3"], ["unexpected argument 'epochs=3'"]),
        (["--config={config}", "--workdir={config}"], ["tiny.py", "a file is in the way"]),
        (["--config={config}", "--workdir=/proc/run"], ["/proc/run", "cannot be written"]),
        (["--config={config}", "--workdir="], ["--workdir= is empty"]),
        (["--config={config}", "--workdir=" + 300 * "a"], ["File name too long", "use another path"]),
    ],
)
def test_wrong_flags(verbs, config, tmp_path, monkeypatch, flags, words):
    verbs("train", *(flag.format(config=config) for flag in flags)).fails_with(*words)
    assert not (ROOT / "run").exists()


@pytest.mark.parametrize("modules", ["tfeff.cli, tfeff.config", "tfeff.recipes"])
def test_config_errors_are_reported_before_tensorflow_loads(modules):
    code = f"import sys, {modules}; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_a_file_of_flags_can_set_values_of_the_config(verbs, config, tmp_path):
    (tmp_path / "flags").write_text("--config.training.epochs=0\n")
    done = verbs("train", f"--config={config}", f"--workdir={tmp_path / 'run'}", f"--flagfile={tmp_path / 'flags'}")
    done.fails_with("training.epochs", "above 0")


@pytest.mark.parametrize(
    ("flag", "path"),
    [
        ("--workdir=~/nowhere", "nowhere"),
        ("--workdir=~", ""),
        ("--workdir=a~/nowhere", None),
        ("--workdir=~nowhere", None),
    ],
)
def test_the_home_directory_of_a_path(verbs, flag, path):
    expected = flag.partition("=")[2] if path is None else str(Path.home() / path)
    verbs("evaluate", flag).fails_with(f"--workdir={expected}: no config.json")


def test_the_home_directory_of_a_source(verbs, config, tmp_path):
    done = verbs("train", f"--config={config}", f"--workdir={tmp_path / 'x'}", "--config.data.source=folder:~/nowhere")
    done.fails_with(f"{Path.home() / 'nowhere'} does not exist")


def test_the_version_is_printed(verbs):
    done = verbs("train", "--version")
    assert (done.code, done.out) == (0, f"tfeff {metadata.version('tfeff')}\n")


@pytest.mark.parametrize("verb", cli.VERBS)
def test_help_lists_all_flags_of_a_verb(verbs, verb):
    def listed(text: str) -> set[str]:
        return set(re.findall(r"^ +--(?:\[no\])?(\w+):", text, re.M))

    parts = re.split(r"^(\S.*):\n", verbs(verb, "--helpfull").out, flags=re.M)
    own = [listed(text) for module, text in zip(parts[1::2], parts[2::2], strict=True) if "tfeff" in module]
    done = verbs(verb, "--help")
    assert done.code == 0
    assert set[str]().union(*own) <= listed(done.out)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("data.source=folder:{tmp}/nowhere", ["nowhere", "does not exist"]),
        ("data.source=folder:{tmp}", ["no class folders"]),
        ("data.source=digits", ["embedded:<name>", "folder:<directory>"]),
        ("data.test_split=tset", ["data.test_split", 'did you mean "test"']),
        ("data.cache_directory={config}", ["{config}"]),
        ("model.name=resnte", ['"resnet"']),
        ("model.resolution=2", ["resolution 2", "at least"]),
        ("model.width=0", ["model.width", "at least 1"]),
        ("model.weights={tmp}/nowhere.npz", ["model.weights", "nowhere.npz"]),
        ("training.batch_size=1000", ["one batch of 1000", "at most 72"]),
        ("training.accumulation_steps=3", ["accumulation_steps", "divisor"]),
        ("seed=-1", ["seed", "between 0"]),
        ("training.strategy=multi_worker", ["TF_CONFIG"]),
    ],
)
def test_wrong_settings(verbs, images, config, tmp_path, override, words):
    names = {"tmp": str(tmp_path / "empty"), "config": str(config)}
    (tmp_path / "empty").mkdir()
    flags = [f"--config.data.source=folder:{images()}", f"--config.{override.format(**names)}"]
    if "cache_directory" in override:
        flags.append("--config.data.cache=disk")
    done = verbs("train", f"--config={config}", f"--workdir={tmp_path / 'run'}", *flags)
    done.fails_with(*(word.format(**names) for word in words))


def test_tf_config_must_be_json(verbs, config, tmp_path):
    done = verbs("train", f"--config={config}", f"--workdir={tmp_path / 'run'}", env={"TF_CONFIG": "{worker"})
    done.fails_with("TF_CONFIG", "not JSON", "{worker")


def test_an_empty_class_is_an_error_before_training(verbs, images, config, tmp_path):
    root = images("train/b")
    (root / "train/b").mkdir()
    done = verbs("train", f"--config={config}", f"--workdir={tmp_path / 'run'}", f"--config.data.source=folder:{root}")
    done.fails_with(f"{root}/train", 'class "b" has no images that can be read: it is empty')
    assert "epoch" not in done.out


@pytest.mark.slow
def test_a_test_split_may_lack_a_class(verbs, images, config, tmp_path):
    root = images("test/b")
    (root / "test/b").mkdir()
    flags = [f"--config.data.source=folder:{root}", "--config.training.epochs=1"]
    done = verbs("train", f"--config={config}", f"--workdir={tmp_path / 'run'}", *flags)
    assert done.code == 0
    assert "test: no images of 1 of the 2 classes: b" in " ".join(done.out.split())


def corrupt(root: Path) -> dict[str, Path]:
    """Corrupts four training images in different ways; a fifth becomes a PNG with the wrong suffix, which is valid."""
    train = root / "train"
    files = {"cut off": train / "a/001.jpg", "empty": train / "a/002.jpg", "text": train / "b/003.jpg"}
    files["cut late"] = train / "b/004.jpg"
    files["cut off"].write_bytes(files["cut off"].read_bytes()[:200])
    files["empty"].write_bytes(b"")
    files["text"].write_text("not an image")
    files["cut late"].write_bytes(files["cut late"].read_bytes()[:-200])
    Image.new("RGB", (16, 16)).save(train / "b/005.jpg", "PNG")
    return files


def test_corrupt_images_are_listed(verbs, images, config, tmp_path):
    root = images()
    files = corrupt(root)
    done = verbs("train", f"--config={config}", f"--workdir={tmp_path / 'run'}", f"--config.data.source=folder:{root}")
    done.fails_with("4 of 80 images", "skip them with --config.data.corrupt_images=skip", *map(str, files.values()))
    assert "005.jpg" not in done.err


@pytest.mark.slow
def test_corrupt_images_can_be_skipped(verbs, images, config, tmp_path):
    root = images()
    files = corrupt(root)
    flags = [f"--config.data.source=folder:{root}", "--config.data.corrupt_images=skip", "--config.training.epochs=1"]
    done = verbs("train", f"--config={config}", f"--workdir={tmp_path / 'run'}", "--noevaluate", *flags)
    assert done.code == 0, done.err
    assert "skipped 4 corrupt images" in done.out
    record = json.loads((tmp_path / "run" / "dataset.json").read_text())
    assert record["skipped_images"] == sorted(map(str, files.values()))
    assert record["train_examples"] + record["validation_examples"] == 76


@pytest.mark.slow
def test_a_finished_run_is_evaluated_without_images_that_were_damaged_since(verbs, images, config, tmp_path):
    root, run = images(), f"--workdir={tmp_path / 'run'}"
    flags = [f"--config={config}", run, f"--config.data.source=folder:{root}", "--config.training.epochs=1"]
    flags.append("--noevaluate")
    verbs("train", *flags).succeeds()
    (root / "test" / "a" / "003.jpg").write_bytes(b"")
    skip = "--config.data.corrupt_images=skip"
    verbs("evaluate", run).fails_with("1 of 12 images cannot be read", f"rerun its tfeff.train command with {skip}")
    verbs("train", *flags, skip).succeeds()
    assert "11 images" in verbs("evaluate", run).succeeds().out


@pytest.mark.slow
def test_divergence_keeps_the_last_good_checkpoint(verbs, images, config, tmp_path):
    flags = [f"--config={config}", f"--workdir={tmp_path / 'run'}", f"--config.data.source=folder:{images()}"]
    explode = ("name=step", "boundaries=1", "decay_rate=1e30")  # the second epoch's learning rate
    flags += [f"--config.schedule.{setting}" for setting in explode]
    for _ in range(2):  # the second time it resumes from the checkpoint
        done = verbs("train", *flags)
        done.fails_with("diverged", "epoch 2", "optimizer.learning_rate", "new --workdir", "step_000000004.npz")
    with np.load(tmp_path / "run" / "checkpoints" / "step_000000004.npz") as file:
        assert all(np.isfinite(file[name]).all() for name in file.files if name != "record")


def test_damaged_checkpoints_are_skipped(trained, verbs, tmp_path):
    run = trained.copy(tmp_path / "run")
    (run / "checkpoints" / "final.npz").unlink()
    last = run / "checkpoints" / "step_000000008.npz"
    last.write_bytes(last.read_bytes()[:-1000])
    done = verbs("train", *trained.flags, f"--workdir={run}", "--noevaluate")
    assert done.code == 0, done.err
    assert f"{last}: damaged checkpoint; skipped" in done.out
    assert "resuming from step 4" in done.out
    with (
        np.load(run / "checkpoints" / "final.npz") as again,
        np.load(trained.workdir / "checkpoints" / "final.npz") as whole,
    ):
        for name in whole.files:
            np.testing.assert_array_equal(again[name], whole[name], err_msg=name)


def test_error_if_all_checkpoints_are_damaged(trained, verbs, tmp_path):
    run = trained.copy(tmp_path / "run")
    (run / "checkpoints" / "final.npz").unlink()
    for path in (run / "checkpoints").glob("step_*.npz"):
        path.write_bytes(b"")
    done = verbs("train", *trained.flags, f"--workdir={run}")
    done.fails_with("all checkpoints to resume from are damaged", str(run / "checkpoints"))


@pytest.mark.parametrize("name", ["config.json", "dataset.json", "checkpoints/final.npz"])
def test_errors_of_damaged_files(trained, verbs, tmp_path, name):
    run = trained.copy(tmp_path / "run")
    (run / name).write_text("{")
    verbs("evaluate", f"--workdir={run}").fails_with(str(run / name))


@pytest.mark.slow
def test_a_full_disk_leaves_no_partial_files(trained, verbs, tmp_path):
    run = trained.copy(tmp_path / "run")
    before = (run / "result.json").read_bytes()
    (run / ".result.json.partial").symlink_to("/dev/full")
    done = verbs("train", *trained.flags, f"--workdir={run}")
    done.fails_with("no space left on the disk", str(run / "result.json"))
    assert (run / "result.json").read_bytes() == before
    assert not list(run.glob(".*.partial"))


@pytest.mark.slow
@pytest.mark.parametrize("part", ["checkpoints", thorough("tensorboard"), thorough("figures")])
def test_runs_resume_after_the_disk_was_full(trained, verbs, tmp_path, part):
    run = tmp_path / "run"
    flags = [*trained.flags, f"--workdir={run}"]
    if part == "figures":
        shutil.rmtree(trained.copy(run) / part)
    else:
        flags.append("--noevaluate")
    (run / part).mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=8k", "tmpfs", run / part]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a small file system")
    try:
        verbs("train", *flags).fails_with("no space left on the disk", str(run))
    finally:
        subprocess.run(["umount", run / part], check=True)
    again = verbs("train", *flags)
    assert again.code == 0, again.err
    assert (run / "checkpoints" / "final.npz").is_file()


def test_evaluate_prints_only_json(trained, verbs, tmp_path):
    run = trained.copy(tmp_path / "run")
    report = json.loads(verbs("evaluate", f"--workdir={run}", "--json", "--split=validation").out)
    assert report["split"] == "validation"
    assert report["examples"] == 8


@pytest.mark.slow
def test_a_diagnosis_as_json_writes_the_page_too(trained, verbs, tmp_path):
    done = verbs("analyze", f"--workdir={trained.workdir}", "--json", f"--out={tmp_path / 'out'}")
    assert json.loads(done.out)["links"]
    assert (tmp_path / "out" / "report.html").is_file()


def test_errors_of_evaluate_and_export(trained, verbs, tmp_path):
    at = f"--workdir={trained.workdir}"
    verbs("evaluate", at, "--split=tset").fails_with('"tset"', 'did you mean "test"')
    verbs("evaluate", f"--workdir={tmp_path}").fails_with(str(tmp_path), "no config.json")
    verbs("export", at, f"--out={trained.workdir / 'saved_model'}").fails_with("saved_model", "overw")
    wrong = verbs("export", at, f"--out={tmp_path / 'out'}", "--format=litert", "--nofreeze")
    wrong.fails_with("--freeze requires --format=saved_model")
    unfinished = trained.copy(tmp_path / "run")
    (unfinished / "checkpoints" / "final.npz").unlink()
    verbs("evaluate", f"--workdir={unfinished}").fails_with("is not finished")
    verbs("export", f"--workdir={unfinished}", f"--out={tmp_path / 'out'}").fails_with("is not finished")


def test_ctrl_c(trained, verbs, tmp_path):
    run = trained.copy(tmp_path / "run")
    for flags in (("evaluate", f"--workdir={run}"), ("train", *trained.flags, f"--workdir={tmp_path / 'new'}")):
        for _ in range(3):
            process = verbs.start(*flags)
            time.sleep(0.5)
            process.signal(signal.SIGINT)
            done = process.done()
            if "KeyboardInterrupt: <EMPTY MESSAGE>" not in done.out + done.err:
                break  # else TensorFlow's C++ code has printed the exception, and may have gone on, which is rare
            shutil.rmtree(tmp_path / "new", ignore_errors=True)
        assert done.code == 128 + signal.SIGINT, done
        assert done.err.splitlines()[-1].startswith("interrupted")
        assert "Traceback" not in done.err


def test_ctrl_c_that_a_library_reports_as_another_error():
    program = (
        "import os, signal\n"
        "from tfeff import cli\n"
        "def main(argv):\n"
        "    try:\n"
        "        signal.raise_signal(signal.SIGINT)\n"
        "    except KeyboardInterrupt:\n"
        "        raise SystemError('bad argument to internal function')\n"
        "cli.run(main)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 128 + signal.SIGINT
    assert done.stderr.startswith("interrupted")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("verb", "flags", "advice"),
    [
        ("train", ["--config=digits_demo"], "lower training.batch_size"),
        ("predict", ["--out=x"], "lower --batch_size; with a detector, cut large images into tiles (--tile)"),
        ("export", ["--out=x"], "end other programs"),
    ],
)
def test_out_of_memory_names_what_the_verb_can_change(verb, flags, advice):
    program = (
        "import importlib\n"
        "from tfeff import cli\n"
        "def main(argv):\n"
        "    raise MemoryError('5 GB')\n"
        f"importlib.import_module('tfeff.{verb}').define_flags()\n"
        "cli.run(main)\n"
    )
    workdir = [] if verb == "predict" else ["--workdir=w"]
    done = subprocess.run([sys.executable, "-c", program, *flags, *workdir], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert f"error: out of memory (5 GB); {advice}" in done.stderr


@pytest.mark.slow
def test_a_range_test_writes_its_result_and_trains_nothing(verbs, config, tmp_path):
    flags = [f"--config={config}", "--config.data.source=embedded:digits"]
    done = verbs("train", *flags, f"--workdir={tmp_path}", "--range_test")
    done.succeeds()
    found = json.loads((tmp_path / "range_test.json").read_text())
    assert found["rates"][0] < found["learning_rate"] < found["rates"][-1]
    assert f"--config.optimizer.learning_rate={found['learning_rate']:.2g}" in done.out
    assert {path.name for path in tmp_path.iterdir() if not path.name.startswith(".")} == {
        "range_test.json", "range_test.png", "range_test.svg",
    }  # fmt: skip
    done = verbs("train", *flags, f"--workdir={tmp_path}", "--range_test", "--profile")
    done.fails_with("--profile", "--range_test")


def test_statistics_of_a_dataset_are_settings(verbs):
    done = verbs("analyze", "--dataset=embedded:digits", "--statistics")
    done.succeeds()
    assert "--config.data.channels=1 --config.model.mean=" in done.out
    verbs("analyze", "--dataset=embedded:digits", "--statistics", "--json").fails_with("--json", "--statistics")
