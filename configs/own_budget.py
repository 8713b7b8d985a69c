"""Your own images and a budget: the best network that meets it, trained, evaluated and exported.

Data      folder:<directory> with train/<class>/* and test/<class>/*, or just <class>/*; or any other source of labels
Command   python -m tfeff.search --config=configs/own_budget.py --workdir=runs/best \\
              --config.experiment.data.source=folder:<directory> --config.budget.latency=20ms --config.budget.minutes=30
"""

from tfeff.config import BudgetSearch
from tfeff.recipes import own


def get_config() -> BudgetSearch:
    return own.budget("folder:data/images")
