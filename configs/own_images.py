"""Your own images: network, resolution and training are chosen for their number and size, and printed.

Data      folder:<directory> with train/<class>/* and test/<class>/*, or just <class>/*; or any other source of labels
Command   python -m tfeff.train --config=own_images --workdir=runs/mine \\
              --config.data.source=folder:<directory>
Machine   2 virtual CPU cores: half a minute for 243 photographs
Result    hymenoptera (243 training and 153 test photographs, two classes), EfficientNet-Lite0 trained on ImageNet:
          accuracy 94.6 % (mean of five seeds; 95 % interval over seeds 93.4 to 95.8, over test images 88 to 98);
          from scratch 73.6 %.
          How the settings were chosen: docs/own_images.md
"""

from tfeff.config import Experiment, Recipe
from tfeff.recipes import own


def get_config() -> Recipe[Experiment]:
    return own.images("folder:data/images")
