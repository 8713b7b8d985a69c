"""Documents say what the results of searches say."""

import json
import shutil
from pathlib import Path

import pytest

from tfeff.errors import UserError

DOCUMENTS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def write_results(import_tool):
    return import_tool("write_results")


def comparison(phi: float, against: str, bound: float | None, to: float = 0.1) -> dict[str, object]:
    return {"φ": phi, "against": against, "lower bound": bound, "to": to, "verdict": "any"}


def test_the_documents_are_up_to_date(write_results):
    for document in DOCUMENTS.glob("*.md"):
        text = document.read_text(encoding="utf-8")
        assert write_results.updated(text, document.parent, draw=False) == text, document.name


def test_old_text_is_replaced_and_the_rest_stays(write_results, tmp_path):
    shutil.copy(DOCUMENTS / "results" / "bccd_detector_published.json", tmp_path / "found.json")
    text = "before\n<!-- found.json: {} -->\nold\n<!-- end -->\nafter\n"
    written = write_results.updated(text.format("comparisons"), tmp_path, draw=False)
    assert written.startswith("before\n<!-- found.json: comparisons -->\n\n| φ | against |")
    assert written.endswith("|\n\n<!-- end -->\nafter\n")
    assert "old" not in written
    assert "| 0.7 | width alone | -0.5 | -2.0 to +0.9 | -1.8 | not separable |" in written
    assert write_results.updated(written, tmp_path, draw=False) == written
    drawn = write_results.updated(text.format("methods"), tmp_path, draw=True)
    assert "![All scaling methods](found_methods.png)" in drawn
    assert (tmp_path / "found_methods.png").read_bytes().startswith(b"\x89PNG")


def test_variants_have_intervals_over_runs_or_else_over_images(write_results):
    costs = {"params": 3_400_000, "macs": 980_000_000, "prediction_seconds": 0.02, "training_seconds": [60.0, 120.0]}
    both = {"runs": ["0", "1"], "scores": {"mAP@.5": {"mean": 0.9, "interval": [0.8, 1.0]}}, **costs}
    better = {**both, "minus_reference": {"mAP@.5": {"mean": 0.02, "interval": [-0.01, 0.05]}}}
    one = {"runs": ["0"], "scores": {"mAP@.5": {"mean": 0.7, "interval": None}}, **costs}
    one |= {"intervals_of_test_images": [[0.65, 0.75]]}
    one |= {"minus_reference": {"mAP@.5": {"mean": -0.2, "interval": None}}}
    result = {"reference": "a", "variants": {"a": both, "b": better, "c": one}}
    header, _, *rows = write_results.variants(result).splitlines()
    assert header.startswith("| variant | runs | mAP@.5 | mAP@.5 minus that of “a”, points | parameters |")
    assert rows[0] == "| a | 2 | 0.900 (0.800 to 1.000) | – | 3.4 M | 0.98 G | 20.0 | 1.5 |"
    assert rows[1].startswith("| b | 2 | 0.900 (0.800 to 1.000) | +2.0 (-1.0 to +5.0) | 3.4 M |")
    assert rows[2].startswith("| c | 1 | 0.700 (0.650 to 0.750 over images) | – |")


def test_a_transfer_table_has_a_column_for_each_dataset(write_results):
    def result(**variants):
        groups = {
            name: {"runs": ["0", "1"][: 1 + (low is not None)], "scores": {"accuracy": {"mean": mean, "interval": low}}}
            for name, (mean, low) in variants.items()
        }
        for group in groups.values():
            group["interval_of_test_images"] = [0.25, 0.75]
        return {"reference": "scratch", "variants": groups}

    bees = result(scratch=(0.5, None), frozen=(0.9, [0.8, 0.95]))
    signs = result(scratch=(0.875, [0.5, 1.0]))
    assert write_results.transfer({"datasets": {"bees": bees, "signs": signs}}).splitlines() == [
        "| variant | bees, accuracy | signs, accuracy |",
        "| --- | --- | --- |",
        "| scratch | 0.500 (0.250 to 0.750 over images) | 0.875 (0.500 to 1.000) |",
        "| frozen | 0.900 (0.800 to 0.950) | – |",
    ]


def test_candidates_are_ranked_by_means_of_any_sign(write_results):
    """The means of a loss are negative, because it is minimized."""
    means = {"tied": -0.5, "winner": -0.2, "eliminated": -0.1, "failed": None}
    rows = [
        {
            **{"label": standing, "depth": 1.0, "width": 1.0, "resolution": 1.0, "ratio": 2.0, "reason": None},
            **{"mean": mean, "low": None, "high": None, "standing": standing},
        }
        for standing, mean in means.items()
    ]
    written = write_results.candidates({"candidates": rows, "objective": "-(validation loss)"})
    standings = [line.split(" | ")[-1].removesuffix(" |") for line in written.splitlines()[2:]]
    assert standings == ["winner", "tied", "eliminated", "failed"]


