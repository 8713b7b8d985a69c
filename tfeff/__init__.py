"""tfeff: find and train the best scaled convolutional network for a labeled image set and a compute budget.

Public, and listed in `__all__`: the functions and classes of `PUBLIC`, which docs/python.md explains, and what the
subpackages list in theirs; of a subpackage without such a list, nothing is. Everything else can change without notice.

All of it loads on first use, so `import tfeff` is fast and imports neither TensorFlow nor Keras. It turns on oneDNN,
which TensorFlow, imported later, uses by default only on CPUs with AVX-512; `TF_ENABLE_ONEDNN_OPTS=0` turns it off. And
TensorFlow's startup log is not shown, unless `TF_CPP_MIN_LOG_LEVEL` is set or something is wrong.
"""

import importlib
import os
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from tfeff.execution.startup import quiet_import

if TYPE_CHECKING:
    from tfeff import (
        analysis,
        boxes,
        budget,
        config,
        data,
        evaluation,
        execution,
        models,
        networks,
        proposals,
        rcnn,
        recipes,
        reporting,
        reports,
        runs,
        scaling,
        selection,
        serving,
        sweep,
        tasks,
        training,
        trials,
    )
    from tfeff.api import Images, load, load_config, open, own_boxes, own_images, train
    from tfeff.errors import UserError
    from tfeff.models.given import Backbone

__version__ = "0.1.0"
__all__ = [
    "Backbone",
    "Images",
    "UserError",
    "analysis",
    "boxes",
    "budget",
    "config",
    "data",
    "evaluation",
    "execution",
    "load",
    "load_config",
    "models",
    "networks",
    "open",
    "own_boxes",
    "own_images",
    "proposals",
    "rcnn",
    "recipes",
    "reporting",
    "reports",
    "runs",
    "scaling",
    "selection",
    "serving",
    "sweep",
    "tasks",
    "train",
    "training",
    "trials",
]
PUBLIC = {
    **dict.fromkeys(("Images", "load", "load_config", "open", "own_boxes", "own_images", "train"), "api"),
    "Backbone": "models.given",
    "UserError": "errors",
}
"""Functions and classes, and their modules."""

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
quiet_import()

if not TYPE_CHECKING:  # a type checker that saw __getattr__ would accept any attribute

    def __getattr__(name: str) -> Any:
        """Imports a subpackage, or the module of a function, on first use."""
        if name in PUBLIC:
            return getattr(importlib.import_module(f"{__name__}.{PUBLIC[name]}"), name)
        if name in __all__:
            return importlib.import_module(f"{__name__}.{name}")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    class _Package(ModuleType):
        """A module that keeps the function `tfeff.train` when the verb of that name, `tfeff/train.py`, is imported."""

        def __setattr__(self, name: str, value: object) -> None:
            if not (name in PUBLIC and isinstance(value, ModuleType)):
                super().__setattr__(name, value)

    sys.modules[__name__].__class__ = _Package


def __dir__() -> list[str]:
    """Returns all attributes, including subpackages that are not loaded yet."""
    return sorted({*globals(), *__all__})
