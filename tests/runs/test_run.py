"""A finished run. Exports as files: after a kill, no model has the metadata or the weights of another."""

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import tfeff
from tests.training.tracking.small_run import SETTINGS
from tfeff import config, runs
from tfeff.errors import UserError
from tfeff.runs import run

FILES = {".xml": "model.xml", ".bin": "model.bin", ".json": "metadata.json"}


def contents(version: str) -> str:
    return json.dumps({"input": version, "fit": "crop", "interpolation": "bilinear", "class_names": []})


def export(out: Path, content: str, monkeypatch: pytest.MonkeyPatch, killed_at: int | None = None) -> None:
    """Replaces an export by one whose files all have the same content; killed at the n-th renaming."""
    replace, renamed = Path.replace, list[Path]()

    def write(directory: Path, format: str, **options: Any) -> None:
        directory.mkdir()
        for name in FILES.values():
            (directory / name).write_text(contents(content))

    def renaming(self: Path, target: Path) -> Path:
        if len(renamed) == killed_at:
            raise KeyboardInterrupt
        renamed.append(target)
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(run.serving, "exportable", lambda workdir: SimpleNamespace(portable=write))
        patch.setattr(Path, "replace", renaming)
        runs.Run("run").export(out, overwrite=True)


@pytest.mark.parametrize("killed_at", range(len(FILES)))
def test_a_model_never_has_the_metadata_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_at: int
) -> None:
    out = tmp_path / "mine.xml"
    export(out, "old", monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        export(out, "new", monkeypatch, killed_at)
    assert not out.exists()
    export(out, "new", monkeypatch)
    assert {path.suffix: path.read_text() for path in tmp_path.iterdir()} == dict.fromkeys(FILES, contents("new"))


@pytest.mark.parametrize("ending", [".xml.json", ".bin"])
@pytest.mark.parametrize("content", ["notes", '{"input": 1}', "[]"])
def test_files_of_others_are_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str, content: str
) -> None:
    other = tmp_path / f"mine{ending}"
    other.write_text(content)
    with pytest.raises(UserError, match=rf"mine\{ending} exists and does not belong to an export"):
        export(tmp_path / "mine.xml", "new", monkeypatch)
    assert other.read_text() == content
    assert list(tmp_path.iterdir()) == [other]


def test_a_folder_is_not_replaced_by_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.xml").mkdir()
    with pytest.raises(UserError, match=r"mine\.xml is a folder; choose another name"):
        export(tmp_path / "mine.xml", "new", monkeypatch)


@pytest.mark.parametrize(("name", "hint"), [("model.h5", "known: "), ("phone.tfilte", 'did you mean ".tflite"')])
def test_a_file_of_an_unknown_format_is_not_a_folder(name: str, hint: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"no format has the ending .*{re.escape(hint)}"):
        runs.Run(tmp_path).export(tmp_path / name)
    with pytest.raises(UserError, match=r"no config\.json"):
        runs.Run(tmp_path).export(tmp_path / "model_0.5")


@pytest.mark.slow
@pytest.mark.usefixtures("without_figures")
def test_a_run_that_was_continued_predicts_with_its_new_weights(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (20, 20, 3), np.uint8)

    def predicted(run: runs.Run) -> np.ndarray:
        (found,) = run.predict(image, runtime="tensorflow")
        assert isinstance(found, runs.Classification)
        return found.probabilities

    first = tfeff.train(SETTINGS, tmp_path, export=False, quiet=True)
    before = predicted(first)
    assert (tmp_path / "result.json").is_file()
    longer = config.override(SETTINGS, {"training.epochs": 3})
    tfeff.train(longer, tmp_path, evaluate=False, export=False, quiet=True)
    assert not (tmp_path / "result.json").exists()
    after = predicted(first)
    assert np.abs(after - before).max() > 1e-4
    np.testing.assert_array_equal(predicted(runs.Run(tmp_path)), after)
