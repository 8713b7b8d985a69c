"""The pack verb: its output and errors; training from records, killed and resumed, equals training from the folder."""

import time
from pathlib import Path

import numpy as np
import pytest

from tfeff.training import checkpoint

CONFIG = """
from tfeff.config import *

def get_config():
    return Experiment(
        task=ClassificationSettings(augmentation=Augmentation(mixup_alpha=0.2)),
        model=architecture("resnet", width=4, stage_blocks=(1, 1), resolution=12),
        data=Data(source="{source}", cache="none", image_size=14),
        optimizer=Optimizer(learning_rate=0.01),
        training=Training(
            epochs=3, batch_size=8, precision="float32", deterministic=True, checkpoint_seconds=0.01
        ),
    )
"""


@pytest.fixture
def folder(image_folder) -> Path:
    return image_folder({"train/a": 24, "train/b": 24, "val/a": 4, "val/b": 4})


def command(source: str, tmp_path: Path, name: str) -> tuple[list[str], Path]:
    (tmp_path / f"{name}.py").write_text(CONFIG.format(source=source))
    workdir = tmp_path / name
    return ["train", f"--config={tmp_path / name}.py", f"--workdir={workdir}", "--noevaluate"], workdir


@pytest.mark.slow
def test_a_killed_and_resumed_run_equals_one_on_the_folder(verbs, folder, tmp_path):
    done = verbs("pack", f"--dataset=folder:{folder}", f"--out={tmp_path / 'packed'}").succeeds()
    assert "56 images, 0 MB in 1 file" in done.out
    assert "train       48 images from folder:" in done.err
    assert "56 of 56 images" in done.err
    whole, one = command(f"folder:{folder}", tmp_path, "whole")
    verbs(*whole).succeeds()
    killed, other = command(f"records:{tmp_path / 'packed'}", tmp_path, "killed")
    process, checkpoints = verbs.start(*killed), checkpoint.Checkpoints(other / "checkpoints")
    while checkpoints.latest() is None:
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    verbs(*killed).succeeds()
    first, second = (checkpoint.load(run / "checkpoints" / "final.npz")[0] for run in (one, other))
    assert first.keys() == second.keys()
    for key, values in first.items():
        np.testing.assert_array_equal(values, second[key], err_msg=key)


def test_errors_have_one_message(verbs, folder, tmp_path):
    out = f"--out={tmp_path / 'packed'}"
    verbs("pack", "--dataset=folder:/no/such/folder", out).fails_with("/no/such/folder does not exist")
    verbs("pack", "--dataset=crops:voc:pets", out).fails_with("pack voc:pets")
    (tmp_path / "packed").mkdir()
    (tmp_path / "packed/mine").touch()
    verbs("pack", f"--dataset=folder:{folder}", out, "--overwrite").fails_with("exists and is not an earlier export")
    (tmp_path / "packed/mine").unlink()
    (folder / "train/a/000.png").write_bytes(b"text")
    done = verbs("pack", f"--dataset=folder:{folder}", out).succeeds()
    assert "1 of 56 images cannot be read:" in done.err
    assert "000.png: not an image" in done.err
    verbs("pack", f"--dataset=folder:{folder}", out).fails_with("--overwrite")
    next((tmp_path / "packed").glob("*.array_record")).unlink()
    training, _ = command(f"records:{tmp_path / 'packed'}", tmp_path, "run")
    verbs(*training).fails_with("images-00000.array_record: missing; copy the directory again")


def test_a_damaged_shard_stops_training(verbs, folder, tmp_path):
    verbs("pack", f"--dataset=folder:{folder}", f"--out={tmp_path / 'packed'}").succeeds()
    shard = tmp_path / "packed/images-00000.array_record"
    content = bytearray(shard.read_bytes())
    content[500] ^= 1
    shard.write_bytes(content)
    training, _ = command(f"records:{tmp_path / 'packed'}", tmp_path, "run")
    done = verbs(*training)
    done.fails_with("images-00000.array_record: damaged or replaced, at byte 108", "copy the directory again")
