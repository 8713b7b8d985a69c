"""Training on stored features against training on images: `python tools/benchmark.py features --source=folder:DIR`.

Both sides train the classifier of a network whose other layers are frozen. One computes the features of all variants of
each image first, and then trains on them; the other runs the whole network in every step. Each round trains one more
epoch on images, and a few on features from the start, so the extraction is timed in every round. Images are decoded
once for all rounds.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from paired_rounds import quartiles

from tfeff import config, selection, training
from tfeff.errors import UserError
from tfeff.reporting import tables
from tfeff.training.assembly import AssemblyCache
from tfeff.training.stored import FeatureCache

EPOCHS = (20, 60)
"""Lengths of the trainings that are compared."""
FEATURE_EPOCHS = 10
"""Epochs on features in each round. The first one traces graphs."""
FROZEN = "optimizer.frozen=stem*,stage*,head_conv*"


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Defines the flags."""
    parser.add_argument("--config", default="configs/hymenoptera_transfer.py", help="Config of the experiment.")
    parser.add_argument("--source", required=True, help="Dataset, such as folder:DIR.")
    parser.add_argument("--rounds", type=int, default=3, help="Timed rounds per side.")
    parser.add_argument("--variants", type=int, default=4, help="Value of training.feature_variants.")
    parser.add_argument("override", nargs="*", help="KEY=VALUE, like --config.KEY=VALUE of tfeff.train.")


def run(arguments: argparse.Namespace) -> None:
    """Compares training on stored features of frozen layers to running them in every step."""
    if arguments.rounds < 2:
        raise UserError(f"--rounds={arguments.rounds}: must be at least 2")
    shared = [f"data.source={arguments.source}", FROZEN, f"training.epochs={max(EPOCHS)}"]
    on_images = config.override(config.load(arguments.config, config.Experiment), [*shared, *arguments.override])
    on_features = config.override(on_images, [f"training.feature_variants={arguments.variants}"])
    caches = selection.read(selection.request(on_images), lambda *_: None)
    assemblies = {"images": AssemblyCache(), "features": AssemblyCache()}
    seconds: dict[str, list[float]] = {"images": [], "features": []}
    starts: dict[str, list[float]] = {"images": [], "features": []}
    with tempfile.TemporaryDirectory() as directory:
        for number in range(arguments.rounds + 1):
            sides = (
                ("images", on_images, Path(directory, "images"), number + 1, 1),
                ("features", on_features, Path(directory, str(number)), FEATURE_EPOCHS, FEATURE_EPOCHS - 1),
            )
            for name, settings, workdir, until, counted in sides if number % 2 else reversed(sides):
                began = time.perf_counter()
                done = training.train(
                    settings,
                    workdir,
                    until_epoch=until,
                    caches=caches,
                    assemblies=assemblies[name],
                    features=FeatureCache(),
                    reporter=training.Reporter(quiet=True),
                    tensorboard=False,
                )
                whole = time.perf_counter() - began
                epochs = [row["seconds"] for row in done.rows()[-counted:]]
                if number:  # the first round traces graphs
                    seconds[name] += epochs
                    starts[name].append(whole - statistics.median(epochs) * (until if name == "features" else 1))
    rows = []
    for epochs in EPOCHS:
        whole = {name: [start + epochs * statistics.median(seconds[name]) for start in starts[name]] for name in starts}
        ratios = [slow / fast for slow, fast in zip(whole["images"], whole["features"], strict=True)]
        rows.append(
            {
                "epochs": epochs,
                "on images, s": statistics.median(whole["images"]),
                "on features, with extraction, s": statistics.median(whole["features"]),
                "ratio": statistics.median(ratios),
                "range": f"{min(ratios):.2f} to {max(ratios):.2f}",
            }
        )
    print(
        tables.markdown(
            [
                {
                    "training on": name,
                    "epoch, s, median": statistics.median(times),
                    "quartiles": " to ".join(f"{value:.2f}" for value in quartiles(times)[::2]),
                    "start, s": statistics.median(starts[name]),
                }
                for name, times in seconds.items()
            ]
        )
    )
    print(f"\n{tables.markdown(rows)}")
