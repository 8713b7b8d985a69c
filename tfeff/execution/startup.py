"""A quiet start of TensorFlow, wherever it is imported first."""

import importlib.machinery
import logging
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.util import find_spec
from types import ModuleType

from tfeff.errors import UserError
from tfeff.execution.resources import gpus

LEVEL, OURS = "TF_CPP_MIN_LOG_LEVEL", "TFEFF_SET_LOG_LEVEL"
"""TensorFlow's variable, and a copy of the value that this package gave it: child processes see that it is not the
user's."""
NAME = "tensorflow"
OTHER_BACKENDS = ("jax", "openvino", "torch")
"""Keras' other backends, named as the packages that they need."""


def load_tensorflow() -> None:
    """Imports TensorFlow. Verbs call it where its seconds fit; `quiet_import` keeps it quiet.

    Raises:
        UserError: as in `check_backend`.
    """
    importlib.import_module(NAME)
    check_backend()


def check_backend() -> None:
    """Checks that Keras' backend, of the variable KERAS_BACKEND or of Keras' file keras.json, is TensorFlow.

    Raises:
        UserError: it is another one.
    """
    try:
        backend = importlib.import_module("keras").config.backend()
    except ModuleNotFoundError as error:
        if error.name not in OTHER_BACKENDS:
            raise
        backend = error.name
    if backend != NAME:
        raise UserError(
            f"training, predicting and exporting require KERAS_BACKEND=tensorflow; the backend is {backend} (only "
            "tfeff.models supports others)"
        )


def quiet_import() -> None:
    """Hides the startup log of TensorFlow's first import.

    The log is still shown if the import fails, if TensorFlow does not find the machine's GPUs, or if
    TF_CPP_MIN_LOG_LEVEL is set.

    The C++ code writes some of these lines (CPU instructions, missing GPU driver) before it reads any log level, so
    stderr itself is redirected.
    """
    shown = LEVEL in os.environ and os.environ[LEVEL] != os.environ.get(OURS)
    if not shown and NAME not in sys.modules and not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder(MetaPathFinder):
    """A finder of TensorFlow, and of nothing else, that finds it as the other finders do."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Returns the specification of TensorFlow with a quiet loader."""
        if name != NAME:
            return None
        sys.meta_path.remove(self)
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _QuietLoader(spec.loader)
        return spec


class _QuietLoader(Loader):
    """A loader of TensorFlow.

    Args:
        loader: the usual one.
    """

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        """See `Loader`."""
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Imports TensorFlow, and looks for GPUs, which logs, too."""
        # Errors of C++ code are raised, too; what it logs beside them tears tables and bars (such as that oneDNN cannot
        # compute with bytes or half floats on this CPU). They are kept where they say why GPUs are not found.
        level = "2" if gpus() else "3"
        os.environ |= {LEVEL: level, OURS: level}
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        with captured() as show:
            self._loader.exec_module(module)
            module.get_logger().setLevel(logging.WARNING)
            module.config.list_physical_devices()
            if gpus() and not module.config.list_physical_devices("GPU"):
                show()


@contextmanager
def captured() -> Iterator[Callable[[], None]]:
    """Keeps what is written to stderr; shows it after an error, or if the function that it yields is called."""
    sys.stderr.flush()
    before = os.dup(2)
    with tempfile.TemporaryFile() as log:

        def show() -> None:
            log.seek(0)
            os.write(before, log.read())

        os.dup2(log.fileno(), 2)
        try:
            yield show
        except BaseException:
            show()
            raise
        finally:
            os.dup2(before, 2)
            os.close(before)


def installed(package: str) -> bool:
    """Returns whether a package can be imported. A folder of that name, such as a tracker's results, does not count."""
    spec = find_spec(package)
    return spec is not None and spec.origin is not None
