"""A run of two epochs, and what a tracker should have of it."""

from tfeff import config
from tfeff.training.workdir import Workdir

SETTINGS = config.Experiment(
    model=config.architecture("resnet", width=2, stage_blocks=(1, 1), resolution=8),
    data=config.Data(source="embedded:digits", channels=1, train_examples=144, validation_fraction=0.2),
    training=config.Training(epochs=2, batch_size=32, precision="float32"),
)


def measured(workdir: Workdir) -> dict[str, list[tuple[int, float]]]:
    """What metrics.jsonl has of each metric: steps and values."""
    found: dict[str, list[tuple[int, float]]] = {}
    for row in workdir.rows():
        for key, value in row.items():
            if key != "step":
                found.setdefault(key, []).append((row["step"], value))
    return found
