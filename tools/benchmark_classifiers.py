"""Classifiers against timm on a CPU: `python tools/benchmark.py classifiers --peer_python=PYTHON`."""

import argparse

from classifier_sides import BATCH, NETWORKS
from paired_processes import RUNTIMES, TOOLS, Comparison, chosen, compare
from paired_processes import add_flags as add_common_flags

from tfeff.errors import UserError
from tfeff.reporting import tables

SCRIPT = TOOLS / "classifier_sides.py"
IN_BFLOAT16 = ("frozen", "openvino")
"""Runtimes that compute in bfloat16."""


def comparisons(name: str) -> dict[str, Comparison]:
    """Returns the comparisons of a network: inference and training, in float32 and bfloat16."""
    found = {}
    for suffix, runtimes in (("", RUNTIMES), ("-bfloat16", IN_BFLOAT16)):
        key, title = f"{name}{suffix}", f"{name}, {suffix[1:] or 'float32'}"
        found[key] = Comparison(title, tuple(f"{key}-{each}" for each in runtimes), f"timm-{key}", "peer", BATCH)
        found[f"{key}-training"] = Comparison(
            f"{title}, training", (f"{key}-training",), f"timm-{key}-training", "peer", BATCH
        )
    return found


COMPARISONS = {key: comparison for name in NETWORKS for key, comparison in comparisons(name).items()}


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Defines the flags."""
    add_common_flags(parser, COMPARISONS, "timm")


def run(arguments: argparse.Namespace) -> None:
    """Compares inference and training of classifiers, in batches of 16 images, to timm."""
    wanted = chosen(arguments, COMPARISONS)
    if arguments.peer_python is None:
        raise UserError("--peer_python is required: a Python with timm")
    for comparison, ours in wanted.items():
        print(tables.markdown(compare(SCRIPT, comparison, ours, arguments.peer_python, arguments)), flush=True)
