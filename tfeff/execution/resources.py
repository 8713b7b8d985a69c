"""What this process may use of its machine: cores, GPUs, memory.

All of it is found without TensorFlow, which would take hold of the GPUs. A container's limits count: its
quota of cores and its memory (control groups, version 2).
"""

import math
import os
import sys
from pathlib import Path


def cores() -> list[int]:
    """The numbers of the cores that this process may keep busy: fewer than it sees where a container has a quota."""
    if not hasattr(os, "sched_getaffinity"):
        return list(range(os.cpu_count() or 1))
    seen = sorted(os.sched_getaffinity(0))
    quota, _, period = _control("cpu.max").partition(" ")
    return seen[: math.ceil(int(quota) / int(period))] if quota.isdigit() else seen


def gpus() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name for name in visible.split(",") if name and name != "-1"]
    return [str(index) for index in range(len(list(Path("/proc/driver/nvidia/gpus").glob("*"))))]


def free_memory() -> int:
    """Bytes that new processes may take, on the machine and in the container."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return sys.maxsize
    free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    most, used = _control("memory.max"), _control("memory.current")
    return min(free, int(most) - int(used)) if most.isdigit() and used.isdigit() else free


def _control(name: str) -> str:
    """What a file of this container's control group says; "" where there is none."""
    try:
        return (Path("/sys/fs/cgroup") / name).read_text().strip()
    except OSError:
        return ""
