"""A member of the family at 95x95 with the coefficients of a scaling study, trained on all of CIFAR-10.

The study states the baseline's resolution, 95x95 upsampled from 32x32, and the coefficients 1.17 (depth), 1.09 (width)
and 1.21 (resolution): configs/cifar10_report/coefficients.json. How the network is trained is ours, as in
configs/cifar10_family.py. `configs/cifar10_search_report.py` searches for the coefficients again.

Data      <directory>/train/<class>/*.jpg and <directory>/test/<class>/*.jpg, 50,000 + 10,000 images
Command   python -m tfeff.train --config=cifar10_family_report --workdir=runs/report_phi1 \\
              --config.data.source=folder:<directory> --config.member.phi=1
Members   φ  resolution  blocks   channels       params     multiply-adds  x baseline
          0          95  2-2-2-2  12-24-48-96      397,150    177,112,644        1.00
          1         115  3-2-2-2  13-26-52-104     468,803    348,749,661        1.97
          2         139  3-3-3-2  14-28-56-112     614,484    726,014,114        4.10
          3         168  4-3-3-3  16-32-64-128   1,102,202  1,616,220,416        9.13
Machine   intended for a GPU: 20 epochs of 49,000 images
Missing   a GPU: one core would take days (estimated)
Result    not run yet
"""

from pathlib import Path

from tfeff.config import Augmentation, ClassificationSettings, Data, Experiment, Member, Optimizer, Schedule, Training

FAMILY = Path(__file__).parent / "cifar10_report"


def get_config() -> Experiment:
    return Experiment(
        task=ClassificationSettings(augmentation=Augmentation(horizontal_flip=True, crop_padding=4)),
        member=Member(family=str(FAMILY), phi=0.0),
        data=Data(
            source="folder:data/cifar10",
            image_size=32,  # as stated: upsampled to the network's resolution in each batch
            normalization="dataset",
            validation_fraction=0.02,
        ),
        optimizer=Optimizer(name="sgd", learning_rate=0.1, weight_decay=5e-3),
        schedule=Schedule(name="cosine", warmup_epochs=1),
        training=Training(epochs=20, batch_size=64, ema_decay=0.998),
    )
