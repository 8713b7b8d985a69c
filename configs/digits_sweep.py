"""A sweep in a minute: dropout and weight decay of a tiny ResNet on cluttered handwritten digits.

Command   python -m tfeff.search --config=digits_sweep --workdir=runs/digits_sweep
"""

from tfeff.config import Data, Experiment, Folds, Optimizer, Sweep, Training, architecture


def get_config() -> Sweep:
    return Sweep(
        experiment=Experiment(
            model=architecture("resnet", width=6, stage_blocks=(1, 1), resolution=16),
            data=Data(source="embedded:cluttered_digits", channels=1, normalization="dataset"),
            optimizer=Optimizer(name="adamw", learning_rate=0.01),
            training=Training(epochs=8, batch_size=64, validation_epochs=8, precision="float32"),
        ),
        axes=("model.dropout=0|0.2", "optimizer.weight_decay=0|0.01|0.1"),
        folds=Folds(count=2, examples=800, validation_fraction=0.3),
    )
