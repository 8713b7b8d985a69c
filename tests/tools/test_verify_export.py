import sys

import numpy as np
import pytest
from PIL import Image

from tfeff import config, training
from tfeff.data.images import graph_decoding
from tools import verify_export


@pytest.mark.slow
def test_exports_that_decode_otherwise_than_the_training_are_found(tmp_path, monkeypatch, capsys):
    settings = config.override(
        config.Experiment(),
        [
            *("data.channels=1", "data.train_examples=40", "model.width=8", "model.stage_blocks=1,1"),
            *("model.resolution=16", "training.epochs=1", "training.batch_size=20", "training.precision=float32"),
        ],
    )
    workdir = training.train(settings, tmp_path / "run", tensorboard=False)
    pixels = np.random.default_rng(0).integers(0, 256, (20, 24, 3), np.uint8)
    for name in ("a.jpg", "b.png"):
        Image.fromarray(pixels).save(tmp_path / name)
    Image.fromarray(pixels).quantize(16).save(tmp_path / "c.png", transparency=0)
    files = [str(tmp_path / name) for name in ("a.jpg", "b.png", "c.png")]

    def exit_code() -> int:
        monkeypatch.setattr(sys, "argv", ["verify_export.py", f"--workdir={workdir.path}", *files])
        with pytest.raises(SystemExit) as end:
            verify_export.main()
        return end.value.code

    assert exit_code() == 0, capsys.readouterr().out
    monkeypatch.setattr(graph_decoding, "_composed", lambda pixels: 255 - pixels[..., :3])
    assert exit_code() == 1, capsys.readouterr().out
