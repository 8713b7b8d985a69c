"""Loads SavedModels."""

import os
from pathlib import Path
from typing import Any

import tensorflow as tf
from absl import logging

from tfeff.errors import UserError


def load(directory: Path) -> Any:
    """A SavedModel with the signatures of our exports.

    Raises:
        UserError: it is damaged.
    """
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)  # it warns that exported models have no gradients
    try:
        model = tf.saved_model.load(os.fspath(directory))
        for name in ("serving_default", "serving_bytes"):
            _ = model.signatures[name]
    except (OSError, ValueError, KeyError, tf.errors.OpError) as error:
        raise UserError(f"{directory}: cannot read the SavedModel ({error}); export the model again") from error
    finally:
        logging.set_verbosity(verbosity)
    return model
