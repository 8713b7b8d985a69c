"""The comparisons of classifiers, and that those of detectors have their sides, too."""

import pytest


@pytest.mark.parametrize("kind", ["classifier", "detector"])
def test_every_comparison_has_its_sides(import_tool, kind):
    comparisons = import_tool(f"benchmark_{kind}s").COMPARISONS.values()
    known = import_tool(f"{kind}_sides").SIDES.keys()
    assert {side for comparison in comparisons for side in (*comparison.ours, comparison.peer)} <= known


def test_the_environment_of_the_peer_is_required(run_tool):
    code, said = run_tool("benchmark", "classifiers", "--only=mobilenet-v2")
    assert code == 2
    assert "--peer_python is required: a Python with timm" in said
