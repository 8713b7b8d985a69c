"""Published networks predict by name."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

import tfeff
from tests.verbs import Verbs
from tfeff import models
from tfeff.errors import UserError
from tfeff.models.weights import coco, imagenet
from tfeff.runs import published


def test_classes_of_imagenet_have_names() -> None:
    names = imagenet.class_names()
    assert len(names) == len(set(names)) == 1000
    assert [names[index] for index in (0, 134, 309, 310, 517, 985, 999)] == [
        "tench",
        "crane (bird)",
        "bee",
        "ant",
        "crane (machine)",
        "daisy",
        "toilet tissue",
    ]


def test_a_path_goes_before_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "resnet50").mkdir()
    assert published.find_model("resnet50") == Path("resnet50")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("efficientnet_lite0", 'did you mean "efficientnet-lite0"?'),
        ("runs/none.onnx", "such names are efficientnet"),
    ],
)
def test_an_unknown_name_is_refused(name: str, hint: str) -> None:
    with pytest.raises(UserError) as caught:
        published.find_model(name)
    assert str(caught.value).startswith(f"--model={name}: ")
    assert hint in str(caught.value)


def expected(photo: np.ndarray) -> np.ndarray:
    """Returns the probabilities of EfficientNet-Lite0 for the central square, which Pillow resizes."""
    height, width = photo.shape[:2]
    scale = 256 / min(height, width)
    resized = Image.fromarray(photo).resize((round(width * scale), round(height * scale)), Image.Resampling.BICUBIC)
    left, top = (resized.width - 224) // 2, (resized.height - 224) // 2
    pixels = np.asarray(resized.crop((left, top, left + 224, top + 224)), np.float32)
    logits = np.asarray(models.build("efficientnet-lite0", weights="imagenet")(pixels[None]))[0]
    return np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()


@pytest.mark.slow
def test_a_published_classifier_knows_a_flower_and_a_palace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], verbs: Verbs
) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    photos, names = load_sample_images().images, imagenet.class_names()
    found = tfeff.load("efficientnet-lite0").predict(list(photos))
    assert [each.label for each in found] == ["palace", "daisy"]
    for photo, each in zip(photos, found, strict=True):
        probabilities = expected(photo)
        assert abs(probabilities[names.index(each.label)] - each.probability) < 0.06
        assert each.label == names[probabilities.argmax()]
    assert "exporting efficientnet-lite0" in capsys.readouterr().err
    Image.fromarray(photos[1]).save(tmp_path / "flower.png")
    given = ["--model=efficientnet-lite0", f"--images={tmp_path / 'flower.png'}", f"--out={tmp_path / 'out'}"]
    done = verbs("predict", *given, env={"KERAS_HOME": str(tmp_path)}).succeeds()
    assert "exporting" not in done.err  # it is kept
    assert "daisy" in (tmp_path / "out" / "predictions.csv").read_text()


def test_an_export_replaces_those_of_other_versions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    folder = tmp_path / "models" / "tfeff"
    for name in ("resnet50-01234567", "resnet50-v1.5-01234567"):
        (folder / name).mkdir(parents=True)

    class Exported:
        def saved_model(self, path: Path) -> None:
            path.mkdir()

    monkeypatch.setattr(published, "exportable", lambda name: Exported())
    exported = published.find_model("resnet50")
    assert {each.name for each in folder.glob("resnet50-*")} == {exported.name, "resnet50-v1.5-01234567"}


@pytest.mark.slow
def test_a_published_classifier_is_exported(tmp_path: Path, verbs: Verbs) -> None:
    out = tmp_path / "lite0.tflite"
    verbs("export", "--model=efficientnet-lite0", f"--out={out}").succeeds()
    about = json.loads((tmp_path / "lite0.tflite.json").read_text())
    assert about["input"] == [224, 224, 3]
    assert (about["fit"], about["interpolation"], about["center_crop"]) == ("whole", "bicubic", 0.875)
    photos = list(load_sample_images().images)
    assert [each.label for each in tfeff.load(out).predict(photos)] == ["palace", "daisy"]
    verbs("export", "--model=lite0", f"--out={out}").fails_with("--model=lite0: no published network has this name")
    of_images = "export", "--model=efficientnet-lite0", f"--out={out}", "--precision=int8"
    verbs(*of_images).fails_with("--precision=int8 requires --workdir")
    verbs("export", f"--out={out}").fails_with("give either --workdir=DIR")


@pytest.mark.slow
def test_a_published_detector_has_the_ids_of_coco(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small network takes the place of EfficientDet-D0; tests/models/weights/test_coco.py reads published weights."""
    scales = {"width_coefficient": 0.1, "depth_coefficient": 0.1}
    sizes = {"resolution": 128, "neck_channels": 8, "neck_repeats": 1, "head_repeats": 1}
    build = models.build_detector

    def smaller(name: str, *, num_classes: int, weights: str) -> models.Network:
        assert weights == models.COCO
        network = build(name, num_classes=num_classes, **scales, **sizes)
        bias = network.get_layer("class_head_predict_pointwise").bias
        bias.assign(np.zeros(bias.shape))  # that of a new network makes all classes improbable
        return network

    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr(models, "build_detector", smaller)
    detector = tfeff.load("efficientdet-d0")
    (found,) = detector.predict(load_sample_images().images[0], score=0.0)
    assert found.classes
    assert set(found.classes) <= set(coco.CLASS_NAMES)
    assert tuple(tfeff.serving.ExportedDetector(detector.path).class_ids) == tuple(range(1, 91))
