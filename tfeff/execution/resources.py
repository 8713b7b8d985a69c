"""The cores, GPUs and memory that this process may use.

They are determined without TensorFlow, which would allocate the GPUs. The limits of a container (cgroup v2: CPU
quota and memory) are respected.
"""

import math
import os
import platform
import sys
import time
from pathlib import Path

share: int | None = None
"""The number of cores that are meant for this process, if others of the same call have the rest."""


def cores() -> int:
    """Returns the number of usable cores; a container's CPU quota may allow fewer than are visible."""
    if share is not None:
        return share
    quota, _, period = _control("cpu.max").partition(" ")
    allowed = math.ceil(int(quota) / int(period)) if quota.isdigit() else sys.maxsize
    return min(allowed, len(visible_cores()))


def visible_cores() -> list[int]:
    """Returns the indices of the cores on which this process may run."""
    if not hasattr(os, "sched_getaffinity"):
        return list(range(os.cpu_count() or 1))
    return sorted(os.sched_getaffinity(0))


def cores_in_use(seconds: float = 0.25) -> float:
    """Returns how many cores of the machine are busy, while this process sleeps; 0 if the system does not tell."""
    before = _processor_times()
    time.sleep(seconds)
    busy, total = (now - then for now, then in zip(_processor_times(), before, strict=True))
    return (os.cpu_count() or 1) * busy / total if total > 0 else 0.0


def _processor_times() -> tuple[int, int]:
    """Returns the time for which all cores were busy since the start of the machine, and all of their time."""
    try:
        line = Path("/proc/stat").read_text().partition("\n")[0]
    except OSError:
        return 0, 0
    # user, nice, system, idle, waiting for disks, interrupts (hard and soft), taken by other virtual machines
    times = [int(each) for each in line.split()[1:9]]
    return sum(times) - sum(times[3:5]), sum(times)


def gpus() -> list[str]:
    """Returns the usable GPUs, as named in CUDA_VISIBLE_DEVICES."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name for name in visible.split(",") if name and name != "-1"]
    return [str(index) for index in range(len(list(Path("/proc/driver/nvidia/gpus").glob("*"))))]


def processor() -> str:
    """Returns the name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def free_memory() -> int:
    """Returns the bytes available to new processes, on the machine and in the container."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return sys.maxsize
    free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    limit, used = _control("memory.max"), _control("memory.current")
    if not (limit.isdigit() and used.isdigit()):
        return free
    # Files that were read stay in memory until it is needed.
    statistics = dict(line.split() for line in _control("memory.stat").splitlines())
    cached = sum(int(statistics.get(f"{state}_file", 0)) for state in ("active", "inactive"))
    return min(free, int(limit) - int(used) + cached)


def _control(name: str) -> str:
    """Returns contents of a file of this container's cgroup; empty if there is none."""
    try:
        return (Path("/sys/fs/cgroup") / name).read_text().strip()
    except OSError:
        return ""
