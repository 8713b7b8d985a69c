"""Training steps on several devices and workers are timed."""

import argparse

import pytest

from tests.thoroughness import only_thorough
from tfeff.errors import UserError
from tools import benchmark_devices


def flags(*given: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    benchmark_devices.add_flags(parser)
    return parser.parse_args(["--name=mobilenet-v1", "--resolution=32", "--steps=1", "--rounds=1", *given])


@pytest.mark.parametrize("counts", ["2,4", "1,3"])
def test_a_batch_that_devices_cannot_share_is_refused(counts):
    with pytest.raises(UserError, match=f"^--counts={counts}: must begin with 1, and divide the batch of 32"):
        benchmark_devices.run(flags(f"--counts={counts}"))


@only_thorough
def test_devices_and_workers_are_measured(capsys):
    benchmark_devices.run(flags("--counts=1,2", "--batch_size=8"))
    rows = [line.split("|")[1:-1] for line in capsys.readouterr().out.splitlines()[2:]]
    assert [row[0].strip() for row in rows] == ["1", "2, mirrored", "2, multi_worker"]
    assert all(float(row[1]) > 0 for row in rows)
    assert rows[0][2].split()[0] == rows[0][4].split()[0] == "1.00"
