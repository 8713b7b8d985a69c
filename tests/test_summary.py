"""The verb `summary`, as a process."""

import json

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


def test_user_errors_exit_with_code_2_and_without_traceback(verbs: Verbs) -> None:
    for flags, message in (((), "--model=NAME or --family=NAME"), (("--model=mobilenet-v3",), "did you mean")):
        verbs("summary", *flags).fails_with(message)
