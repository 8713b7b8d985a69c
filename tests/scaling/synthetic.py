"""Accuracies of real candidates that follow a known surface."""

import numpy as np

from tfeff import config
from tfeff.reporting.candidates import shares
from tfeff.scaling.baseline import ScaledNetwork

PEAK = np.array([0.35, 0.2])
SEARCH = config.Search(
    experiment=config.Experiment(
        model=config.architecture("resnet", width=8, stage_blocks=(2, 2), resolution=16),
        data=config.Data(source="embedded:digits", channels=1),
        training=config.Training(epochs=4, batch_size=64),
    ),
    budget=config.Budget(macs=2.0, tolerance=0.1, candidates=16),
    folds=config.Folds(count=3, examples=200),
)


def accuracies(networks: list[ScaledNetwork], noise: float) -> dict[str, dict[tuple[int, int], float]]:
    rng, table = np.random.default_rng(0), {}
    for network in networks:
        row = {"depth": network.depth, "width": network.width, "resolution": network.scale}
        away = shares([row])[0][:2] - PEAK
        mean = 0.7 - 0.2 * float(away @ away) + 0.1 * float(np.log(network.relative["macs"]))
        table[network.id] = {(fold, 0): mean + float(rng.normal(0, noise)) for fold in range(3)}
    return table
