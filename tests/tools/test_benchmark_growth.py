"""Growth: its slope, and that everything it measures runs."""

import pytest

from tests.thoroughness import thorough
from tools import benchmark_growth


def test_the_slope_is_the_exponent_of_a_power():
    assert benchmark_growth.slope([10, 30, 100], [3 * size**1.5 for size in (10, 30, 100)]) == pytest.approx(1.5)
    assert benchmark_growth.slope([10, 30], [0.0, 5.0]) is None


@pytest.mark.slow
@pytest.mark.parametrize(
    "part", [thorough(part) if part in ("caches", "exports", "detectors") else part for part in benchmark_growth.PARTS]
)
def test_each_measurement_takes_time(part):
    for name in benchmark_growth.PARTS[part][2]:
        seconds, megabytes = benchmark_growth.measure(part, name, 12)
        assert seconds > 0
        assert megabytes >= 0


def test_records_are_compared_with_their_folder(image_folder):
    (row,) = benchmark_growth.records_and_folder(f"folder:{image_folder({'train/a': 3, 'train/b': 3})}", (8, 8), 2)
    assert row["rounds"] == 2
    assert row["ratio"] > 0


@pytest.mark.parametrize(
    ("code", "result"),
    [
        ("while True: pass", "over 1 s"),
        ("bytearray(1 << 33)", "over 1 GiB"),
        ("raise KeyError", "failed with exit code 1"),
        ("print(2.5, 7)", (2.5, 7.0)),
    ],
)
def test_only_limits_are_called_limits(monkeypatch, tmp_path, code, result):
    (tmp_path / "measured.py").write_text(code)
    monkeypatch.setattr(benchmark_growth, "__file__", str(tmp_path / "measured.py"))
    monkeypatch.setattr(benchmark_growth, "SECONDS", 1)
    monkeypatch.setattr(benchmark_growth, "BYTES", 2**30)
    limits = {benchmark_growth.resource.RLIMIT_AS: 2**30, benchmark_growth.resource.RLIMIT_CPU: 1}
    monkeypatch.setattr(benchmark_growth, "LIMITS", limits)
    assert benchmark_growth.in_process("search", "full", 1, tmp_path) == result


def test_sizes_are_positive_and_sorted():
    assert benchmark_growth.sizes_of("30,10") == (10, 30)
    for text in ("abc", "10,0"):
        with pytest.raises(ValueError, match=text):
            benchmark_growth.sizes_of(text)
