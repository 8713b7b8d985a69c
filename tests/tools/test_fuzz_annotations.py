import pytest

from tests.thoroughness import THOROUGH, only_thorough
from tools import fuzz_annotations

COUNT = 2_000 if THOROUGH else 200
"""Number of files; the tool's default is 10,000."""


@pytest.fixture(scope="module")
def data(dataset):
    return {dataset(name).parent for name in ("bccd", "raccoon", "coco128")}.pop()


@only_thorough
def test_readers_survive_damaged_files_and_keep_undamaged_objects(data, tmp_path):
    failures = []
    outcomes = fuzz_annotations.run(data, tmp_path, COUNT, seed=1, failures=failures)
    assert not failures
    assert sum(outcomes.values()) == COUNT
    assert {outcome for _, _, outcome in outcomes} == {"read", "read, defects reported", "UserError"}


def test_readers_that_lose_objects_crash_or_hang_fail_the_check(data, tmp_path, monkeypatch):
    load = fuzz_annotations.voc.VOC.load

    def forgetful(*arguments, **options):
        source = load(*arguments, **options)
        return source.take([i for i, name in enumerate(source.ids) if name == "damaged"] or [0])

    def broken(*arguments, **options):
        raise KeyError("size")

    def endless(*arguments, **options):
        while True:
            pass

    monkeypatch.setattr(fuzz_annotations, "SECONDS", 0.2)
    make_case = fuzz_annotations.voc_case(data)
    for reader, outcome in ((forgetful, "undamaged objects lost"), (broken, "KeyError"), (endless, "not finished")):
        monkeypatch.setattr(fuzz_annotations.voc.VOC, "load", reader)
        case = make_case(tmp_path, fuzz_annotations.np.random.default_rng(0))
        assert fuzz_annotations.check(case)[1].startswith(outcome)
