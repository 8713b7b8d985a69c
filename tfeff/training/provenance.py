"""Where a run comes from: the command, the code and its packages, the machine, and the reasons of its settings."""

import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import tensorflow as tf

from tfeff.execution.resources import cores, processor

PACKAGES = ("tfeff", "tensorflow", "keras", "numpy", "scipy", "opencv-contrib-python", "pillow")
"""Packages that decide about a run's numbers."""
_PACKAGE = Path(__file__).parents[1]


def call() -> dict[str, Any]:
    """Describes this call, JSON-ready.

    Returns:
        `started`: local time; `command`; `commit` of the package's source, if that is known; `versions` by package;
        `machine`.
    """
    return {
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),
        "command": command(),
        "commit": commit(),
        "versions": {"python": platform.python_version(), **_versions()},
        "machine": machine(),
    }


def command() -> str:
    """Returns the command line of this process, as a shell takes it; of a Python session, its program."""
    program = sys.argv[0] if sys.argv else ""
    path = Path(program)
    if program.startswith("tfeff "):  # `tfeff VERB`, see tfeff/__main__.py
        start = program.split()
    elif path.suffix == ".py" and path.absolute().parent == _PACKAGE:
        start = ["python", "-m", f"tfeff.{path.stem}"]
    else:
        start = ["python", program] if program else ["python"]
    return shlex.join([*start, *sys.argv[1:]])


def commit() -> str | None:
    """Returns the commit of the package's source, with `, changed` if files differ from it.

    None without a repository.
    """

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(_PACKAGE), *arguments], capture_output=True, text=True, timeout=10, check=True
        )
        return done.stdout.strip()

    try:
        git("ls-files", "--error-unmatch", "__init__.py")  # else the repository is that of another project
        changed = git("status", "--porcelain", "--untracked-files=no", ".")
        return git("rev-parse", "HEAD") + (", changed" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return None


def machine() -> str:
    """Returns operating system, processor, usable cores, memory and GPUs."""
    parts = [platform.platform(), f"{processor()}, {cores()} cores"]
    if hasattr(os, "sysconf"):
        parts.append(f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GB of memory")
    for device in tf.config.list_physical_devices("GPU"):
        parts.append(tf.config.experimental.get_device_details(device).get("device_name", device.name))
    return "; ".join(parts)


def _versions() -> Mapping[str, str]:
    found = dict[str, str]()
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
