"""Scaling coefficients of a tiny ResNet on cluttered handwritten digits: a complete search in minutes.

Ten candidates with 2.5 times the baseline's multiply-adds on three independent folds of 490 training images; then
compound scaling and each single dimension at about six times the baseline's cost on three further folds.

Command   python -m tfeff.search --config=configs/digits_search.py --workdir=runs/demo/search      (make demo)
"""

from tfeff.config import (
    Budget,
    Data,
    Experiment,
    Folds,
    Members,
    Model,
    Optimizer,
    Schedule,
    Search,
    Training,
)


def get_config() -> Search:
    return Search(
        experiment=Experiment(
            model=Model(name="resnet", width=8, stage_blocks=(1, 1, 1), resolution=16, zero_gamma=True),
            data=Data(source="embedded:cluttered_digits", channels=1, normalization="dataset"),
            optimizer=Optimizer(name="sgd", learning_rate=0.2, weight_decay=5e-3),
            schedule=Schedule(name="cosine", warmup_epochs=1),
            training=Training(epochs=10, batch_size=32, ema_decay=0.95, validation_epochs=10, precision="float32"),
        ),
        budget=Budget(macs=2.5, tolerance=0.08, candidates=10),
        folds=Folds(count=3, examples=700, validation_fraction=0.3),
        members=Members(phis=(2.0,)),
    )