def test_rows_are_written_with_their_intervals(write_results):
    rows = [{"neck": "fpn", "mAP": 0.8, "95 % from": 0.75, "to": 0.85, "step, ms": 111.44, "parameters": 228_359}]
    assert write_results.plain(rows).splitlines() == [
        "| neck | mAP | step, ms | parameters |",
        "| --- | --- | --- | ---: |",
        "| fpn | 0.800 (0.750 to 0.850) | 111 | 228,359 |",
    ]


def test_heads_of_r_cnn(write_results):
    scores = {
        "mAP@.5 joint": {"mean": 0.8, "interval": [0.7, 0.9]},
        "COCO AP joint": {"mean": 0.5, "interval": None},
        "mAP@.5 sliding_window": {"mean": 0.4, "interval": [-0.1, 1.1]},
        "COCO AP sliding_window": {"mean": 0.25, "interval": None},
    }
    assert write_results.heads({"bccd": {"scores": scores}}).splitlines() == [
        "| head | mAP@.5 | COCO AP |",
        "| --- | --- | --- |",
        "| joint | 0.800 (0.700 to 0.900) | 0.500 |",
        "| sliding window | 0.400 (0.000 to 1.000) | 0.250 |",
    ]


def test_settings_are_compared_with_those_of_the_run(write_results):
    common = {"form": "joint", "key": "positives", "object accuracy": 0.995, "background recall": 0.9}
    same, worse = [0.0, 0.0, 0.0], [-0.021, -0.04, 0.001]
    rows = [
        {**common, "value": 16, "mAP@.5": 0.83, "differences": {"mAP@.5": worse, "background recall": same}},
        {**common, "value": 100, "mAP@.5": 0.851, "differences": {"mAP@.5": same, "background recall": same}},
    ]
    written = write_results.sensitivity(rows).splitlines()[2:]
    assert written == [
        "| `joint.positives` | 16 | 0.830 | -2.1 (-4.0 to +0.1) | 99.5 % | 90.0 % | +0.0 (+0.0 to +0.0) |",
        "| `joint.positives` | 100 | 0.851 | – | 99.5 % | 90.0 % | – |",
    ]


@pytest.mark.parametrize(
    ("bounds", "words"),
    [
        ((0.01, 0.002, 0.03), "compound scaling is better than depth, width and resolution alone. "),
        ((0.01, -0.002, 0.03), "better than depth alone and resolution alone; that it is better than all three is not"),
        ((-0.01, None, 0.0), "not shown to be better than any single dimension"),
    ],
)
def test_the_verdict_follows_the_lower_bounds_of_the_largest_members(write_results, bounds, words):
    alone = dict(zip(write_results.ALONE, bounds, strict=True))
    rows = [comparison(2.0, name, 0.5) for name in alone]
    rows += [comparison(3.0, name, bound) for name, bound in alone.items()]
    rows += [comparison(3.0, "width and resolution", -0.5)]
    verdict = write_results.verdict({"comparisons": rows})
    assert verdict.startswith("At φ = 3, ")
    assert words in verdict
    assert f"{100 * bounds[0]:+.1f} against depth alone" in verdict


def test_the_verdict_names_methods_that_are_better(write_results):
    rows = [comparison(3.0, "depth alone", -0.02), comparison(3.0, "width alone", -0.05, to=-0.01)]
    verdict = write_results.verdict({"comparisons": rows})
    assert "It is worse than width alone (simultaneous 95 % intervals)." in verdict


def test_the_verdict_says_what_is_missing(write_results):
    """A failed member, or the same network by both methods, has no lower bound."""
    rows = [comparison(3.0, "depth alone", 0.01), {"φ": 3.0, "against": "width alone", "verdict": "the same network"}]
    rows[0] |= {"optimized": False}
    verdict = write_results.verdict({"comparisons": rows})
    assert "Against depth alone, a network failed to optimize." in verdict
    assert "No bound is known against width alone (the same network)." in verdict
    # The largest member decides, with or without results.
    undecided = [comparison(2.0, "depth alone", 0.01), rows[1]]
    assert write_results.verdict({"comparisons": undecided}).startswith("At φ = 3, nothing is decided")
    assert "not compared" in write_results.verdict({"comparisons": []})


def test_unknown_kinds_and_files_are_named(write_results, tmp_path):
    (tmp_path / "found.json").write_text(json.dumps({}))
    with pytest.raises(UserError, match='"candidate"; did you mean "candidates"'):
        write_results.updated("<!-- found.json: candidate -->\n<!-- end -->\n", tmp_path, draw=False)
    with pytest.raises(UserError, match="has no 'candidates', which \"candidates\" needs; write it again"):
        write_results.updated("<!-- found.json: candidates -->\n<!-- end -->\n", tmp_path, draw=False)
    with pytest.raises(UserError, match=r"missing\.json"):
        write_results.updated("<!-- missing.json: candidates -->\n<!-- end -->\n", tmp_path, draw=False)
