"""Compares a member of a family with its baseline and with depth, width and resolution alone at the same cost.

    python tools/compare_members.py --search=DIR --phi=3 --config=cifar10_family --workdir=DIR2 \\
        [key=value ...]

Trains the five networks on all images with the same config, several at once, and prints a table of test accuracies and
costs. `DIR2/comparison/report.html` compares the runs, with their class activation maps side by side. Rerun the same
command to resume.
"""

import argparse
import dataclasses
import json
from pathlib import Path

import command_line
from whole_run import train_and_evaluate

from tfeff import config
from tfeff.analysis import comparison
from tfeff.config import Family
from tfeff.durable import write
from tfeff.errors import UserError
from tfeff.execution.executor import collect
from tfeff.execution.local import LocalProcesses
from tfeff.reporting import tables
from tfeff.reporting.scaling_curves import METHODS
from tfeff.scaling import members
from tfeff.scaling.baseline import Baseline


def main() -> None:
    """Runs the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--search", required=True, help="Workdir of a finished search.")
    parser.add_argument("--phi", type=float, default=3.0, help="Which member.")
    parser.add_argument("--config", required=True, help="Config of the training runs; its model is replaced.")
    parser.add_argument("--workdir", required=True, help="Directory of the runs.")
    parser.add_argument("--classes", type=int, default=10, help="Number of classes.")
    parser.add_argument("--processes", type=int, help="Runs at once; default: one per core or GPU.")
    parser.add_argument("override", nargs="*", help="key=value, as --config.key=value of tfeff.train.")
    arguments = parser.parse_args()

    directory = Path(arguments.workdir)
    directory.mkdir(parents=True, exist_ok=True)
    base = config.override(config.load(arguments.config, config.Experiment), arguments.override)
    family = Family.load(arguments.search)
    if family.detector:
        raise UserError(f"--search={arguments.search}: a family of detectors; this tool compares classifiers")
    baseline = Baseline(family.baseline, arguments.classes, base.data.channels)
    points = members.points(baseline, family, config.Members(phis=(arguments.phi,)))
    with LocalProcesses(arguments.processes, directory / "trainings.log") as processes:
        experiments = {
            point.method: dataclasses.replace(base, model=point.network.model, member=config.Member())
            for point in points
        }
        results = collect(
            processes, {name: (train_and_evaluate, each, str(directory / name)) for name, each in experiments.items()}
        )
    rows = [
        {
            "network": METHODS[point.method].label,
            "blocks": "-".join(map(str, point.network.blocks)),
            "widths": "-".join(map(str, point.network.widths)),
            "resolution": point.network.resolution,
            "params": point.network.cost.params,
            "multiply-adds": point.network.cost.macs,
            "x baseline": point.network.relative["macs"],
            "test accuracy": results[point.method]["accuracy"],
            "95 % interval": "{:.4f} to {:.4f}".format(*results[point.method]["accuracy_interval"]),
            "training accuracy": results[point.method]["train_accuracy"],
            "minutes": results[point.method]["training_seconds"] / 60,
        }
        for point in points
    ]
    write(directory / "result.json", json.dumps(rows, indent=2) + "\n")
    print(tables.markdown(rows))
    print(comparison.write([directory / point.method for point in points], directory / "comparison"))


if __name__ == "__main__":
    command_line.run(main)
