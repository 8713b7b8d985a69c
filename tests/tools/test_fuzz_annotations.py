import os

import pytest

from tools import fuzz_annotations

COUNT = int(os.environ.get("TFEFF_FUZZ", "200"))
"""Files to try; the tool itself tries 10,000."""


@pytest.fixture(scope="module")
def data(dataset):
    return {dataset(name).parent for name in ("bccd", "raccoon", "coco128")}.pop()


def test_readers_survive_malformed_files_and_keep_what_is_good(data, tmp_path):
    failures = []
    outcomes = fuzz_annotations.run(data, tmp_path, COUNT, seed=1, failures=failures)
    assert not failures
    assert sum(outcomes.values()) == COUNT
    assert {outcome for _, _, outcome in outcomes} == {"read", "read, defects told", "UserError"}


def test_a_reader_that_loses_an_object_fails_or_hangs_is_found_out(data, tmp_path, monkeypatch):
    whole = fuzz_annotations.voc.load

    def forgetful(*arguments, **options):
        source = whole(*arguments, **options)
        return source.take([i for i, name in enumerate(source.ids) if name == "damaged"] or [0])

    def broken(*arguments, **options):
        raise KeyError("size")

    def endless(*arguments, **options):
        while True:
            pass

    monkeypatch.setattr(fuzz_annotations, "SECONDS", 0.2)
    make = fuzz_annotations.voc_case(data)
    for reader, outcome in ((forgetful, "good objects lost"), (broken, "KeyError"), (endless, "not done")):
        monkeypatch.setattr(fuzz_annotations.voc, "load", reader)
        case = make(tmp_path, fuzz_annotations.np.random.default_rng(0))
        assert fuzz_annotations.judged(case)[1].startswith(outcome)
