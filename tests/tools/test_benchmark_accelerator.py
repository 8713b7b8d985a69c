import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.thoroughness import only_thorough
from tfeff.errors import UserError

TOOLS = Path(__file__).parents[2] / "tools"
SIDE = """
import json, sys, time
modes = {modes}
print(json.dumps({{"versions": "fake 1.0"}}), flush=True)
for line in sys.stdin:
    request = json.loads(line)
    do = request["do"]
    if do == "ceiling":
        answer = {{"flops": 1e12}}
    elif do == "prepare":
        if request["case"]["batch"] == 13:
            sys.exit(7)
        if request["case"]["batch"] == 999:
            time.sleep(60)
        facts = {{"macs": 500_000_000, "bytes": 2_000_000_000, "compile_seconds": 4.0}}
        answer = {{"modes": {{mode: facts if mode != "graph" else {{"error": "no graph"}} for mode in modes}}}}
    elif do == "profile":
        answer = {{"operations": {{"convolution": 0.6, "copy": 0.3}}}}
    else:
        answer = {{"seconds": modes[request["mode"]] * request["steps"]}}
        if request["steps"] == 2:  # a round of a slow step
            answer = {{"error": "out of memory"}}
    print(json.dumps(answer), flush=True)
"""


@pytest.fixture
def benchmark(import_tool, monkeypatch, tmp_path):
    """The tool, with sides whose steps always take 0.1 and 0.25 seconds. Batches of 13 end a side, 999 hang it."""
    module = import_tool("benchmark_accelerator")
    (tmp_path / "accelerator_ours.py").write_text(SIDE.format(modes={"ours": 0.1}))
    (tmp_path / "accelerator_theirs.py").write_text(SIDE.format(modes={"compiled": 0.25, "graph": 9.0}))
    monkeypatch.setattr(module, "TOOLS", tmp_path)
    return module


def run(benchmark, monkeypatch, tmp_path, *flags):
    """Returns the rows of the file."""
    out = tmp_path / "out" / "rows.jsonl"
    monkeypatch.setattr(
        sys, "argv", ["benchmark_accelerator", f"--out={out}", "--rounds=2", "--round_seconds=0.9", *flags]
    )
    benchmark.main()
    return [json.loads(line) for line in out.read_text().splitlines()]


def test_speed_ratio_and_share_of_the_peak(benchmark, monkeypatch, tmp_path, capsys):
    rows = run(benchmark, monkeypatch, tmp_path, "--cases=resnet50:training:8", "--profile")
    assert [(row["kind"], row.get("side")) for row in rows] == [
        ("side", "ours"), ("side", "theirs"), ("error", "graph"), ("result", "ours"), ("result", "compiled"),
        ("profile", "ours"), ("profile", "compiled"), ("case", None),
    ]  # fmt: skip
    ours, theirs = rows[3:5]
    assert ours["images/s"] == pytest.approx(80)
    assert theirs["images/s"] == pytest.approx(32)
    assert theirs["ours / this"] == pytest.approx(2.5)
    # 0.5 G multiply-adds, two operations each, forward and two backward, of 8 images in 0.1 s
    assert ours["TFLOP/s"] == pytest.approx(0.24)
    assert ours["share of peak"] == pytest.approx(0.24 / 989)
    assert (ours["steps"], theirs["steps"]) == (9, 4)  # about 0.9 seconds
    assert rows[5]["longest"] == pytest.approx({"convolution": 0.2, "copy": 0.1})
    assert "| resnet50: training, batch 8, bfloat16, sgd | compiled | 32.0000 |" in capsys.readouterr().out


def test_inference_has_one_pass_and_tf32_another_peak(benchmark, monkeypatch, tmp_path):
    rows = run(benchmark, monkeypatch, tmp_path, "--cases=yolo:inference:8:tf32", "--modes=ours", "--tf32_tflops=0.8")
    (ours,) = (row for row in rows if row["kind"] == "result" and row["side"] == "ours")
    assert ours["TFLOP/s"] == pytest.approx(0.08)
    assert ours["share of peak"] == pytest.approx(0.1)


