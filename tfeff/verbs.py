"""What the verbs share: their list, flags, and the way in which they end.

Exit codes: 0 done; 2 something the user can put right, said in one message without a traceback; 128 + the signal's
number after an interruption (the state is saved first).
"""

import errno
import os
import re
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from absl import app, flags, logging

from tfeff import config
from tfeff.errors import Interrupted, UserError, WorkerLostError, is_disk_full

if TYPE_CHECKING:
    from tfeff.execution.executor import Executor

VERBS = {
    "train": "train a network as a config says; evaluate and export it",
    "search": "find the scaling coefficients of a baseline, its data and a budget",
    "propose": "fill a store with region proposals of a data set",
    "evaluate": "measure a trained network on a split, or region proposals on a data set",
    "detect": "draw and list what a trained detector finds in images",
    "export": "write a trained network as a SavedModel that takes raw pixels or encoded images",
    "summary": "count a network's parameters, multiply-adds and activation bytes",
}


def define_config() -> None:
    """Defines the flags --config and --config.key=value."""
    flags.DEFINE_string("config", None, "A Python file with get_config(), or a config.json.", required=True)
    flags.DEFINE_multi_string("override", [], "A changed value, key=value; --config.key=value means the same.")


def configured() -> config.Experiment | config.RCNN:
    """What --config and its overrides say."""
    loaded = config.load(flags.FLAGS.config, config.Experiment, config.RCNN)
    assert isinstance(loaded, config.Experiment | config.RCNN)
    return config.override(loaded, flags.FLAGS.override)


def define_executor(here: str) -> None:
    """Defines the flags --executor and --ray_address; `here` is what runs the calls on this machine."""
    flags.DEFINE_enum("executor", "local", ["local", "ray"], f"{here} of this machine, or a Ray cluster.")
    flags.DEFINE_string("ray_address", None, "Of the cluster; that of RAY_ADDRESS, or this machine, if not given.")


def check_executor(local_flag: str) -> None:
    """Refuses the flags of the executor that was not chosen; `local_flag` is that of the local one.

    Raises:
        UserError: one of them is given.
    """
    chosen = flags.FLAGS.executor
    refuse(local_flag if chosen == "ray" else "ray_address", f"--executor={chosen}")


def executor(local: Callable[[], "Executor"]) -> "Executor":
    """Where --executor wants calls to run; `local` makes the executor of this machine.

    Raises:
        UserError: no cluster answers.
    """
    if flags.FLAGS.executor == "local":
        return local()
    from tfeff.execution.cluster import RayCluster

    return RayCluster(flags.FLAGS.ray_address)


def refuse(name: str, other: str) -> None:
    """Refuses a flag that would have no effect, because of `other` (as the user writes it).

    Raises:
        UserError: the flag is given.
    """
    if flags.FLAGS[name].present:
        raise UserError(f"--{name} has no effect with {other}; leave it out")


def is_detector(workdir: str) -> bool:
    """Whether a workdir is that of a detector's run; what else is wrong with it is told by who reads it."""
    path = Path(workdir) / "config.json"
    return path.is_file() and isinstance(config.load(path, config.Experiment, config.RCNN), config.RCNN)


def load_tensorflow() -> None:
    """Imports TensorFlow without its start-up notes; they are shown if it fails, or if TF_CPP_MIN_LOG_LEVEL is set.

    The notes (which instructions the processor has, that there is no GPU driver) come from C++ code, some before any
    log level is looked at, so that the stream itself is turned aside.
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
        except KeyboardInterrupt:
            print("interrupted; what was complete is kept, and the same command does the rest", file=sys.stderr)
            return 128 + signal.SIGINT
        except Exception as error:
            if remedy := _remedy(error):
                return _fail(remedy)
            raise

    app.run(guarded, flags_parser=_parse)


def _parse(argv: list[str]) -> list[str]:
    prefix = "--config."
    changes = [arg for arg in argv if arg.startswith(prefix)]
    if changes and "override" not in flags.FLAGS:
        sys.exit(_fail(f"{changes[0]}: this verb takes no config; --help lists its flags"))
    argv = [f"--override={arg.removeprefix(prefix)}" if arg.startswith(prefix) else arg for arg in argv]
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:
        missing = re.findall(r"^flag --(\w+)=None", str(error), re.MULTILINE)
        message = f"give {' and '.join(f'--{name}=...' for name in missing)}" if missing else str(error)
        sys.exit(_fail(f"{message} (--help lists the flags)"))
    except SystemExit:  # absl's --help, which would end with 1
        sys.exit(0)


def _remedy(error: Exception) -> str | None:
    """What to do about an error of the machine, or None when it is the program's own."""
    code = error.errno if isinstance(error, OSError) else None
    first_line = re.sub(r"\{\{.*?\}\} *", "", str(error)).partition("\n")[0]
    if "UserError: " in first_line:  # raised while tf.data read an image
        return first_line.partition("UserError: ")[2]
    if is_disk_full(error):
        workdir = str(flags.FLAGS["workdir"].value) if "workdir" in flags.FLAGS else ""
        place = "" if workdir in first_line else f", writing to {workdir}"  # a full disk often comes without a name
        return f"no space left on the disk ({first_line}{place}). What was complete is kept; free some and run again"
    if code in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"no permission ({first_line}); choose another place, or make this one readable and writable"
    if code in (errno.EEXIST, errno.ENOTDIR, errno.EIO):
        return f"{first_line}; choose another place"
    if isinstance(error, MemoryError) or "OOM when allocating" in str(error):
        return (
            f"out of memory ({first_line}); lower training.batch_size, raise training.accumulation_steps, or keep the "
            "images out of memory (data.cache)"
        )
    return None


def _fail(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 2
