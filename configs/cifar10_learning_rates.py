"""Does the best learning rate depend on the width and depth? The usual parametrization and μP, on CIFAR-10.

Data      folder:<directory> with train/<class>/*: 50,000 training images, of which a fold has 3,000
Command   python -m tfeff.search --config=cifar10_learning_rates --workdir=runs/rates_width \\
              --config.data.source=folder:<directory>
Variants  depth, in another workdir: --config.axes="optimizer.parametrization=standard|mup,\\
          model.depth_coefficient=1|4,optimizer.learning_rate=0.001|0.003|0.01|0.03|0.1"
          SGD, in another workdir: --config.experiment.optimizer.name=sgd and rates of 0.03|0.1|0.3|1|3
Result    with μP, 0.01 is best for all widths; usual: 0.01 to 0.003. At width 8, μP at 0.01 has 50.7 %, usual at 0.003
          52.6 % (docs/fine_tuning.md, docs/results/learning_rates_width.json). Depth and SGD: not run yet
"""

from tfeff.config import (
    Augmentation,
    ClassificationSettings,
    Data,
    Experiment,
    Folds,
    Optimizer,
    Schedule,
    Sweep,
    Training,
    architecture,
)


def get_config() -> Sweep:
    return Sweep(
        experiment=Experiment(
            task=ClassificationSettings(augmentation=Augmentation(horizontal_flip=True, crop_padding=2)),
            model=architecture("resnet", width=8, stage_blocks=(1, 1, 1), resolution=16),
            data=Data(source="folder:data/cifar10", image_size=16, normalization="dataset"),
            optimizer=Optimizer(name="adamw", weight_decay=0.01),
            schedule=Schedule(name="cosine", warmup_epochs=1),
            training=Training(epochs=8, batch_size=32, validation_epochs=8, precision="float32"),
        ),
        axes=(
            "optimizer.parametrization=standard|mup",
            "model.width_coefficient=1|2|4|8",
            "optimizer.learning_rate=0.001|0.003|0.01|0.03|0.1",
        ),
        folds=Folds(count=3, examples=4_000, validation_fraction=0.25),
    )
