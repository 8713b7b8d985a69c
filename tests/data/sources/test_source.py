"""Images of one group stay together in every split that is drawn."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tfeff import config, selection
from tfeff.data.sources import catalog
from tfeff.data.sources.source import Options
from tfeff.errors import UserError

FILM = r"/(film\d+)_"


def save(root: Path, names: list[str]) -> None:
    for number, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8, 3), number % 200, np.uint8)).save(path)


@pytest.fixture
def films(tmp_path: Path) -> Path:
    save(tmp_path, [f"{'ab'[film % 2]}/film{film}_{frame}.png" for film in range(30) for frame in range(4)])
    return tmp_path


def film_of(name: str) -> str:
    return Path(name).name.partition("_")[0]


def test_drawn_splits_of_folders(films: Path) -> None:
    source = catalog.open_labels(f"folder:{films}", Options(groups=FILM))
    parts = [source.load(split) for split in source.splits]
    owners = [set(map(film_of, part.ids)) for part in parts]
    assert sum(map(len, owners)) == 30
    assert sum(map(len, parts)) == 120
    assert "data.groups: 96 images in 24 groups" in " ".join(parts[0].notes)
    apart = catalog.open_labels(f"folder:{films}", Options())
    mixed = [set(map(film_of, apart.load(split).ids)) for split in apart.splits]
    assert sum(map(len, mixed)) > 40


def test_drawn_splits_of_csv_files_with_labels(films: Path) -> None:
    lines = [f"{path},{path.parent.name}" for path in sorted(films.rglob("*.png"))]
    (films / "all.csv").write_text("\n".join(["image,label", *lines]))
    source = catalog.open_labels(f"csv:{films / 'all.csv'}", Options(groups=FILM))
    assert sum(len(set(map(film_of, source.load(split).ids))) for split in source.splits) == 30


@pytest.mark.parametrize("pattern", [r"(film\d+)_", r"^(?:images/)?(film\d+)_"])
@pytest.mark.parametrize("kind", ["yolo", "coco", "voc", "csv"])
def test_drawn_splits_of_images_with_boxes(kind: str, pattern: str, tmp_path: Path) -> None:
    names = [f"film{film}_{frame}" for film in range(20) for frame in range(3)]
    for name in names:
        save(tmp_path, [f"images/{name}.png"])
    if kind == "yolo":
        (tmp_path / "labels").mkdir()
        for name in names:
            (tmp_path / "labels" / f"{name}.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    elif kind == "coco":
        images = [{"id": n, "file_name": f"{name}.png", "width": 8, "height": 8} for n, name in enumerate(names)]
        boxes = [{"id": n, "image_id": n, "category_id": 1, "bbox": [1, 1, 4, 4]} for n in range(len(names))]
        text = str({"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "x"}]})
        (tmp_path / "boxes.json").write_text(text.replace("'", '"'))
    elif kind == "voc":
        (tmp_path / "Annotations").mkdir()
        for name in names:
            (tmp_path / "Annotations" / f"{name}.xml").write_text(
                "<annotation><object><name>x</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>5</xmax><ymax>5</ymax>"
                "</bndbox></object></annotation>"
            )
    else:
        lines = [f"images/{name}.png,x,1,1,5,5" for name in names]
        (tmp_path / "boxes.csv").write_text("\n".join(["image,label,xmin,ymin,xmax,ymax", *lines]))
    name = tmp_path / "boxes.csv" if kind == "csv" else tmp_path
    source = catalog.open_objects(f"{kind}:{name}", Options(groups=pattern))
    assert source.drawn
    parts = [set(map(film_of, source.load(split).ids)) for split in source.splits]
    assert all(parts)
    assert sum(map(len, parts)) == 20


@pytest.mark.parametrize("data", [{"validation_fraction": 0.25}, {"folds": 3, "fold": 1}])
def test_held_out_parts_and_folds(data: dict, films: Path) -> None:
    settings = config.Experiment(
        model=config.architecture("resnet", width=2, stage_blocks=(1, 1), resolution=8),
        data=config.Data(source=f"folder:{films}", groups=FILM, **data),
        training=config.Training(batch_size=4),
    )
    wanted = selection.request(settings)
    chosen = selection.choose(wanted, selection.read(wanted, lambda *_: None))
    assert chosen.validation is not None
    trained, validated = (set(map(film_of, part.dataset.ids)) for part in (chosen.train, chosen.validation))
    assert trained
    assert validated
    assert not trained & validated


def test_images_that_do_not_match_are_on_their_own_and_said(films: Path) -> None:
    save(films, ["a/other.png", "b/another.png"])
    dataset = catalog.open_labels(f"folder:{films}", Options(groups=FILM)).load("all")
    assert dataset.groups is not None
    assert len(set(dataset.groups.tolist())) == 32
    assert "122 images in 32 groups; 2 images do not match and are on their own" in " ".join(dataset.notes)


def opened(root: Path, pattern: str) -> tuple:
    wanted = selection.request(config.Experiment(data=config.Data(source=f"folder:{root}", groups=pattern)))
    return wanted, selection.open_source(wanted)


def test_only_the_split_that_is_drawn_from_must_match(tmp_path: Path) -> None:
    save(tmp_path, [f"train/{name}/film{n}_{frame}.png" for name in "ab" for n in range(9) for frame in range(2)])
    save(tmp_path, [f"test/{name}/{n}.png" for name in "ab" for n in range(9)])
    wanted, source = opened(tmp_path, FILM)
    found = selection.check(wanted, source)
    assert len(np.unique(source.load("train").groups)) == 9
    assert source.load("test").groups is None
    assert any("matches none of its 18 images, which have no groups" in note for note in source.load("test").notes)
    assert found.keys() == {"train", "test"}


def test_fewer_groups_than_splits_are_counted(films: Path) -> None:
    with pytest.raises(UserError, match=r"120 images belong to 2 groups \(data.groups\), too few for the 3 splits"):
        selection.check(*opened(films, "/([ab])/"))


def test_patterns_that_name_no_groups_are_refused(films: Path) -> None:
    with pytest.raises(UserError, match=r"data\.groups: 'reel' matches none of the 120 images"):
        catalog.open_labels(f"folder:{films}", Options(groups="reel")).load("train")
    save(films / "split", [f"{part}/{name}/{n}.png" for part in ("train", "test") for name in "ab" for n in range(9)])
    with pytest.raises(UserError, match=r"data\.groups: '\(reel\)' matches none of the 18 images"):
        selection.check(*opened(films / "split", "(reel)"))
    for pattern, reason in ((r"film\d+", "parentheses"), ("(film", "regular expression")):
        with pytest.raises(UserError, match=reason):
            config.override(config.Experiment(), [f"data.groups={pattern}"])
