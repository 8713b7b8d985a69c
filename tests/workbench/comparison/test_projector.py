import numpy as np
from google.protobuf import text_format
from PIL import Image
from tensorboard.plugins import projector as tensorboard

from tfeff.workbench.comparison import projector


def test_tensorboard_finds_the_files(tmp_path):
    rng = np.random.default_rng(0)
    embeddings = {"runs/a b": rng.normal(size=(5, 3)), "runs/a_b": rng.normal(size=(5, 7))}
    metadata = {"label": ["ant", "bee\tor\nwasp", "<b>", "", "ü"], "id": list("vwxyz")}
    images = rng.integers(0, 256, (5, 32, 32, 1), np.uint8)
    projector.write_projector(tmp_path, embeddings, metadata, images)
    config = text_format.Parse((tmp_path / "projector_config.pbtxt").read_text(), tensorboard.ProjectorConfig())
    assert [each.tensor_name for each in config.embeddings] == list(embeddings)
    for each in config.embeddings:
        vectors = np.loadtxt(tmp_path / each.tensor_path, delimiter="\t")
        np.testing.assert_allclose(vectors, embeddings[each.tensor_name], rtol=1e-5)
        lines = (tmp_path / each.metadata_path).read_text().split("\n")
        assert lines == ["label\tid", "ant\tv", "bee or wasp\tw", "<b>\tx", "\ty", "ü\tz", ""]
        sheet = np.asarray(Image.open(tmp_path / each.sprite.image_path))
        assert sheet.shape == (96, 96, 3)
        assert list(each.sprite.single_image_dim) == [32, 32]
    assert len({each.tensor_path for each in config.embeddings}) == 2


def test_sprites_are_arranged_row_by_row():
    images = np.random.default_rng(1).integers(0, 256, (7, 4, 6, 3), np.uint8)
    sheet = projector.sprite(images)
    assert sheet.shape == (12, 18, 3)
    for i, image in enumerate(images):
        row, column = divmod(i, 3)
        np.testing.assert_array_equal(sheet[4 * row : 4 * row + 4, 6 * column : 6 * column + 6], image)
    assert not sheet[8:, 6:].any()
