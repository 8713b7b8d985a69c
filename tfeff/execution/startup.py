"""A quiet start of TensorFlow."""

import logging
import os
import sys
import tempfile


def load_tensorflow() -> None:
    """Imports TensorFlow without its startup log, which is shown only if the import fails or TF_CPP_MIN_LOG_LEVEL is
    set.

    The C++ code writes some of these lines (CPU instructions, missing GPU driver) before it reads any log level, so
    stderr itself is redirected.
    """
    if "TF_CPP_MIN_LOG_LEVEL" in os.environ or "tensorflow" in sys.modules:
        return
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
    sys.stderr.flush()
    before = os.dup(2)
    with tempfile.TemporaryFile() as log:
        os.dup2(log.fileno(), 2)
        try:
            import tensorflow as tf

            tf.get_logger().setLevel(logging.WARNING)
            tf.config.list_physical_devices()
        except BaseException:
            log.seek(0)
            os.write(before, log.read())
            raise
        finally:
            os.dup2(before, 2)
            os.close(before)
