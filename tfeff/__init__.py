"""tfeff: find and train the best scaled convolutional network for a labeled image set and a compute budget.

Subpackages load on first use, so `import tfeff` is fast and imports neither TensorFlow nor Keras. It turns on oneDNN,
which TensorFlow, imported later, uses by default only on CPUs with AVX-512; `TF_ENABLE_ONEDNN_OPTS=0` turns it off.
"""

import importlib
import os
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tfeff import (
        boxes,
        config,
        data,
        evaluation,
        execution,
        models,
        proposals,
        rcnn,
        recipes,
        reporting,
        runs,
        scaling,
        serving,
        tasks,
        training,
        trials,
        workbench,
    )

__version__ = "0.1.0"
__all__ = [
    "boxes",
    "config",
    "data",
    "evaluation",
    "execution",
    "models",
    "proposals",
    "rcnn",
    "recipes",
    "reporting",
    "runs",
    "scaling",
    "serving",
    "tasks",
    "training",
    "trials",
    "workbench",
]

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

if not TYPE_CHECKING:  # a type checker that saw __getattr__ would accept any attribute

    def __getattr__(name: str) -> ModuleType:
        """Imports a subpackage on first use."""
        if name in __all__:
            return importlib.import_module(f"{__name__}.{name}")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """All attributes, including subpackages that are not loaded yet."""
    return sorted({*globals(), *__all__})
