"""The list of verbs, their common flags, error messages and exit codes.

Exit codes: 0 success; 2 an error that the user can fix, printed as one message without a traceback; 128 + signal number
if interrupted, after saving the state.
"""

import errno
import locale
import os
import re
import signal
import sys
from collections.abc import Callable
from importlib import metadata
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from absl import app, flags, logging

from tfeff.errors import Interrupted, UserError, WorkerLostError, brief, is_disk_full
from tfeff.reporting.terminal import say

if TYPE_CHECKING:
    from tfeff.execution.executor import Executor

flags.disclaim_key_flags()  # `--help` lists the flags defined here with those of the verb
VERBS = {
    "train": "train, evaluate and export the classifier, embedder, localizer or detector of a config",
    "search": "find the best network within a budget, scaling coefficients, or the best settings of a sweep",
    "propose": "compute region proposals for a dataset with boxes",
    "evaluate": "evaluate a trained network or detector on a split, or region proposals on a dataset",
    "analyze": "explain why a network finds nothing or what is wrong with its images; compare networks; choose labels",
    "predict": "apply a trained model to image files or a video: classes, boxes, pictures",
    "export": "export a trained network or detector as a SavedModel, or for LiteRT, ONNX, OpenVINO or Keras",
    "serve": "try a trained model in a browser on this machine",
    "pack": "pack a dataset into a few large files, for data sets larger than the memory",
    "summary": "print parameters, multiply-adds and activation memory of networks",
}
ANALYSIS = "analysis"
"""Folder of the results of `tfeff.analyze`, in the workdir of a run."""
LABELED = 100
"""Images to label next by default."""
CONFIG_HELP = "Name of a config that comes with tfeff, such as own_images, or a Python file with get_config(), or JSON."


def define_config() -> None:
    """Defines the flags --config and --config.key=value."""
    flags.DEFINE_string("config", None, CONFIG_HELP, required=True)
    flags.DEFINE_multi_string("override", [], "Override a config value: key=value. Same as --config.key=value")


def define_model() -> None:
    """Defines the flags --workdir and --model; see `check_model`."""
    flags.DEFINE_string("workdir", None, "Workdir of a finished tfeff.train run.")
    flags.DEFINE_string(
        "model",
        None,
        "Instead of --workdir: an exported model (a SavedModel, or a folder or file of another format of "
        "tfeff.export), or the name of a published network, such as efficientnet-lite0 or efficientdet-d0.",
    )


def check_model() -> None:
    """Checks that either --workdir or --model is given.

    Raises:
        UserError: neither or both are.
    """
    if bool(flags.FLAGS.workdir) == bool(flags.FLAGS.model):
        raise UserError(
            "give either --workdir=DIR (a finished run) or --model=MODEL (an exported model, or the name of a "
            "published network)"
        )


def define_runtime() -> None:
    """Defines the flag --runtime."""
    flags.DEFINE_enum(
        "runtime",
        "auto",
        ["auto", "tensorflow", "litert", "onnx", "openvino"],
        "Runtime that predicts. auto: TensorFlow; if that takes over a minute, the fastest one that is installed and "
        "predicts the same.",
    )


def define_gallery() -> None:
    """Defines the flags --gallery, --neighbors and --threshold."""
    flags.DEFINE_string("gallery", None, "Embedders: recognize by the images of this folder, a folder for each class.")
    flags.DEFINE_integer(
        "neighbors",
        None,
        "Galleries: number of nearest images of a class whose similarities are averaged. Default: 1.",
        lower_bound=1,
    )
    flags.DEFINE_float(
        "threshold",
        None,
        "Galleries: minimum similarity of a known class. Default: the one that about 5 % of images of other classes "
        "reach, by the validation images.",
        lower_bound=-1.0,
        upper_bound=1.0,
    )


def define_score() -> None:
    """Defines the flag --score."""
    help_text = "Detectors: minimum score. Default: the threshold of the run."
    flags.DEFINE_float("score", None, help_text, lower_bound=0.0, upper_bound=1.0)


def define_executor(local: str) -> None:
    """Defines the flags --executor and --ray_address; `local` names what runs locally: "Threads" or "Processes"."""
    flags.DEFINE_enum("executor", "local", ["local", "ray"], f"{local} on this machine, or a Ray cluster.")
    flags.DEFINE_string(
        "ray_address", None, "Address of the Ray cluster. Default: RAY_ADDRESS, or a cluster on this machine."
    )


def check_executor(local_flag: str) -> None:
    """Checks that no flag of the other executor is given.

    Args:
        local_flag: the flag of the local executor.

    Raises:
        UserError: if one is given.
    """
    chosen = flags.FLAGS.executor
    refuse(local_flag if chosen == "ray" else "ray_address", f"--executor={chosen}")


def executor(local: Callable[[], "Executor"]) -> "Executor":
    """Creates the executor chosen by --executor; `local` creates the local one.

    Raises:
        UserError: if the cluster cannot be reached.
    """
    if flags.FLAGS.executor == "local":
        return local()
    from tfeff.execution.cluster import RayCluster

    return RayCluster(flags.FLAGS.ray_address)


def refuse(name: str, other: str) -> None:
    """Raises an error if a flag is given that has no effect in combination with `other`.

    Args:
        name: name of the flag.
        other: the other flag, as the user writes it.

    Raises:
        UserError: if the flag is given.
    """
    if flags.FLAGS[name].present:
        written = "config.KEY" if name == "override" else name
        raise UserError(f"--{written} has no effect with {other}; remove it")


