"""The command on the page of a search."""

import shlex
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

from tfeff import config
from tfeff.scaling.page import comparison_command


def test_the_command_that_compares_members_is_one_of_the_tool(
    run_tool: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    """Without the coefficients of the search, the tool ends there: it knows all flags and the key."""
    search = config.override(config.Search(), {"experiment.data.source": "folder:my photos"})
    result = SimpleNamespace(
        findings=SimpleNamespace(points=[SimpleNamespace(phi=0.0), SimpleNamespace(phi=2.0)]),
        study=SimpleNamespace(baseline=SimpleNamespace(num_classes=3)),
        search=search,
    )
    python, tool, *flags = shlex.split(comparison_command(result, tmp_path / "a search"))
    assert (python, tool) == ("python", "tools/compare_members.py")
    assert {"--phi=2", "--classes=3", "data.source=folder:my photos"} <= set(flags)
    given = {"CONFIG": "digits_family", "WORKDIR": str(tmp_path / "members")}
    for word, value in given.items():
        flags = [flag.replace(word, value) for flag in flags]
    code, text = run_tool("compare_members", *flags)
    assert code == 2
    assert text.startswith("error: ")
    assert str(tmp_path / "a search") in text
