import json
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest
from google.protobuf import text_format
from PIL import Image
from tensorboard.plugins import projector as tensorboard

from tests.undrawn import undrawn
from tfeff import config, training
from tfeff.analysis import comparison
from tfeff.analysis.comparison.classifiers import predictions, report
from tfeff.errors import UserError
from tfeff.reporting import figure

pytestmark = pytest.mark.slow

HOSTILE = "<script>alert(1)</script> & 'b' \"$x\""


class Page(HTMLParser):
    """Elements with their attributes, and all text."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.elements, self.words = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.words.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def save_coarsely(drawn, path):
    """Draws a figure once, at a low resolution, in place of twice."""
    path.parent.mkdir(parents=True, exist_ok=True)
    drawn.savefig(path.with_suffix(".png"), dpi=40)
    return path.with_suffix(".png"), path.with_suffix(".png")


@pytest.fixture(scope="module")
def written(trained_once, tmp_path_factory):
    """The report of the two runs, and its text for the terminal."""
    out = tmp_path_factory.mktemp("report") / "out"
    with undrawn():
        text = comparison.write([run.path for run in trained_once], out, reporter=training.Reporter(quiet=True))
    return out, text


def test_numbers_are_those_of_the_evaluation(written, runs, without_figures):
    numbers = json.loads((written[0] / "report.json").read_text())
    assert (numbers["split"], numbers["images"]) == ("test", 359)
    for run in runs:
        evaluated = training.evaluate_run(run, "test", training.Reporter(quiet=True)).report
        (row,) = [each for each in numbers["models"] if each["name"] == run.path.name]
        assert row["accuracy"] == evaluated["top1"]
        assert row["accuracy_interval"] == evaluated["top1_interval"]
        assert row["log_loss"] == pytest.approx(evaluated["log_loss"], rel=1e-5)
        classes = [each["accuracy"][run.path.name] for each in numbers["classes"]]
        assert classes == evaluated["per_class"]["recall"]
    assert numbers["summary"] in written[1]


def test_the_page_is_complete_and_loads_nothing(written):
    text = (written[0] / "report.html").read_text()
    page = Page(text)
    assert not re.search(r"https?:|@import|url\(", re.sub(r"base64,[\w+/=]+", "", text))
    sources = [each["src"] for each in page.all("img")]
    assert len(sources) > 30
    assert all(source.startswith("data:image/") for source in sources)
    assert len(page.all("figcaption")) >= len(sources)
    headings = [tag for tag, _ in page.elements if re.fullmatch(r"h\d", tag)]
    assert headings[0] == "h1"
    assert headings.count("h1") == 1
    sections = [each["id"] for each in page.all("section")]
    assert [each["href"] for each in page.all("a")] == ["#content", *(f"#{section}" for section in sections)]
    for word in (
        "Models",
        "Differences",
        "Training",
        "Predictions matrix",
        "Class activation maps",
        "Embedding",
        "Calibration",
    ):
        assert word in page.words
    assert not page.all("script")


def test_tensorboard_has_figures_texts_and_vectors(written):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    directory = written[0] / "tensorboard" / "comparison"
    assert len(list(directory.glob("events.out.tfevents.*"))) == 1
    events = EventAccumulator(str(directory), size_guidance={"images": 1, "tensors": 1})
    events.Reload()
    tags = events.Tags()["tensors"]
    for name in (
        "accuracy_macs",
        "curve_validation_loss",
        "class_activation",
        "embedding_0",
        "reliability_1",
        "gallery/hardest",
    ):
        assert name in tags
    summary = events.Tensors("summary")[0].tensor_proto.string_val[0].decode()
    assert summary in written[1]
    assert len((directory / "projector" / "0_small.tsv").read_text().splitlines()) == 359


def test_a_second_call_computes_no_predictions(written, trained_once, tmp_path, monkeypatch):
    out = shutil.copytree(written[0], tmp_path / "out")
    monkeypatch.setattr(predictions, "_predict", None)
    # The figures of the first call stay: drawing them takes longer than everything else.
    monkeypatch.setattr(figure, "save", lambda drawn, path: (path.with_suffix(".png"), path.with_suffix(".png")))
    comparison.write([run.path for run in trained_once], out, reporter=training.Reporter(quiet=True))
    before, after = (json.loads((path / "report.json").read_text()) for path in (written[0], out))
    assert after == before
    assert len(list((out / "tensorboard" / "comparison").glob("events.out.tfevents.*"))) == 1


def test_hostile_names_and_a_single_run(tmp_path, monkeypatch):
    """Names of classes, files and runs are text, neither HTML nor formulas. Photographs become JPEG."""
    monkeypatch.setattr(figure, "save", save_coarsely)
    rng, folder = np.random.default_rng(0), tmp_path / "images"
    for part, count in (("train", 16), ("test", 4)):
        for name in (HOSTILE.replace("/", "∕"), "b"):
            (folder / part / name).mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 256, (90, 100, 3), np.uint8)
                Image.fromarray(pixels).save(folder / part / name / f"<i>{i}.png")
    settings = config.Experiment(
        model=config.architecture("resnet", width=2, stage_blocks=(1,), resolution=8),
        data=config.Data(source=f"folder:{folder}", image_size=8, validation_fraction=0.0),
        training=config.Training(epochs=1, batch_size=16, precision="float32"),
    )
    run = training.train(settings, tmp_path / "<b>run$^$", tensorboard=False)
    comparison.write([run.path], tmp_path / "out", reporter=training.Reporter(quiet=True))
    page = Page((tmp_path / "out" / "report.html").read_text())
    assert not [tag for tag, _ in page.elements if tag in ("script", "b", "i")]
    assert any("<script>alert(1)<∕script>" in word for word in page.words)
    assert any(word.startswith("Analysis of <b>run") for word in page.words)
    assert "Differences" not in page.words
    assert any(each["src"].startswith("data:image/jpeg") for each in page.all("img"))


def test_an_output_directory_that_cannot_be_used(runs, tmp_path):
    with pytest.raises(UserError, match=r"--out=.*large: the workdir of a run"):
        comparison.write([runs[0].path], runs[1].path)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"--out=.*file: a file is in the way"):
        comparison.write([runs[0].path], tmp_path / "file", reporter=training.Reporter(quiet=True))


def test_the_verb_reports_mistakes(verbs, runs, tmp_path):
    small, large = (run.path for run in runs)
    out = tmp_path / "out"
    verbs("analyze", f"--workdir={small}", f"--out={out}", "--split=tset").fails_with(
        "--split=tset", "no such split", "test"
    )
    (large / "checkpoints" / "final.npz").unlink()
    verbs("analyze", f"--workdir={small}", f"--workdir={large}", f"--out={out}").fails_with("large", "not finished")


def test_the_verb_reports_an_empty_split(verbs, image_folder, tmp_path):
    folder = image_folder({"train/a": 8, "train/b": 8, "test/a": 1, "test/b": 1})
    settings = config.Experiment(
        model=config.architecture("resnet", width=2, stage_blocks=(1,), resolution=8),
        data=config.Data(source=f"folder:{folder}", image_size=8, validation_fraction=0.0),
        training=config.Training(epochs=1, batch_size=16, precision="float32"),
    )
    run = training.train(settings, tmp_path / "run", tensorboard=False)
    for path in (folder / "test").glob("*/*.png"):
        path.unlink()
    done = verbs("analyze", f"--workdir={run.path}", f"--out={tmp_path / 'out'}", "--split=test")
    done.fails_with("test: no images")
    assert "test: no images" in verbs("analyze", f"--dataset=folder:{folder}", f"--out={tmp_path / 'data'}").out


def test_tensorboard_finds_the_files(tmp_path, synced):
    rng = np.random.default_rng(0)
    embeddings = {"runs/a b": rng.normal(size=(5, 3)), "runs/a_b": rng.normal(size=(5, 7))}
    metadata = {"label": ["ant", "bee\tor\nwasp", "<b>", "", "ü"], "id": list("vwxyz")}
    images = rng.integers(0, 256, (5, 32, 32, 1), np.uint8)
    report.write_projector(tmp_path, embeddings, metadata, images)
    assert ".sprite.png.partial" in synced
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
    sheet = report.sprite(images)
    assert sheet.shape == (12, 18, 3)
    for i, image in enumerate(images):
        row, column = divmod(i, 3)
        np.testing.assert_array_equal(sheet[4 * row : 4 * row + 4, 6 * column : 6 * column + 6], image)
    assert not sheet[8:, 6:].any()