def run(main: Callable[[list[str]], int | None]) -> NoReturn:
    """Runs a verb: parses the flags, calls `main` and exits the process with the exit code."""
    if locale.getencoding().lower().replace("-", "") != "utf8" and not sys.flags.utf8_mode:
        # Names of classes and files can have any characters, and so has every file that is written.
        os.execve(sys.executable, sys.orig_argv, {**os.environ, "PYTHONUTF8": "1"})
    pressed = False

    def on_ctrl_c(number: int, frame: FrameType | None) -> None:
        nonlocal pressed
        pressed = True
        signal.default_int_handler(number, frame)

    def interrupted() -> int:
        say("interrupted; completed work is kept, rerun the same command to resume", error=True)
        return 128 + signal.SIGINT

    def guarded(argv: list[str]) -> int:
        if not flags.FLAGS["verbosity"].present:
            logging.set_verbosity(logging.WARNING)
        try:
            if len(argv) > 1:
                raise UserError(f"unexpected argument {argv[1]!r}; flags are written --name=value")
            # Such as --out=$DIR without a variable DIR; it would be the current folder.
            for name in ("workdir", "out", "gallery"):
                if name in flags.FLAGS and flags.FLAGS[name].value == "":
                    raise UserError(f"--{name}= is empty; give a directory (. for the current one)")
            code = main(argv) or 0
            sys.stdout.flush()
            return code
        except UserError as error:
            error.in_python = False
            return _fail(str(error))
        except Interrupted as stop:
            say(f"interrupted: {stop}; rerun the same command to resume", error=True)
            return 128 + stop.signal_number
        except WorkerLostError as error:
            say(f"{error}; restarting from the last checkpoint", error=True)
            # TensorFlow forms the cluster once, at startup, so a process cannot replace a lost worker.
            os.execv(sys.executable, sys.orig_argv)
        except KeyboardInterrupt:
            return interrupted()
        except BrokenPipeError:  # the reader of our output has stopped, such as `head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 128 + signal.SIGPIPE
        except Exception as error:
            if pressed:  # C++ code that Ctrl-C stopped may report it as an error of its own, such as a SystemError
                return interrupted()
            if remedy := _remedy(error):
                return _fail(remedy)
            raise

    signal.signal(signal.SIGINT, on_ctrl_c)
    app.run(guarded, flags_parser=_parse)


def _with_home(arg: str) -> str:
    """Replaces the ~ of --workdir=~/runs; shells replace it at the beginning of a word only."""
    name, equals, value = arg.partition("=")
    return f"{name}={os.path.expanduser(value)}" if equals and value[:2] in ("~", "~/") else arg


def _parse(argv: list[str]) -> list[str]:
    if "--version" in argv:
        say(f"tfeff {metadata.version('tfeff')}")
        sys.exit(0)
    prefix = "--config."
    try:  # lines of --flagfile may be --config.key=value, too
        argv = [*argv[:1], *flags.FLAGS.read_flags_from_files(argv[1:], force_gnu=False)]
    except flags.Error as error:
        sys.exit(_fail(str(error)))
    argv = [*argv[:1], *map(_with_home, argv[1:])]
    overrides = [arg for arg in argv if arg.startswith(prefix)]
    if overrides and "override" not in flags.FLAGS:
        sys.exit(_fail(f"{overrides[0]}: this command has no config (--help lists its flags)"))
    argv = [f"--override={arg.removeprefix(prefix)}" if arg.startswith(prefix) else arg for arg in argv]
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:
        missing = re.findall(r"^flag --(\w+)=None", str(error), re.MULTILINE)
        message = f"give {' and '.join(f'--{name}=...' for name in missing)}" if missing else str(error)
        if isinstance(error, flags.UnrecognizedFlagError) and (known := _config_keys(error.flagname)):
            message = f"no flag --{error.flagname}; did you mean {' or '.join(f'--config.{key}' for key in known)}?"
        sys.exit(_fail(f"{message} (--help lists the flags)"))
    except SystemExit:  # absl's --help, which exits with 1
        sys.exit(0)


def _config_keys(flag: str) -> list[str]:
    """Returns the keys of a config that end with the name of an unknown flag; none if the verb has no config."""
    if "override" not in flags.FLAGS:
        return []
    from tfeff import config

    return [key for key in config.flatten(config.Experiment()) if key == flag or key.endswith(f".{flag}")]


def _remedy(error: Exception) -> str | None:
    """Returns the message for an error caused by the environment (disk, memory, permissions).

    None for a bug in the program.
    """
    code = error.errno if isinstance(error, OSError) else None
    first_line = brief(error)
    if "UserError: " in first_line:  # raised inside tf.data while reading an image
        return first_line.partition("UserError: ")[2]
    if is_disk_full(error):
        given = (str(flags.FLAGS[name].value or "") for name in ("out", "workdir") if name in flags.FLAGS)
        directory = next(filter(None, given), "")
        place = "" if directory in first_line else f", writing to {directory}"  # often missing if the disk is full
        return f"no space left on the disk ({first_line}{place}). Completed work is kept; free some space and rerun"
    if code in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"no permission ({first_line}); make it readable and writable, or use another path"
    if code in (errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.EIO):
        return f"{first_line}; use another path"
    if isinstance(error, MemoryError) or "OOM when allocating" in str(error):
        return f"out of memory ({first_line}); {_less_memory()}"
    return None


def _less_memory() -> str:
    """Returns how this verb needs less memory."""
    if "override" in flags.FLAGS:
        return (
            "lower training.batch_size, raise training.accumulation_steps, set training.rematerialize=true, or do not "
            "cache images in memory (data.cache)"
        )
    if "tile" in flags.FLAGS:
        return "lower --batch_size; with a detector, cut large images into tiles (--tile)"
    return "end other programs, or use a machine with more memory"


def _fail(message: str) -> int:
    say(f"error: {message}", error=True)
    return 2
