import json
import sys

import pytest

from tests.thoroughness import only_thorough
from tfeff import config, training
from tools import evaluate_export


@only_thorough
def test_exports_of_a_classifier_are_as_good_as_its_network(tmp_path, monkeypatch, capsys):
    for runtime in ("ai_edge_litert", "onnxruntime", "tf2onnx", "openvino"):
        pytest.importorskip(runtime)
    settings = config.override(
        config.Experiment(),
        [
            *("data.channels=1", "data.train_examples=300", "model.width=8", "model.stage_blocks=1,1"),
            *("model.resolution=16", "training.epochs=4", "training.batch_size=20", "training.precision=float32"),
        ],
    )
    workdir = training.train(settings, tmp_path / "run", tensorboard=False)
    out = tmp_path / "out.json"
    monkeypatch.setattr(sys, "argv", ["evaluate_export.py", f"--workdir={workdir.path}", f"--out={out}"])
    evaluate_export.main()
    network, litert, int8, onnx, openvino, bfloat16 = json.loads(out.read_text())
    assert 0.2 < network["accuracy"] == litert["accuracy"] == onnx["accuracy"] == openvino["accuracy"]
    assert abs(bfloat16["accuracy"] - network["accuracy"]) < 0.05
    assert abs(int8["accuracy"] - network["accuracy"]) < 0.05
    assert int8["MB"] < 0.6 * litert["MB"]
    assert "litert-int8" in capsys.readouterr().out
