"""A member of the family found by `configs/digits_search.py`, trained on all cluttered digits.

Command   python -m tfeff.train --config=digits_family --workdir=runs/demo/phi2 \\
              --config.member.family=runs/demo/search --config.member.phi=2      (make demo)
"""

from tfeff.config import Data, Experiment, Member, Optimizer, Schedule, Training


def get_config() -> Experiment:
    return Experiment(
        member=Member(family="runs/demo/search", phi=2.0),
        data=Data(source="embedded:cluttered_digits", channels=1, normalization="dataset"),
        optimizer=Optimizer(name="sgd", learning_rate=0.2, weight_decay=5e-3),
        schedule=Schedule(name="cosine", warmup_epochs=1),
        training=Training(epochs=8, batch_size=64, ema_decay=0.98, precision="float32"),
    )
