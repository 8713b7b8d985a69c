import argparse
import sys

import pytest

from tfeff.errors import UserError

FAKE_SIDE = """
import os, sys
print("ready fake 1.0", flush=True)
for number, _ in enumerate(sys.stdin):
    if number == 3 and sys.argv[1] == "automl-d0":
        sys.exit(7)
    spinning = "OMP_WAIT_POLICY" not in os.environ
    times = {"d0-frozen": "0.1 0.2", "automl-d0": "0.3 0.4", "effdet-d0": "0.25 0.9" if spinning else "0.5 0.6"}
    print(times[sys.argv[1]], flush=True)
"""


@pytest.fixture
def detectors(import_tool, monkeypatch, tmp_path):
    """The tool, with sides that take the same time in every round. google/automl's ends after three rounds."""
    module = import_tool("benchmark_detectors")
    (tmp_path / "detector_sides.py").write_text(FAKE_SIDE)
    (tmp_path / "hparams_config.py").touch()
    monkeypatch.setattr(module, "SCRIPT", tmp_path / "detector_sides.py")
    return module


def parse(detectors, *flags):
    parser = argparse.ArgumentParser()
    detectors.add_flags(parser)
    return parser.parse_args(flags)


def automl(tmp_path):
    return f"--automl_python={sys.executable}", f"--automl_source={tmp_path}", "--runtimes=frozen"


def test_ratios_of_alternating_rounds(detectors, tmp_path, capsys):
    detectors.run(parse(detectors, *automl(tmp_path), "--rounds=2", "--steps=3"))
    output, messages = capsys.readouterr()
    assert "| D0 at 512, detections / google/automl (d0-frozen) |" in output
    assert [cell.strip() for cell in output.splitlines()[-1].split("|")[2:8]] == [
        "30.0000", "10.0000", "3.0000", "3.000 to 3.000", "2", "2.0000",
    ]  # fmt: skip
    assert "automl-d0: ready fake 1.0" in messages
    assert "YOLO at 640, network / YOLOv8n: skipped; it needs --peer_python" in messages


def test_the_faster_way_of_waiting_is_compared(detectors, capsys):
    flags = f"--peer_python={sys.executable}", "--runtimes=frozen", "--only=effdet", "--rounds=2", "--steps=1"
    detectors.run(parse(detectors, *flags))
    output, messages = capsys.readouterr()
    assert [cell.strip() for cell in output.splitlines()[-1].split("|")[2:5]] == ["10.0000", "4.0000", "2.5000"]
    assert "effdet-d0: ready fake 1.0\n" in messages  # not the one with OMP_WAIT_POLICY


def test_a_side_that_fails_is_named(detectors, tmp_path):
    with pytest.raises(UserError, match="automl-d0 ended with exit code 7"):
        detectors.run(parse(detectors, *automl(tmp_path), "--rounds=4"))


def test_a_comparison_without_a_side_of_ours_is_skipped(detectors, capsys):
    detectors.run(parse(detectors, f"--peer_python={sys.executable}", "--runtimes=frozen", "--only=yolo-openvino"))
    output, messages = capsys.readouterr()
    assert output == ""
    assert messages == "YOLO at 640, network / YOLOv8n in OpenVINO: skipped; it is in none of --runtimes=frozen\n"


def test_wrong_flags(detectors, tmp_path):
    for flags, message in (
        (("--only=yolo,d1",), "--only=d1: must be one of automl, effdet"),
        (("--rounds=1",), "--rounds must be at least 2"),
        (("--runtimes=frozen,xla",), "--runtimes=xla: must be one of frozen, litert, onnx"),
        ((f"--automl_python={sys.executable}",), "--automl_source=None: has no hparams_config.py"),
        ((*automl(tmp_path), "--automl_python=/none"), "/none: No such file or directory"),
    ):
        with pytest.raises(UserError, match=message):
            detectors.run(parse(detectors, *flags))


def test_a_wrong_flag_ends_with_exit_code_2(run_tool):
    code, said = run_tool("benchmark", "detectors", "--only=d1")
    assert code == 2
    assert "--only=d1: must be one of automl, effdet, effdet-network, yolo, yolo-openvino, training" in said
    assert "Traceback" not in said
