"""Commands in the documents and in the headers of configs: their flags and settings exist, and the first ones run."""

import ast
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from tests.rcnn.voc_digits import write_voc
from tests.test_documents import DOCUMENTS
from tests.verbs import Verbs
from tfeff import cli, config, models, tasks, training
from tfeff.config import shipped
from tfeff.models.weights import imagenet
from tfeff.runs import published
from tfeff.serving.exportable import Exportable
from tfeff.training import checks

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = sorted((ROOT / "configs").glob("*.py"))
FILES = [*(path for path in DOCUMENTS if path.suffix == ".md"), *CONFIGS]
TAKES_A_CONFIG = {
    "train": (config.Experiment,),
    "search": (config.Search, config.Sweep, config.BudgetSearch),
    "analyze": (config.Experiment,),
}


@dataclass(frozen=True)
class Command:
    """A command of a verb, or of a tool such as `tools/benchmark.py`."""

    program: str
    arguments: tuple[str, ...]

    @property
    def verb(self) -> str | None:
        return self.program.removeprefix("tfeff.") if self.program.startswith("tfeff.") else None

    @property
    def flags(self) -> dict[str, str]:
        """Flag -> value, "" without one; those of the config are left out."""
        named = [argument[2:].partition("=") for argument in self.arguments if argument.startswith("--")]
        return {name: value for name, _, value in named if not name.startswith("config.")}

    @property
    def overrides(self) -> list[str]:
        prefix = "--config."
        return [argument.removeprefix(prefix) for argument in self.arguments if argument.startswith(prefix)]


def commands(text: str) -> list[Command]:
    """Returns the commands of verbs and tools in lines of a shell.

    A variable has its value, that of a loop the first one. Placeholders in brackets, such as `[--split=test]`, count.
    """
    variables = dict(re.findall(r'^ *(\w+)="(.*?)"$', text.replace("\\\n", " "), re.M))
    variables |= {name: values.split()[0] for name, values in re.findall(r"for (\w+) in (.*?); do", text)}
    found = []
    for line in re.sub(r"\\\s*\n", " ", text).splitlines():
        line = re.sub(r"\$(\w+)", lambda match: variables.get(match[1], match[0]), re.sub(r"  #.*", "", line))
        line = line.replace(" ...]", "]").replace("[--", "--").replace("] ", " ").removesuffix("]")
        if match := re.search(
            r"(?:^|\s)(?:python -m (tfeff\.\w+)|(?:python )?(tools/\w+\.py)|tfeff (\w+))\s+(\S.*)", line
        ):
            module, tool, verb, arguments = match.groups()
            found.append(Command(module or tool or f"tfeff.{verb}", tuple(shlex.split(arguments))))
    return found


def written(path: Path) -> list[Command]:
    """Returns the commands in the blocks of a document that have no language or that of a shell, or in the docstring of
    a config."""
    if path.suffix == ".py":
        return commands(ast.get_docstring(ast.parse(path.read_text()), clean=False) or "")
    blocks = re.findall(r"^( *)```(\w*)\n(.*?)^\1```", path.read_text(), re.S | re.M)
    return [command for _, language, block in blocks if language in ("", "sh", "bash") for command in commands(block)]


def test_commands_are_found() -> None:
    text = """
    for head in joint classic; do
        python -m tfeff.train --config=a \\
            --config.task.head=$head $MORE   # a comment
    done
    X=1 tfeff evaluate --workdir=DIR [--split=test] [--json]
    MORE="--a --b"
    python tools/benchmark.py search --rounds=3 "a b"
    docker run tfeff train --config=b"""
    assert commands(text) == [
        Command("tfeff.train", ("--config=a", "--config.task.head=joint", "--a", "--b")),
        Command("tfeff.evaluate", ("--workdir=DIR", "--split=test", "--json")),
        Command("tools/benchmark.py", ("search", "--rounds=3", "a b")),
        Command("tfeff.train", ("--config=b",)),
    ]
    assert commands(text)[0].flags == {"config": "a", "a": "", "b": ""}
    assert commands(text)[0].overrides == ["task.head=joint"]
    assert sum(len(written(path)) for path in FILES) > 150


@pytest.fixture(scope="module")
def flags_of(verbs: Verbs) -> Callable[[str], set[str]]:
    """`flags_of(verb)`: the flags of a verb, with `no` before those that can be switched off."""

    @cache
    def found(verb: str) -> set[str]:
        names = re.findall(r"^ +(?:-\w,)?--(\[no\])?(\w+):", verbs(verb, "--help").succeeds().out, re.M)
        return {name for _, name in names} | {f"no{name}" for no, name in names if no}

    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_flags_and_settings_exist(path: Path, flags_of: Callable[[str], set[str]]) -> None:
    for command in written(path):
        if command.verb is None:
            program = ROOT / command.program
            subcommand = program.parent / f"{program.stem}_{command.arguments[0]}.py"
            parts = [part for part in (program, subcommand, program.with_name("paired_processes.py")) if part.is_file()]
            source = "".join(part.read_text() for part in parts)
            missing = [flag for flag in command.flags if f'"--{flag}"' not in source]
        else:
            assert command.verb in cli.VERBS, command
            missing = sorted(command.flags.keys() - flags_of(command.verb) - {"helpfull"})
        assert not missing, f"{command}: no flag {missing}"
        name = command.flags.get("config", "")
        if command.verb is not None and name in shipped.names():
            overrides = [each for each in command.overrides if not each.startswith("KEY")]
            config.overridden(config.load_recipe(name, *TAKES_A_CONFIG[command.verb]), overrides)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_commands_leave_committed_results_alone(path: Path) -> None:
    """Tools take runs from the file that they write, or replace its rows."""
    assert not [command for command in written(path) if command.flags.get("out", "").startswith("docs/")]


