from tests.rcnn.voc_digits import write_voc
from tfeff.data.sources import catalog
from tools.split_voc import split


def test_every_image_is_tested_once(tmp_path):
    write_voc(tmp_path / "voc", {"train": range(11)})
    whole = catalog.open_objects(f"voc:{tmp_path / 'voc'}").load("all")
    split(tmp_path / "voc", list(whole.ids), folds=3, seed=0, out=tmp_path / "folds")
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
