"""The verb `summary`, as a process."""

import json
import signal
import subprocess
import sys

from tests.thoroughness import only_thorough
from tests.verbs import Verbs
from tfeff import models


def test_a_network_as_json(verbs: Verbs) -> None:
    done = verbs("summary", "--model=mobilenet-v2", "--resolution=65", "--num_classes=7", "--json")
    cost = models.complexity.count(models.build("mobilenet-v2", resolution=65, num_classes=7))
    assert json.loads(done.out) == {
        "name": "mobilenet-v2",
        "resolution": 65,
        "params": cost.params,
        "trainable_params": cost.trainable_params,
        "macs": cost.macs,
        "activation_bytes": cost.activation_bytes,
    }


def test_a_family_as_a_table(verbs: Verbs) -> None:
    done = verbs("summary", "--family=mobilenet", "--width_coefficient=0.5", "--resolution=32")
    for name in models.names("mobilenet"):
        params = models.build(name, width_coefficient=0.5, resolution=32).count_params()
        row = next(line for line in done.out.splitlines() if name in line)
        assert f"{params:,}" in row


@only_thorough
def test_ratios_and_latency_of_a_detector(verbs: Verbs) -> None:
    scaling = {"resolution": 16, "width_coefficient": 0.1, "depth_coefficient": 0.1}
    done = verbs(
        "summary",
        "--model=efficientdet-lite0",
        *(f"--{flag}={value}" for flag, value in scaling.items()),
        "--relative_to=resnet",
        "--num_classes=4",
        "--latency",
        "--json",
    )
    row = json.loads(done.out)
    cost = models.estimate(models.detector("efficientdet-lite0", **scaling), num_classes=4)
    base = models.estimate(models.architecture("resnet"), num_classes=4)
    assert row["macs"] == cost.macs
    assert row["relative_macs"] == cost.macs / base.macs
    assert row["relative_params"] == cost.params / base.params
    assert row["latency_s"] > 0
    assert row["relative_latency"] > 0


def test_a_family_of_detectors_has_the_classes_of_coco(verbs: Verbs) -> None:
    rows = json.loads(verbs("summary", "--family=efficientdet", "--json").out)
    assert [row["name"] for row in rows] == list(models.detector_names("efficientdet"))
    assert rows[0]["params"] == 3_927_203


def test_user_errors_exit_with_code_2_and_without_traceback(verbs: Verbs) -> None:
    for flags, message in (
        ((), "--model=NAME or --family=NAME"),
        (("--model=mobilenet-v3",), "did you mean"),
        (("--family=efficientdat",), 'did you mean "efficientdet"'),
        (("--model=resnet", "--relative_to=resnet5"), 'no network "resnet5"'),
    ):
        verbs("summary", *flags).fails_with(message)


def test_a_reader_that_stops_is_no_error() -> None:
    """Such as `head`."""
    command = [sys.executable, "-m", "tfeff.summary", "--model=resnet50"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.close()
    process.stdout = None
    assert b"Error" not in process.communicate()[1]
    assert process.returncode == 128 + signal.SIGPIPE
