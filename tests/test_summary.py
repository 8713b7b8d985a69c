"""The verb `summary`."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tfeff import models


def summary(*flags: str) -> subprocess.CompletedProcess[str]:
    root = Path(models.__file__).parents[2]
    return subprocess.run(
        [sys.executable, "-m", "tfeff.summary", *flags],
        cwd=root,
        env=os.environ,
        capture_output=True,
        text=True,
        check=False,
    )


def test_one_network_as_json() -> None:
    done = summary("--model=mobilenet-v2", "--resolution=65", "--num_classes=7", "--json")
    cost = models.complexity.count(models.build("mobilenet-v2", resolution=65, num_classes=7))
    assert json.loads(done.stdout) == {
        "name": "mobilenet-v2",
        "resolution": 65,
        "params": cost.params,
        "trainable_params": cost.trainable_params,
        "macs": cost.macs,
        "activation_bytes": cost.activation_bytes,
    }


def test_a_family_as_a_table() -> None:
    done = summary("--family=mobilenet", "--width_coefficient=0.5", "--resolution=32")
    for name in models.names("mobilenet"):
        params = models.build(name, width_coefficient=0.5, resolution=32).count_params()
        row = next(line for line in done.stdout.splitlines() if name in line)
        assert f"{params:,}" in row


def test_errors_exit_with_2_and_no_traceback() -> None:
    for flags, message in (((), "--model=NAME or --family=NAME"), (("--model=mobilenet-v3",), "did you mean")):
        done = summary(*flags)
        assert done.returncode == 2
        assert message in done.stderr
        assert "Traceback" not in done.stderr
