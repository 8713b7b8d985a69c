"""Scaling coefficients of a tiny ResNet on cluttered handwritten digits: a complete search in minutes.

36 trainings of networks with two, four and eight times the baseline's multiply-adds, on five independent folds of 301
training images, find the best direction. Then compound scaling by it and each single dimension are compared at about
four times the baseline's cost on five further folds. The images are reduced to 16x16 pixels first: with more,
resolution would add detail, and nothing else would be worth its cost.

Command   python -m tfeff.search --config=digits_search --workdir=runs/demo/search      (make demo)
Machine   two quiet virtual CPU cores: 2 minutes, the search and the training that follows in make demo 3 minutes
Result    depth 21 %, width 41 %, resolution 38 % of the cost: α 1.166, β 1.159, γ 1.150. The region covers 29 % of the
          plane of directions and excludes every single dimension; compound scaling at φ = 2 is 17.5 points (7.1 to
          27.9) better than the baseline on folds that the search did not see
"""

from tfeff.config import (
    Budget,
    Data,
    Design,
    Experiment,
    Folds,
    Members,
    Optimizer,
    Schedule,
    Search,
    Training,
    Trials,
    architecture,
)


def get_config() -> Search:
    return Search(
        experiment=Experiment(
            model=architecture("resnet", width=8, stage_blocks=(1, 1, 1), resolution=16),
            data=Data(source="embedded:cluttered_digits", channels=1, image_size=16, normalization="dataset"),
            optimizer=Optimizer(name="sgd", learning_rate=0.1, weight_decay=5e-3),
            schedule=Schedule(name="cosine", warmup_epochs=1),
            training=Training(epochs=12, batch_size=32, ema_decay=0.97, validation_epochs=12, precision="float32"),
        ),
        budget=Budget(macs=2.0, tolerance=0.08),
        design=Design(phis=(1.0, 2.0, 3.0), precision=0.15, trainings=36),
        trials=Trials(batch_size="fixed", learning_rate="fixed"),
        folds=Folds(count=5, examples=430, validation_fraction=0.3),
        members=Members(phis=(2.0,)),
    )