def test_documents_name_every_tool() -> None:
    text = "".join(path.read_text() for path in FILES if path.suffix == ".md" and path.name != "CHANGELOG.md")
    programs = [f"tools/{path.name}" for path in (ROOT / "tools").glob("*.py") if "run(main)" in path.read_text()]
    benchmarks = re.findall(r'^    "([\w-]+)": benchmark_', (ROOT / "tools" / "benchmark.py").read_text(), re.M)
    assert len(programs) > 20
    assert len(benchmarks) > 10
    assert not [name for name in (*programs, *(f"benchmark.py {name}" for name in benchmarks)) if name not in text]


EXTENDS = ("folds.count=", "members.phis=")
"""Settings of a search that may change when it is resumed."""


def test_a_workdir_has_one_config_in_all_documents() -> None:
    """Otherwise the second command is refused."""
    configs: dict[str, dict[tuple[str, ...], str]] = {}
    for path in FILES:
        for command in written(path):
            workdir = command.flags.get("workdir", "")
            if path.suffix != ".md" or command.verb not in ("train", "search") or not workdir.startswith("runs/"):
                continue
            set_keys = sorted(each for each in command.overrides if not each.startswith(("data.source=", *EXTENDS)))
            configs.setdefault(workdir, {})[command.program, command.flags["config"], *set_keys] = path.name
    assert {workdir: found for workdir, found in configs.items() if len(found) > 1} == {}


def test_a_small_run_of_own_images_can_be_fine_tuned_for_integers() -> None:
    """Below 500 images, it trains the classifier on stored features."""
    (command,) = (
        each for each in written(ROOT / "docs" / "serving.md") if "training.quantization=int8" in each.overrides
    )
    layers = ["optimizer.frozen=stem*,stage*,head_conv*", "training.feature_variants=2", "training.precision=float32"]
    own = config.override(config.Experiment(), ["model.name=efficientnet-lite0", *layers])
    tuned = config.override(own, command.overrides)
    assert not tuned.optimizer.frozen
    checks.check(training.Plan.of(tuned), 1, new_run=False)


STARTS = ("#", "pip ", "python ", "mkdir ", "cp ", "for ", "done")


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_commands_of_a_config_can_be_pasted(path: Path) -> None:
    """The site shows them as a block of shell commands; remarks have fields of their own."""
    document = ast.get_docstring(ast.parse(path.read_text())) or ""
    match = re.search(r"^Command {3}(.*?)(?=^[A-Z][a-z]+ {2,}|\Z)", document, re.S | re.M)
    if match:
        lines = re.sub(r"\\\n", " ", match[1]).strip().splitlines()
        assert not [line for line in lines if not line.strip().startswith(STARTS)]


SMALLER = {
    "train": (
        *("--config.training.epochs=1", "--config.training.batch_size=4", "--config.model.weights=none"),
        *("--config.model.resolution=64", "--config.model.width_coefficient=0.1"),
    ),
    "--config=own_images": ("--config.task.augmentation.rotation=0", "--config.task.tta.mirrored=false"),
    "--config=own_boxes": ("--config.task.augmentation.mosaic=0", "--config.task.network.neck_channels=8"),
    "analyze": ("--images=8",),
}
"""What makes a command of the README last seconds, by verb and config."""


@pytest.mark.slow
@pytest.mark.usefixtures("without_figures")
def test_the_commands_of_the_readme_run(
    verbs: Verbs, image_folder: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All but the search, which takes minutes and has its own tests, and the server.

    A small network takes the place of the published one, which tests/runs/test_published.py exports.
    """
    names = imagenet.class_names()
    small = models.build("resnet", num_classes=len(names), width=4, stage_blocks=(1,), resolution=16)
    network = Exportable(tasks.ClassificationTask(), small, names, None, 3)
    monkeypatch.setattr(published, "exportable", lambda name: network)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    published.find_model("efficientnet-lite0")
    images = image_folder({f"{split}/{name}": 8 for split in ("train", "test") for name in ("ant", "bee")}, (40, 40))
    write_voc(tmp_path / "voc", {"train": range(8), "val": range(8, 12), "test": range(12, 16)})
    places = {
        "runs/best/best": "runs/mine",
        "runs/": f"{tmp_path}/runs/",
        "/path/to/images": str(images),
        "/path/to/photographs": str(images / "test" / "ant"),
        "/path/to/voc": str(tmp_path / "voc"),
    }
    ran = []
    # Trainings first: in place of the search that is left out, they provide the runs that others use.
    for command in sorted(written(ROOT / "README.md"), key=lambda each: each.verb != "train"):
        if command.verb in (None, "search", "serve"):
            continue
        arguments = list(command.arguments)
        for part in (command.verb, *command.arguments):
            arguments += SMALLER.get(part, ())
        for placeholder, place in places.items():
            arguments = [argument.replace(placeholder, place) for argument in arguments]
        arguments = list(dict.fromkeys(arguments))  # the search is left out, so both runs of the analysis are the same
        done = verbs(command.verb, *arguments, env={"KERAS_HOME": str(tmp_path / "keras")}).succeeds()
        assert "exporting efficientnet-lite0" not in done.err
        ran.append(command.verb)
    assert ran == ["train", "train", "predict", "predict", "analyze", "summary"]
    assert (tmp_path / "runs" / "mine" / "report.html").is_file()
    assert (tmp_path / "runs" / "boxes" / "report.html").is_file()
    for name in ("first", "predictions"):
        assert list((tmp_path / "runs" / name).glob("predictions.*"))
    assert list((tmp_path / "runs" / "report").glob("*.html"))
