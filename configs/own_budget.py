"""Your own images and a budget: the best network that meets it, trained, evaluated and exported.

A classifier for images with labels, a detector for images with boxes.

Data      folder:<directory> with train/<class>/* and test/<class>/*, or just <class>/*; voc:<directory>,
          yolo:<directory> or coco:<directory>; or any other source of labels or boxes
Command   python -m tfeff.search --config=own_budget --workdir=runs/best \\
              --config.data.source=folder:<directory> --config.budget.latency=20ms --config.budget.minutes=30
"""

from tfeff.config import BudgetSearch, Recipe
from tfeff.recipes import own


def get_config() -> Recipe[BudgetSearch]:
    return own.budget("folder:data/images")