def test_a_mode_that_fails_in_a_round_has_no_result(benchmark, monkeypatch, tmp_path):
    rows = run(benchmark, monkeypatch, tmp_path, "--cases=resnet50:training:8", "--round_seconds=0.5")
    assert [row["side"] for row in rows if row["kind"] == "result"] == ["ours"]
    assert [row["error"] for row in rows if row.get("side") == "compiled"] == ["out of memory"]


def test_a_side_that_ends_is_started_again(benchmark, monkeypatch, tmp_path):
    rows = run(benchmark, monkeypatch, tmp_path, "--cases=resnet50:training:13,resnet50:training:8")
    errors = [row["error"] for row in rows if row["kind"] == "error"]
    assert errors[:2] == [
        "accelerator_ours.py ended with exit code 7", "accelerator_theirs.py ended with exit code 7",
    ]  # fmt: skip
    assert [row["batch"] for row in rows if row["kind"] == "result"] == [8, 8]


def test_a_side_that_reported_an_error_starts_anew(benchmark, monkeypatch, tmp_path):
    rows = run(benchmark, monkeypatch, tmp_path, "--cases=resnet50:training:8,resnet50:training:16")
    assert [row["side"] for row in rows if row["kind"] == "side"] == ["ours", "theirs", "theirs"]
    assert [(row["batch"], row["side"]) for row in rows if row["kind"] == "result"] == [
        (8, "ours"), (8, "compiled"), (16, "ours"), (16, "compiled"),
    ]  # fmt: skip


@pytest.mark.slow
def test_earlier_results_survive_the_deadline(benchmark, monkeypatch, tmp_path):
    monkeypatch.setattr(benchmark, "RESERVE_SECONDS", 0.0)
    cases = "--cases=resnet50:training:8,resnet50:training:999,resnet50:inference:8"
    rows = run(benchmark, monkeypatch, tmp_path, cases, "--minutes=0.1")
    assert [row["case"] for row in rows if row["kind"] == "result"] == [
        "resnet50: training, batch 8, bfloat16, sgd"
    ] * 2
    assert rows[-1]["kind"] == "stopped"
    assert rows[-1]["case"] == "resnet50: training, batch 999, bfloat16, sgd"


def test_wrong_flags(benchmark, monkeypatch, tmp_path):
    for flag, message in (
        ("--cases=resnet50:training", r"must be NETWORK:WORK:BATCH\[:PRECISION\[:OPTIMIZER\]\]"),
        ("--cases=resnet5:training:8", "network resnet5: must be one of resnet, "),
        ("--cases=resnet50:predict:8", "work predict: must be one of training, inference"),
        ("--cases=resnet50:training:0", "batch 0: must be a positive integer"),
        ("--cases=resnet50:training:8:fp8", "precision fp8: must be one of bfloat16, tf32"),
        ("--cases=resnet50:training:8:tf32:lion", "optimizer lion: must be one of sgd, adamw"),
        ("--cases=yolo:training:8", "of detectors, only inference is measured"),
        ("--modes=ours,fast", "--modes: fast: must be among ours, compiled, graph, eager"),
        ("--rounds=0", "--rounds must be at least 1"),
        ("--peer_python=/none", "/none: No such file or directory"),
    ):
        with pytest.raises(UserError, match=message):
            run(benchmark, monkeypatch, tmp_path, flag)


@only_thorough
@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="needs jax")
def test_our_side_runs_under_jax():
    case = {"network": "mobilenet-v2", "work": "training", "batch": 2, "resolution": 32}
    requests = [
        {"do": "prepare", "case": case, "modes": ["ours"]},
        {"do": "run", "mode": "ours", "steps": 2},
        {"do": "profile", "mode": "ours", "steps": 1},
    ]
    done = subprocess.run(
        [sys.executable, TOOLS / "accelerator_ours.py"],
        input="".join(json.dumps(request) + "\n" for request in requests),
        env=os.environ | {"PYTHONPATH": str(TOOLS.parent), "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    _, prepared, timed, profiled = map(json.loads, done.stdout.splitlines())
    facts = prepared["modes"]["ours"]
    assert facts["macs"] == 7_392_128
    assert sum(facts["convolution layouts"].values()) >= 52  # at least those of the forward pass
    assert timed["seconds"] > 0
    assert sum(profiled["operations"].values()) > 0
