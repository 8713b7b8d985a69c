"""What the verbs share: their list, flags, and the way in which they end.

Exit codes: 0 done; 2 something the user can put right, said in one message without a traceback; 128 + the signal's
number after an interruption (the state is saved first).
"""

import errno
import os
import sys
import tempfile
from collections.abc import Callable
from typing import NoReturn

from absl import app, flags, logging

from tfeff import config
from tfeff.errors import Interrupted, UserError, WorkerLostError

VERBS = {
    "train": "train a network as a config says; evaluate and export it",
    "evaluate": "measure a trained network on a split",
    "export": "write a trained network as a SavedModel that takes raw pixels or encoded images",
    "summary": "count a network's parameters, multiply-adds and activation bytes",
}


def define_config() -> None:
    """Defines the flags --config and --config.key=value."""
    flags.DEFINE_string("config", None, "A Python file with get_config(), or a config.json.", required=True)
    flags.DEFINE_multi_string("override", [], "A changed value; --config.key=value is the usual way to write it.")


def experiment() -> config.Experiment:
    """The experiment that --config and its overrides say."""
    return config.override(config.load(flags.FLAGS.config), flags.FLAGS.override)


def load_tensorflow() -> None:
    """Imports TensorFlow without its start-up notes; they are shown if it fails, or if TF_CPP_MIN_LOG_LEVEL is set.

    The notes (which instructions the processor has, that there is no GPU driver) come from C++ code, some before any log
    level is looked at, so that the stream itself is turned aside.
    """
    if "TF_CPP_MIN_LOG_LEVEL" in os.environ:
        return
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
    sys.stderr.flush()
    before = os.dup(2)
    with tempfile.TemporaryFile() as notes:
        os.dup2(notes.fileno(), 2)
        try:
            import tensorflow as tf

            tf.config.list_physical_devices()
        except BaseException:
            notes.seek(0)
            os.write(before, notes.read())
            raise
        finally:
            os.dup2(before, 2)
            os.close(before)


def run(main: Callable[[list[str]], int | None]) -> NoReturn:
    """Runs a verb: parses the flags, calls `main` and ends the process with its exit code."""

    def guarded(argv: list[str]) -> int:
        if not flags.FLAGS["verbosity"].present:
            logging.set_verbosity(logging.WARNING)
        try:
            if len(argv) > 1:
                raise UserError(f"unexpected argument {argv[1]!r}; flags are written --name=value")
            return main(argv) or 0
        except UserError as error:
            return _fail(str(error))
        except Interrupted as stop:
            print(f"interrupted: {stop}; the same command goes on from there", file=sys.stderr)
            return 128 + stop.signal_number
        except WorkerLostError as error:
            print(f"{error}; starting again from the last checkpoint", file=sys.stderr, flush=True)
            # A cluster that has lost a worker cannot be mended inside a process: TensorFlow forms it once, at start.
            os.execv(sys.executable, sys.orig_argv)
        except Exception as error:
            if _disk_is_full(error):
                return _fail(
                    f"no space left on the disk ({error}). What was complete is kept; free some space and run again"
                )
            raise

    app.run(guarded, flags_parser=_parse)


def _parse(argv: list[str]) -> list[str]:
    prefix = "--config."
    argv = [f"--override={arg.removeprefix(prefix)}" if arg.startswith(prefix) else arg for arg in argv]
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:
        sys.exit(_fail(str(error)))


def _disk_is_full(error: BaseException) -> bool:
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return "No space left on device" in str(error)  # TensorFlow's own writers say it in words only


def _fail(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 2
