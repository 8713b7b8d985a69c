import pytest

from tests.rcnn.voc_digits import write_voc
from tfeff.data.sources import catalog
from tfeff.errors import UserError
from tools.split_voc import split


@pytest.mark.slow
def test_every_image_is_tested_once(tmp_path):
    write_voc(tmp_path / "voc", {"train": range(11)})
    whole = catalog.open_objects(f"voc:{tmp_path / 'voc'}").load("all")
    split(tmp_path / "voc", list(whole.ids), folds=3, seed=0, out=tmp_path / "folds")
    with pytest.raises(UserError, match="exists; give a new folder"):
        split(tmp_path / "voc", list(whole.ids), folds=3, seed=0, out=tmp_path / "folds")
    tested = list[str]()
    for fold in range(3):
        source = catalog.open_objects(f"voc:{tmp_path / 'folds' / str(fold)}")
        train, test = source.load("train"), source.load("test")
        assert sorted([*train.ids, *test.ids]) == sorted(whole.ids)
        assert len(test) in (3, 4)
        assert test.class_names == whole.class_names
        tested += test.ids
    assert sorted(tested) == sorted(whole.ids)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("folds", "folder", "said"), [(1, "voc", "2 to 11"), (12, "voc", "2 to 11"), (3, "flat", "no VOC")]
)
def test_what_cannot_be_split_leaves_nothing(folds, folder, said, tmp_path):
    write_voc(tmp_path / "voc", {"train": range(11)})
    (tmp_path / "flat").mkdir()
    with pytest.raises(UserError, match=said):
        split(tmp_path / folder, list("abcdefghijk"), folds=folds, seed=0, out=tmp_path / "folds")
    assert not (tmp_path / "folds").exists()
