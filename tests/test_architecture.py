"""Checks beyond the linters: file names, tests that mirror the package, lazy imports, the list of verbs, lock files."""

import ast
import re
import subprocess
import sys
from functools import cache
from importlib.metadata import entry_points, packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import tfeff
from tfeff import __main__, cli

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("tfeff", "tools", "configs", "tests")
PYTHONS = ("3.11", "3.12", "3.13")
RUN_LOCK, DEV_LOCK, DOCS_LOCK = "requirements.lock", "requirements-dev.lock", "requirements-docs.lock"
# Tests that cover several files do not mirror one.
WITHOUT_MIRROR = {
    "tests/data/sources/test_orientation.py",
    "tests/models/test_jax_backend.py",
    "tests/models/weights/test_crafted_files.py",
    "tests/rcnn/test_runs.py",
    "tests/runs/test_corrupt_images.py",
    "tests/serving/test_clients.py",
    "tests/tasks/test_cut_objects.py",
    "tests/test_architecture.py",
    "tests/test_commands.py",
    "tests/test_documents.py",
    "tests/training/test_restart.py",
}


def sources(folder: str) -> list[Path]:
    """Returns the Python files in a folder, relative to the repository."""
    return sorted(path.relative_to(ROOT) for path in (ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("folder", FOLDERS)
def test_file_names_say_what_is_inside(folder: str) -> None:
    vague = {"utils", "util", "common", "helpers", "helper", "misc"}
    words = {
        path: {word for part in path.with_suffix("").parts for word in part.split("_")} for path in sources(folder)
    }
    assert not [str(path) for path, named in words.items() if named & vague]


def test_tests_mirror_the_package() -> None:
    strays = []
    for test in sources("tests"):
        if not test.name.startswith("test_") or test.as_posix() in WITHOUT_MIRROR:
            continue
        inner = test.relative_to("tests").with_name(test.name.removeprefix("test_"))
        if not ((ROOT / "tfeff" / inner).is_file() or (ROOT / inner).is_file()):
            strays.append(f"{test}: neither tfeff/{inner} nor {inner}")
    assert not strays


@pytest.mark.parametrize("document", ["ARCHITECTURE.md", "CONTRIBUTING.md"])
def test_files_and_attributes_that_documents_name_exist(document: str) -> None:
    """`training/plan.py`, `tests/rcnn/`, `Plan.learned`, `task.ImageTask`; those with `<placeholders>` are left out."""
    paths = {f"/{path}" for folder in FOLDERS for path in (*sources(folder), *folders(folder))}
    members = {f"{kind}.{name}" for path in sources("tfeff") for kind, name in attributes(path)}
    named = re.findall(r"`([\w/.]+)`", (ROOT / document).read_text())
    files = {name for name in named if name.endswith((".py", "/"))} - {"setup.py", "reference/"}
    missing = [name for name in files if not any(path.endswith(f"/{name.rstrip('/')}") for path in paths)]
    dotted = {name for name in named if re.fullmatch(r"[A-Z][a-z]\w+\.\w+", name)}
    classes = {f"{path.stem}.{kind}" for path in sources("tfeff") for kind, _ in attributes(path)}
    classes |= {f"{path.parent.name}.{kind}" for path in sources("tfeff") for kind, _ in attributes(path)}
    qualified = {name for name in named if re.fullmatch(r"[a-z_]+\.[A-Z][a-z]\w+", name)}
    assert not missing + sorted(dotted - members) + sorted(qualified - classes)


def folders(folder: str) -> set[Path]:
    """Returns the folders with Python files in a folder, and itself, relative to the repository."""
    return {parent for path in sources(folder) for parent in path.parents if parent.parts}


@cache
def nodes(path: Path) -> list[ast.AST]:
    """Returns the nodes of a file of the repository."""
    return list(ast.walk(ast.parse((ROOT / path).read_text())))


@cache
def attributes(path: Path) -> list[tuple[str, str]]:
    """Classes in a file, each with the name of an attribute, property or method of its own or of a base in the file."""
    kinds = {node.name: node for node in nodes(path) if isinstance(node, ast.ClassDef)}

    def names(kind: ast.ClassDef) -> set[str]:
        own = {node.name for node in kind.body if isinstance(node, ast.FunctionDef)}
        own |= {
            node.target.id
            for node in kind.body
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
        }
        bases = {base.id for base in kind.bases if isinstance(base, ast.Name)}
        return own.union(*(names(kinds[base]) for base in bases & set(kinds)))

    return [(name, attribute) for name, kind in kinds.items() for attribute in names(kind)]


def test_every_verb_is_listed_and_every_listed_verb_exists() -> None:
    not_verbs = {"__init__", "__main__", "api", "checked", "durable", "errors", "cli"}
    assert {path.stem for path in (ROOT / "tfeff").glob("*.py")} - not_verbs == set(cli.VERBS)


@pytest.mark.slow
def test_subpackages_load_on_first_use() -> None:
    code = (
        "import sys, tfeff; assert not {'tensorflow', 'keras', 'numpy'} & set(sys.modules);"
        "assert tfeff.own_images('folder:photos', {'training.epochs': 3}).base.training.epochs == 3;"
        "assert not {'tensorflow', 'keras'} & set(sys.modules);"
        "assert set(tfeff.__all__) <= set(dir(tfeff));"
        "assert tfeff.boxes.iou and tfeff.models.build and tfeff.models is sys.modules['tfeff.models'];"
        "import tfeff.train; assert tfeff.train is sys.modules['tfeff.api'].train"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
    with pytest.raises(AttributeError, match="module 'tfeff' has no attribute 'model'"):
        _ = tfeff.model


def test_every_subpackage_is_an_attribute() -> None:
    assert set(tfeff.__all__) - set(tfeff.PUBLIC) == {
        path.parent.name for path in (ROOT / "tfeff").glob("*/__init__.py")
    }


def test_help_of_the_console_script_lists_the_verbs() -> None:
    output = subprocess.run(
        [sys.executable, "-m", "tfeff", "--help"], capture_output=True, text=True, check=True, cwd=ROOT
    )
    listed = {line.split()[0] for line in output.stdout.splitlines() if line.startswith("  ")}
    assert listed == set(cli.VERBS)


def test_console_script_is_installed() -> None:
    (script,) = entry_points(group="console_scripts", name="tfeff")
    assert script.load() is __main__.main


def declared() -> tuple[list[Requirement], dict[str, list[Requirement]]]:
    """Returns the requirements of setup.py, and those of its extras."""
    values = {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in ast.parse((ROOT / "setup.py").read_text()).body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
        if node.targets[0].id in ("REQUIRED", "EXTRAS")
    }
    extras = {name: [Requirement(line) for line in lines] for name, lines in values["EXTRAS"].items()}
    return [Requirement(line) for line in values["REQUIRED"]], extras


def test_setup_requires_what_the_package_imports() -> None:
    always, extras = declared()
    owners = {
        "tfeff/execution/cluster.py": "ray",
        "tfeff/serving/onnx.py": "onnx",
        "tfeff/serving/openvino.py": "openvino",
        "tfeff/sweep/combinations.py": "bayesian",
        "tfeff/data/images/header.py": "heif",
        "tfeff/data/sources/packing.py": "records",
        "tfeff/runs/endpoint.py": "serve",
        "tfeff/serve.py": "serve",
        "tfeff/training/tracking/mlflow.py": "mlflow",
        "tfeff/training/tracking/wandb.py": "wandb",
    }
    distributions = packages_distributions()
    undeclared = set()
    for path in sources("tfeff"):
        # The file for an extra may import it.
        added = extras[owners[str(path)]] if str(path) in owners else []
        required = {canonicalize_name(requirement.name) for requirement in (*always, *added)}
        for node in nodes(path):
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                modules = [node.module or ""]
            else:
                continue
            for package in {module.split(".")[0] for module in modules} - sys.stdlib_module_names - {"tfeff"}:
                if package == "jax" and path.is_relative_to("tfeff/models"):
                    continue  # whoever chooses Keras' backend has it
                if not required & {canonicalize_name(name) for name in distributions.get(package, [package])}:
                    undeclared.add(f"{path} imports {package}")
    assert not undeclared


def pinned(lock: str, python: str) -> dict[str, str]:
    """Returns the versions pinned by a lock file on Linux, by canonical package name."""
    environment = {"python_version": python, "python_full_version": f"{python}.0", "sys_platform": "linux"}
    environment |= {"os_name": "posix", "platform_python_implementation": "CPython"}
    pins: dict[str, str] = {}
    for line in (ROOT / lock).read_text().splitlines():
        if not line or line.lstrip().startswith(("#", "--hash=")):
            continue
        requirement = Requirement(line.removesuffix("\\"))
        if requirement.marker is None or requirement.marker.evaluate(environment):
            (pin,) = requirement.specifier
            name = canonicalize_name(requirement.name)
            assert pin.operator == "==", f"{lock}: {line}"
            assert name not in pins, f"{lock}: {name} twice on Python {python}"
            pins[name] = pin.version
    return pins


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize(
    ("lock", "extras"), [(RUN_LOCK, ()), (DEV_LOCK, ("jax", "onnx", "openvino", "records", "dev"))]
)
def test_lock_holds_what_setup_requires(lock: str, extras: tuple[str, ...], python: str) -> None:
    required, by_extra = declared()
    pins = pinned(lock, python)
    for requirement in [*required, *(line for extra in extras for line in by_extra[extra])]:
        version = pins.get(canonicalize_name(requirement.name))
        assert version is not None, f"{lock} lacks {requirement}"
        assert version in requirement.specifier, f"{lock} has {version}, setup.py wants {requirement}"


@pytest.mark.parametrize("python", PYTHONS)
def test_lock_of_the_site_holds_its_extra_alone(python: str) -> None:
    pins = pinned(DOCS_LOCK, python)
    for requirement in declared()[1]["docs"]:
        assert pins[canonicalize_name(requirement.name)] in requirement.specifier
    assert "tensorflow" not in pins


@pytest.mark.parametrize("python", PYTHONS)
def test_development_lock_holds_the_other_one(python: str) -> None:
    assert pinned(RUN_LOCK, python).items() <= pinned(DEV_LOCK, python).items()


@pytest.mark.parametrize(("lock", "least"), [(RUN_LOCK, 60), (DEV_LOCK, 60), (DOCS_LOCK, 20)])
def test_every_pin_of_a_lock_has_hashes(lock: str, least: int) -> None:
    """pip refuses other files of the same version, wherever they come from."""
    lines = [line for line in (ROOT / lock).read_text().splitlines() if not line.lstrip().startswith("#")]
    pins = [place for place, line in enumerate(lines) if line and not line.startswith(" ")]
    assert len(pins) > least
    assert not [lines[place] for place in pins if not lines[place + 1].startswith("    --hash=sha256:")]


@pytest.mark.parametrize("lock", [RUN_LOCK, DEV_LOCK])
def test_lock_holds_what_an_offline_editable_install_needs(lock: str) -> None:
    assert {"setuptools", "wheel"} <= pinned(lock, PYTHONS[0]).keys()


def test_functions_are_traced_as_they_are_written() -> None:
    """AutoGraph rewrites Python, warns users of what it cannot read, and takes time; nothing here needs it."""
    rewritten = list[str]()
    for path in sources("tfeff"):
        for call in (each for each in nodes(path) if isinstance(each, ast.Call)):
            if ast.unparse(call.func) == "tf.function":
                as_written = any(ast.unparse(each) == "autograph=False" for each in call.keywords)
            elif isinstance(call.func, ast.Attribute) and call.func.attr in {"map", "flat_map"}:  # of tf.data
                as_written = ast.unparse(call.func.value) == "threads" or left_as_written(path, call.args[0])
            else:
                continue
            if not as_written:
                rewritten.append(f"{path}:{call.lineno}")
    assert not rewritten


def left_as_written(path: Path, function: ast.expr) -> bool:
    """Whether a function is marked for AutoGraph to skip, or is a lambda without calls (nothing to convert)."""
    mark = "tf.autograph.experimental.do_not_convert"
    if isinstance(function, ast.Call):
        return ast.unparse(function.func) == mark
    if isinstance(function, ast.Lambda):
        return not any(isinstance(each, ast.Call) for each in ast.walk(function))
    name = ast.unparse(function).split(".")[-1]
    defined = [each for each in nodes(path) if isinstance(each, ast.FunctionDef) and each.name == name]
    return bool(defined) and all(mark in map(ast.unparse, each.decorator_list) for each in defined)


def test_experiments_are_resolved_where_a_run_starts() -> None:
    """Below `training.Plan`, functions take what they need."""
    found = set()
    for path in sources("tfeff"):
        for node in nodes(path):
            if not isinstance(node, ast.FunctionDef):
                continue
            taken = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            notes = [ast.unparse(each.annotation) for each in taken if each.annotation is not None]
            if any(re.search(r"\bExperiment\b", note) and "type[" not in note for note in notes):
                found.add(f"{path}: {node.name}")
    assert len(found) <= 13, sorted(found)
    created = [path for path in sources("tfeff") if "tasks.create(" in (ROOT / path).read_text()]
    assert created == [Path("tfeff/selection/splits.py")]
