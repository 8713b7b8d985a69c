import os

import pytest

from tfeff.execution import resources


@pytest.fixture
def control(monkeypatch):
    """Contents of the cgroup's files."""
    files = {}
    monkeypatch.setattr(resources, "_control", lambda name: files.get(name, ""))
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 0, 7, 5}, raising=False)
    return files


@pytest.mark.parametrize(
    ("quota", "cores"),
    [
        ("", 4),
        ("max 100000", 4),
        ("200000 100000", 2),
        ("150000 100000", 2),
        ("5000 100000", 1),
        ("900000 100000", 4),
    ],
)
def test_a_cpu_quota_is_rounded_up_to_whole_cores(control, quota, cores):
    control["cpu.max"] = quota
    assert resources.cores() == cores
    assert resources.visible_cores() == [0, 3, 5, 7]


def test_without_affinity_all_cores_are_used(control, monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity")
    assert resources.visible_cores() == list(range(os.cpu_count()))
    assert resources.cores() == os.cpu_count()


def test_busy_cores_follow_from_the_processor_times(monkeypatch):
    times = iter([(1000, 5000), (1150, 5200), (0, 0), (0, 0)])
    monkeypatch.setattr(resources, "_processor_times", lambda: next(times))
    assert resources.cores_in_use(0.0) == 0.75 * os.cpu_count()
    assert resources.cores_in_use(0.0) == 0.0  # unknown


def test_processor_times_leave_out_waiting(monkeypatch):
    line = "cpu  100 10 20 4000 500 1 2 3 7 0\ncpu0 1 1 1 1 1 1 1 1 1 1\n"  # the last two are parts of the first two
    monkeypatch.setattr(resources.Path, "read_text", lambda path: line)
    assert resources._processor_times() == (136, 4636)


@pytest.mark.parametrize(("visible", "gpus"), [("", []), ("-1", []), ("0,2", ["0", "2"]), ("GPU-1f", ["GPU-1f"])])
def test_gpus_are_the_visible_ones(monkeypatch, visible, gpus):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert resources.gpus() == gpus


def test_memory_respects_the_limit_of_the_container(control):
    machine = resources.free_memory()
    assert machine > 0
    control |= {"memory.max": "3000000", "memory.current": "1000000"}
    assert resources.free_memory() == 2_000_000
    control["memory.stat"] = "anon 400000\nactive_file 100000\ninactive_file 500000"  # files that can be dropped
    assert resources.free_memory() == 2_600_000
    control["memory.max"] = "max"
    assert resources.free_memory() == pytest.approx(machine, rel=0.5)
