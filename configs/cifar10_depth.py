"""Can a ResNet with eight times the blocks be trained in few steps? The recipe decides.

On 2,700 of 3,000 images of CIFAR-10 (the others are held out), it and its baseline, a ResNet of width 8 with two blocks
per stage, are trained by two recipes: a first one, with batches that shrink with the network and moving averages of the
weights over 50 steps; and that of configs/cifar10_scaling_claim.py, whose residual blocks start as the identity, with
one size of batch, a longer warm-up and averages over a number of images.

Data      folder:<directory>/train/<class>/* and test/<class>/*, 50,000 and 10,000 images of CIFAR-10
Command   python tools/compare_variants.py --config=cifar10_depth --workdir=runs/depth \\
              --out=runs/cifar10_depth --seeds=3 data.source=folder:<directory>
Result    docs/scaling.md, docs/results/cifar10_depth.json
"""

from tfeff.config import (
    Augmentation,
    ClassificationSettings,
    Data,
    Experiment,
    Optimizer,
    Schedule,
    Training,
    architecture,
)

DEEP = ("model.stage_blocks=17,17,16,16",)  # 8.7 times the multiply-adds
FIRST = ("model.zero_gamma=false", "schedule.warmup_epochs=1", "training.ema_images=none", "training.ema_decay=0.98")
SMALL_BATCH = ("training.batch_size=8", "optimizer.learning_rate=0.0125")
REFERENCE = "baseline"
VARIANTS = {
    "baseline, first recipe": FIRST,
    "8 times the blocks, first recipe": (*DEEP, *FIRST, *SMALL_BATCH),
    REFERENCE: (),
    "8 times the blocks": DEEP,
}


def get_config() -> Experiment:
    return Experiment(
        task=ClassificationSettings(augmentation=Augmentation(horizontal_flip=True, crop_padding=4)),
        model=architecture("resnet", width=8, stage_blocks=(2, 2, 2, 2), resolution=16, zero_gamma=True),
        data=Data(source="folder:data/cifar10", image_size=32, normalization="dataset", train_examples=3_000),
        optimizer=Optimizer(name="sgd", learning_rate=0.1, weight_decay=5e-3),
        schedule=Schedule(name="cosine", warmup_epochs=2),
        training=Training(epochs=15, batch_size=64, ema_images=3200, validation_epochs=15, precision="float32"),
    )
