"""Hugging Face datasets on disk, in the files that `datasets` 5.2 writes; here, pyarrow writes them."""

import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tfeff.data.images import decoding
from tfeff.data.images.storage import Segments
from tfeff.data.sources import catalog, hub, hub_tables
from tfeff.data.sources.source import Options
from tfeff.errors import UserError

PIXELS = np.random.default_rng(0).integers(0, 256, (12, 6, 7, 3), np.uint8)
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
LABELS = {"image": {"_type": "Image"}, "label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}
BOX = {"feature": {"dtype": "float32", "_type": "Value"}, "length": 4, "_type": "List"}
CATEGORY = {"names": ["mask", "glove"], "_type": "ClassLabel"}


def png(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def encoded(numbers):
    return [{"bytes": png(PIXELS[number]), "path": f"{number}.png"} for number in numbers]


def table(columns, features, kinds=None):
    kinds = {"image": IMAGE, "label": pa.int64()} | (kinds or {})
    schema = pa.schema([(name, kinds[name]) for name in columns])
    if features is not None:
        schema = schema.with_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    return pa.table(columns, schema=schema)


def labeled(numbers, labels=None, features=LABELS):
    labels = [number % 2 for number in numbers] if labels is None else labels
    return table({"image": encoded(numbers), "label": labels}, features)


def save(folder, tables, split=None):
    """As `Dataset.save_to_disk`: one Arrow stream for each table."""
    folder.mkdir(parents=True)
    names = [f"data-{number:05}-of-{len(tables):05}.arrow" for number in range(len(tables))]
    for name, each in zip(names, tables, strict=True):
        with pa.OSFile(str(folder / name), "wb") as file, pa.ipc.new_stream(file, each.schema) as stream:
            stream.write_table(each, max_chunksize=3)
    state = {"_data_files": [{"filename": name} for name in names], "_split": split}
    (folder / "state.json").write_text(json.dumps(state))
    return folder


def save_splits(root, tables):
    """As `DatasetDict.save_to_disk`."""
    for split, each in tables.items():
        save(root / split, [each], split)
    (root / "dataset_dict.json").write_text(json.dumps({"splits": list(tables)}))
    return root


def write(path, content, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(content, path, **options)
    return path


def labels_of(root, split="train", **options):
    return catalog.open_labels(f"hf:{root}", Options(**options)).load(split)


def pixels_of(dataset):
    return [decoding.decode(dataset.encoded(index), "") for index in range(len(dataset))]


def test_saved_splits_are_read_and_the_images_stay_in_their_files(tmp_path):
    root = save_splits(tmp_path / "pets", {"train": labeled(range(8)), "valid": labeled(range(8, 12))})
    source = catalog.open_labels(f"hf:{root}")
    assert source.splits == ("train", "valid")
    assert not source.drawn
    train = source.load("train")
    assert train.class_names == ("cat", "dog")
    assert train.labels.tolist() == [0, 1] * 4
    assert list(train.ids) == [f"train[{row}]" for row in range(8)]
    np.testing.assert_array_equal(pixels_of(train), PIXELS[:8])
    np.testing.assert_array_equal(pixels_of(source.load("validation")), PIXELS[8:])
    np.testing.assert_array_equal(pixels_of(source.load("all")), PIXELS)
    assert isinstance(train.images._whole, Segments)
    (root / "train" / "data-00000-of-00001.arrow").unlink()
    with pytest.raises(OSError, match=r"data-00000-of-00001\.arrow"):
        train.encoded(3)


def test_several_tables_without_splits_are_drawn(tmp_path):
    root = save(tmp_path / "pets", [labeled(range(5)), labeled(range(5, 12))])
    source = catalog.open_labels(f"hf:{root}", Options(seed=3))
    assert source.drawn
    found = {split: list(source.load(split).ids) for split in source.splits}
    assert {*found} == {"train", "validation", "test"}
    assert sorted(name for names in found.values() for name in names) == sorted(f"all[{row}]" for row in range(12))
    whole = source.load("all")
    np.testing.assert_array_equal(pixels_of(whole), PIXELS)
    rows = [int(name[4:-1]) for name in found["train"]]
    np.testing.assert_array_equal(pixels_of(source.load("train")), PIXELS[rows])


@pytest.mark.parametrize(
    ("first", "second", "test"),
    [
        ("data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet", "data/test-00000-of-00001.parquet"),
        ("data/train-00000-of-00002-0a1b2c.parquet", "data/train-00001-of-00002-3d4e5f.parquet", "data/test.parquet"),
        ("default/train/0000.parquet", "default/train/0001.parquet", "default/test/0000.parquet"),
        ("Train/a.parquet", "Train/b.parquet", "Test/a.parquet"),
        ("train-00000-of-00002.parquet", "train-00001-of-00002.parquet", "test-00000-of-00001.parquet"),
    ],
)
def test_parquet_files_are_found_by_the_names_of_their_splits(tmp_path, first, second, test):
    write(tmp_path / first, labeled(range(5)), row_group_size=2)
    write(tmp_path / second, labeled(range(5, 8)), row_group_size=2)
    write(tmp_path / test, labeled(range(8, 12)))
    source = catalog.open_labels(f"hf:{tmp_path}")
    assert [source.find(split) is not None for split in ("train", "test", "validation")] == [True, True, False]
    train = source.load("train")
    np.testing.assert_array_equal(pixels_of(train), PIXELS[:8])
    np.testing.assert_array_equal(pixels_of(train.take(np.array([7, 0, 5])))[0], PIXELS[7])
    np.testing.assert_array_equal(pixels_of(source.load("test")), PIXELS[8:])


def test_one_of_several_tables_is_read_alone(tmp_path):
    for number in range(2):
        write(tmp_path / f"train-{number:05}-of-00002.parquet", labeled(range(4 * number, 4 * number + 4)))
    root = tmp_path / "train-00001-of-00002.parquet"
    train = labels_of(root)
    np.testing.assert_array_equal(pixels_of(train), PIXELS[4:8])
    assert f"hf:{root}: one of the 2 tables of train" in train.notes


def test_arrow_files_of_the_cache_are_read_without_computed_ones(tmp_path):
    for name, numbers in (("pets-train", range(8)), ("pets-test", range(8, 12)), ("cache-0a1b2c", range(3))):
        each = save(tmp_path / name, [labeled(numbers)]) / "data-00000-of-00001.arrow"
        each.rename(tmp_path / f"{name}.arrow")
    for path in tmp_path.glob("*/*"):
        path.unlink()
    assert len(labels_of(tmp_path)) == 8
    assert len(labels_of(tmp_path, "test")) == 4


def test_without_features_columns_are_found_by_their_names(tmp_path):
    content = pa.table({"image": pa.array(encoded(range(4)), IMAGE), "Label": ["dog", "cat", "ant", "dog"]})
    path = write(tmp_path / "train.parquet", content)
    dataset = labels_of(path)
    assert dataset.class_names == ("ant", "cat", "dog")
    assert dataset.labels.tolist() == [2, 1, 0, 2]
    numbers = pa.table({"image": [png(PIXELS[i]) for i in range(3)], "label": [7, 10, 7]})
    dataset = labels_of(write(tmp_path / "plain" / "train.parquet", numbers))
    assert dataset.class_names == ("7", "10")
    np.testing.assert_array_equal(pixels_of(dataset), PIXELS[:3])


def test_rows_without_label_or_image_are_counted(tmp_path):
    content = table(
        {"image": [*encoded(range(4)), {"bytes": None, "path": "/etc/passwd"}], "label": [0, 1, -1, None, 1]}, LABELS
    )
    for root in (
        save_splits(tmp_path / "arrow", {"train": content}),
        write(tmp_path / "parquet" / "train.parquet", content),
    ):
        dataset = labels_of(root)
        assert list(dataset.ids) == ["train[0]", "train[1]"]
        np.testing.assert_array_equal(pixels_of(dataset), PIXELS[:2])
        assert dataset.defects.counts == {
            "image without a label": 2,
            "image that is not in the tables, which only name its file": 1,
        }
        assert dataset.defects.lost("images") == 3


@pytest.mark.parametrize("missing", [None, {"bytes": None, "path": "5.png"}])
def test_images_that_are_missing_in_later_groups_of_rows_are_counted(tmp_path, missing):
    images = [*encoded(range(5)), missing]
    kind = "image that is not in the tables, which only name its file"
    content = table({"image": images, "label": [0, 1] * 3}, LABELS)
    dataset = labels_of(write(tmp_path / "labels" / "train.parquet", content, row_group_size=2))
    boxes = mapping_of_lists([[[1, 1, 2, 2]]] * 6, [[0]] * 6).set_column(0, "image", [pa.array(images, IMAGE)])
    objects = objects_of(write(tmp_path / "boxes" / "train.parquet", boxes, row_group_size=2))
    for found in (dataset, objects):
        assert list(found.ids) == [f"train[{row}]" for row in range(5)]
        assert found.defects.counts == {kind: 1}
        np.testing.assert_array_equal(pixels_of(found), PIXELS[:5])


def test_only_tables_without_compressed_images_are_listed_cheaply(tmp_path):
    streams = save(tmp_path / "streams", [labeled(range(4))])
    parquet = write(tmp_path / "parquet" / "train.parquet", labeled(range(4)))
    found = [catalog.open_labels(f"hf:{path}").lists_cheaply for path in (streams, parquet)]
    assert found == [True, False]


@pytest.mark.parametrize("damage", ["cut", "zeros"])
def test_a_stream_that_ends_too_early_is_refused(tmp_path, damage):
    """Between two batches, where pyarrow sees an ordinary end."""
    path = save(tmp_path / "pets", [labeled(range(8))]) / "data-00000-of-00001.arrow"
    content = path.read_bytes()
    last = content.rindex(b"\xff\xff\xff\xff", 0, len(content) - 8)
    path.write_bytes(content[:last] + (bytes(len(content) - last) if damage == "zeros" else b""))
    with pa.memory_map(str(path)) as file:
        assert pa.ipc.open_stream(file).read_all().num_rows == 6
    with pytest.raises(UserError, match=r"arrow: damaged, or not a table \(rows are missing at its end\)"):
        labels_of(tmp_path / "pets", "all")


def test_a_damaged_group_of_rows_costs_its_images_alone(tmp_path):
    content = mapping_of_lists([[[1, 1, 2, 2]]] * 6, [[0]] * 6)
    path = write(tmp_path / "train.parquet", content, row_group_size=2, compression="gzip", write_statistics=False)
    place = pq.ParquetFile(path).metadata.row_group(1).column(0).dictionary_page_offset
    with path.open("r+b") as file:
        file.seek(place + 40)
        file.write(bytes(60))
    dataset = objects_of(path)
    assert list(dataset.ids) == ["train[0]", "train[1]", "train[4]", "train[5]"]
    assert dataset.defects.counts == {"unreadable image": 2}


def test_damage_in_a_large_group_of_rows_costs_the_images_behind_it_alone(tmp_path):
    """Groups are read in batches, because one of more than 2 GB does not fit into an array."""
    numbers = [number % 12 for number in range(40)]
    options = {"compression": "gzip", "use_dictionary": False, "data_page_size": 1, "write_batch_size": 10}
    path = write(tmp_path / "train.parquet", labeled(numbers), **options)
    assert pq.ParquetFile(path).num_row_groups == 1
    column = pq.ParquetFile(path).metadata.row_group(0).column(0)
    with path.open("r+b") as file:
        file.seek(column.data_page_offset + int(0.7 * column.total_compressed_size))
        file.write(bytes(60))
    dataset = labels_of(path)
    assert len(dataset) == 40
    for index in range(20):
        np.testing.assert_array_equal(decoding.decode(dataset.encoded(index), ""), PIXELS[numbers[index]])
    for index in (39, 38, 39):
        with pytest.raises(OSError, match=r"train\.parquet: damaged in group 0 of its rows"):
            dataset.encoded(index)
    np.testing.assert_array_equal(decoding.decode(dataset.encoded(3), ""), PIXELS[3])


@pytest.mark.parametrize("kept", [1 << 30, 3_000, 1])
def test_images_of_parquet_files_are_read_in_any_order_with_little_memory(tmp_path, monkeypatch, kept):
    monkeypatch.setattr(hub_tables, "_KEPT_BYTES", kept)
    numbers = [number % 12 for number in range(65)]
    dataset = labels_of(write(tmp_path / "train.parquet", labeled(numbers), row_group_size=27))
    for index in [*range(65), *np.random.default_rng(0).permutation(65).tolist()]:
        assert dataset.encoded(index) == png(PIXELS[numbers[index]])
    batches = dataset.images._whole._kept.values()
    assert sum(each.nbytes for each in batches) <= max(kept, 10 * max(map(len, map(png, PIXELS))) + 100)


def test_a_split_without_labels_is_left_out_and_said(tmp_path):
    root = save_splits(tmp_path / "pets", {"train": labeled(range(4)), "test": labeled(range(4, 8), [-1] * 4)})
    source = catalog.open_labels(f"hf:{root}")
    assert source.splits == ("train",)
    assert source.load("train").notes == (f"hf:{root}: ignored the split test, which has no labels",)


def test_other_columns_of_classes_are_said(tmp_path):
    features = {"image": {"_type": "Image"}, "coarse_label": CATEGORY, "label": LABELS["label"]}
    content = table(
        {"image": encoded(range(2)), "coarse_label": [1, 1], "label": [0, 1]}, features, {"coarse_label": pa.int64()}
    )
    dataset = labels_of(write(tmp_path / "train.parquet", content))
    assert dataset.class_names == ("cat", "dog")
    assert "labels are those of label, not of coarse_label" in dataset.notes[0]


@pytest.mark.parametrize(("column", "learned"), [("label", "label"), ("Label", "Label"), ("category", "gender")])
def test_a_column_label_is_preferred_to_classes_of_another_name(tmp_path, column, learned):
    values = {"_type": "Value", "dtype": "string"}
    gender = {"names": ["female", "male"], "_type": "ClassLabel"}
    content = table(
        {"image": encoded(range(2)), column: ["rose", "oak"], "gender": [0, 1]},
        {"image": {"_type": "Image"}, column: values, "gender": gender},
        {column: pa.string(), "gender": pa.int64()},
    )
    dataset = labels_of(write(tmp_path / "train.parquet", content))
    assert dataset.class_names == (("female", "male") if learned == "gender" else ("oak", "rose"))
    other = "gender" if learned == column else column
    assert f"labels are those of {learned}, not of {other}" in dataset.notes[0]


def objects_of(root, **options):
    return catalog.open_objects(f"hf:{root}", Options(**options)).load("all")


def mapping_of_lists(boxes, labels):
    fields = {"bbox": BOX, "category": CATEGORY}
    features = {
        "image": {"_type": "Image"},
        "objects": {key: {"feature": f, "_type": "List"} for key, f in fields.items()},
    }
    kind = pa.struct([("bbox", pa.list_(pa.list_(pa.float32(), 4))), ("category", pa.list_(pa.int64()))])
    rows = [{"bbox": box, "category": label} for box, label in zip(boxes, labels, strict=True)]
    return table({"image": encoded(range(len(rows))), "objects": rows}, features, {"objects": kind})


def list_of_mappings(boxes, labels):
    features = {
        "image": {"_type": "Image"},
        "objects": {"feature": {"bbox": BOX, "category": CATEGORY}, "_type": "List"},
    }
    kind = pa.list_(pa.struct([("bbox", pa.list_(pa.float32())), ("category", pa.int64())]))
    rows = [
        [{"bbox": box, "category": label} for box, label in zip(*each, strict=True)]
        for each in zip(boxes, labels, strict=True)
    ]
    return table({"image": encoded(range(len(rows))), "objects": rows}, features, {"objects": kind})


def sequence(boxes, labels):
    content = mapping_of_lists(boxes, labels)
    old = {"feature": {"bbox": BOX | {"_type": "Sequence"}, "category": CATEGORY}, "_type": "Sequence"}
    features = {"image": {"_type": "Image"}, "objects": old}
    return content.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})


@pytest.mark.parametrize("form", [mapping_of_lists, list_of_mappings, sequence])
@pytest.mark.parametrize("corners", [False, True])
def test_boxes_are_read_in_the_form_that_fits_the_images(tmp_path, form, corners):
    boxes = [[[1, 2, 4, 3], [5, 0, 2, 6]], [], [[0, 3, 7, 3]]]  # x, y, width, height in images of 6 x 7
    if corners:
        boxes = [[[x, y, x + w, y + h] for x, y, w, h in row] for row in boxes]
    root = save(tmp_path / "boxes", [form(boxes, [[1, 0], [], [1]])])
    dataset = objects_of(root)
    assert dataset.class_names == ("mask", "glove")
    assert list(dataset.class_ids) == [0, 1]
    assert [each.boxes_yxyx.tolist() for each in dataset.objects] == [
        [[2, 1, 5, 5], [0, 5, 6, 7]],
        [],
        [[3, 0, 6, 7]],
    ]
    assert [each.labels.tolist() for each in dataset.objects] == [[1, 0], [], [1]]
    assert not dataset.defects.counts
    said = "corners [xmin, ymin, xmax, ymax]" if corners else "[x, y, width, height]"
    assert dataset.notes[-1] == f"hf:{root}: boxes are read as {said}"
    order = "xmin, ymin, xmax, ymax" if corners else "xmin, ymin, width, height"
    assert catalog.open_objects(f"hf:{root}").box_format == (order, "in pixels")


def test_defects_of_objects_are_counted(tmp_path):
    boxes = [[[1, 2, 4, 9], [1, 1, 2, 0]], [[0, 0, 2, 2], [5, 1, 1, 1]], [[1, 1, 1, 1]]]
    content = mapping_of_lists(boxes, [[1, 0], [-1, 1], [0, 1]])
    images = [*encoded(range(2)), {"bytes": b"no image", "path": None}]
    path = write(tmp_path / "train.parquet", content.set_column(0, content.schema.field(0), [pa.array(images, IMAGE)]))
    dataset = objects_of(path)
    assert [each.boxes_yxyx.tolist() for each in dataset.objects] == [[[2, 1, 6, 5]], [[1, 5, 2, 6]]]
    assert dataset.defects.counts == {
        "box partly outside": 1,
        "box without area": 1,
        "class without a name": 1,
        "unreadable image": 1,
    }
    with pytest.raises(UserError, match=r"train\[0\], object 1"):
        objects_of(path, on_defect="stop")


@pytest.mark.parametrize("voting", [2, 1000])
def test_the_first_images_with_boxes_decide_about_the_form(tmp_path, monkeypatch, voting):
    monkeypatch.setattr(hub, "_VOTING", voting)
    sizes, edges = [5, 0, 2, 6], [4, 3, 7, 6]  # in images of 6 x 7; each fits in one form alone
    root = save(tmp_path / "boxes", [mapping_of_lists([[], [edges], [edges], *[[sizes]] * 3], [[], *[[0]] * 5])])
    assert objects_of(root).notes[-1].endswith("corners [xmin, ymin, xmax, ymax]") == (voting == 2)


@pytest.mark.parametrize("relative", [False, True])
def test_areas_of_objects_in_pixels_are_read(tmp_path, relative):
    scale = np.array([1 / 7, 1 / 6, 1 / 7, 1 / 6]) if relative else np.ones(4)
    rows = [[([1, 2, 4, 3], 7.5), ([5, 0, 2, 6], None)], [([0, 3, 7, 3], 0.0)], [([1, 1, 2, 2], 3.0)]]
    kind = pa.list_(pa.struct([("bbox", pa.list_(pa.float64())), ("category", pa.int64()), ("area", pa.float64())]))
    objects = [[{"bbox": (box * scale).tolist(), "category": 0, "area": area} for box, area in row] for row in rows]
    area = {"dtype": "float64", "_type": "Value"}
    fields = {"feature": {"bbox": BOX, "category": CATEGORY, "area": area}, "_type": "List"}
    features = {"image": {"_type": "Image"}, "objects": fields}
    content = table({"image": encoded(range(3)), "objects": objects}, features, {"objects": kind})
    dataset = objects_of(write(tmp_path / "train.parquet", content))
    areas = [each.areas for each in dataset.objects]
    if relative:
        assert areas == [None] * 3
    else:
        np.testing.assert_array_equal(areas[0], [7.5, np.nan])
        assert areas[1] is None
        np.testing.assert_array_equal(areas[2], [3.0])


@pytest.mark.parametrize("corners", [False, True])
def test_boxes_that_fit_only_as_the_other_form_are_counted(tmp_path, corners):
    sizes, edges = [5, 0, 2, 6], [4, 3, 7, 6]  # in images of 6 x 7; each fits in one form alone
    boxes = [[edges, sizes, edges]] if corners else [[sizes, edges, sizes]]
    root = save(tmp_path / "boxes", [mapping_of_lists(boxes, [[0, 1, 0]])])
    dataset = objects_of(root)
    said = ("corners [xmin, ymin, xmax, ymax]", "[x, y, width, height]")
    assert dataset.notes[-1] == f"hf:{root}: boxes are read as {said[not corners]}"
    kind = f"box that fits only as {said[corners]}"
    assert dataset.defects.counts[kind] == 1
    assert (
        dataset.defects.first(kind)
        == f"hf:{root}, all[0], object 2: {[5.0, 0.0, 2.0, 6.0] if corners else [4.0, 3.0, 7.0, 6.0]}"
    )


@pytest.mark.parametrize(
    ("box", "form"),
    [
        ([1 / 7, 2 / 6, 3 / 7, 4 / 6], "[x, y, width, height]"),
        ([1 / 7, 2 / 6, 4 / 7, 1.0], "corners [xmin, ymin, xmax, ymax]"),
    ],
)
def test_relative_boxes_become_pixels(tmp_path, box, form):
    path = write(tmp_path / "train.parquet", mapping_of_lists([[box]], [[0]]))
    dataset = objects_of(path)
    np.testing.assert_allclose(dataset.objects[0].boxes_yxyx, [[2, 1, 6, 4]], rtol=1e-6)
    assert dataset.notes[-1] == f"hf:{path}: boxes are read as {form}, relative to width and height"
    assert not dataset.defects.counts


def test_another_size_than_that_of_the_image_is_a_defect(tmp_path):
    fields = {"bbox": BOX, "category": CATEGORY}
    features = {
        "image": {"_type": "Image"},
        "Width": {"dtype": "int64", "_type": "Value"},
        "Height": {"dtype": "int64", "_type": "Value"},
        "objects": {"feature": fields, "_type": "List"},
    }
    kind = pa.list_(pa.struct([("bbox", pa.list_(pa.float32())), ("category", pa.int64())]))
    columns = {
        "image": encoded(range(3)),
        "Width": [7, 14, None],
        "Height": [6, 12, 12],
        "objects": [[{"bbox": [1, 2, 4, 3], "category": 0}]] * 3,
    }
    content = table(columns, features, {"objects": kind, "Width": pa.int64(), "Height": pa.int64()})
    dataset = objects_of(write(tmp_path / "train.parquet", content))
    assert dataset.defects.counts == {"wrong image size": 1}
    assert dataset.defects.first("wrong image size").endswith(
        "train[1]: (12, 14) written, (6, 7) in the image's header"
    )


def test_lists_of_labels_are_refused(tmp_path):
    content = pa.table({"image": pa.array(encoded(range(2)), IMAGE), "label": [["a", "b"], ["a"]]})
    with pytest.raises(UserError, match="the column label has a list of labels for each image"):
        labels_of(write(tmp_path / "train.parquet", content))


def _lfs(root: Path) -> None:
    (root / "train.parquet").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n")


def _shard(root: Path) -> None:
    write(root / "data/train-00001-of-00002.parquet", labeled(range(4)))


def _configurations(root: Path) -> None:
    for name in ("large", "small"):
        write(root / name / "train-00000-of-00001.parquet", labeled(range(4)))


def _outside(root: Path) -> None:
    save(root / "data", [labeled(range(4))])
    (root / "data/data-00000-of-00001.arrow").rename(root / "secret.arrow")
    (root / "data/state.json").write_text(json.dumps({"_data_files": [{"filename": "../secret.arrow"}]}))
    for each in (root / "data").iterdir():
        each.rename(root / each.name)
    (root / "data").rmdir()


def _split_outside(root: Path) -> None:
    (root / "dataset_dict.json").write_text(json.dumps({"splits": ["../other"]}))


def _indices(root: Path) -> None:
    (root / "state.json").write_text(json.dumps({"_data_files": [], "_indices_data_files": [{"filename": "i.arrow"}]}))


def _damaged(root: Path) -> None:
    path = write(root / "train.parquet", labeled(range(4)))
    path.write_bytes(path.read_bytes()[:-20])


def _classes(root: Path) -> None:
    write(root / "train.parquet", labeled(range(4)))
    other = LABELS | {"label": {"names": ["dog", "cat"], "_type": "ClassLabel"}}
    write(root / "test.parquet", labeled(range(4), features=other))


def _unlearned(root: Path) -> None:
    write(root / "train.parquet", labeled(range(3), [0, 0, 0]))
    write(root / "test.parquet", labeled(range(3), [0, 1, 0]))


def _twice(root: Path) -> None:
    for name in ("train", "val", "valid"):
        write(root / f"{name}.parquet", labeled(range(4)))


def _texts(root: Path) -> None:
    write(root / "train.parquet", pa.table({"text": ["a"], "label": [1]}))


def _no_labels(root: Path) -> None:
    write(root / "train.parquet", pa.table({"image": [png(PIXELS[0])], "size": [1]}))


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda root: None, r"no tables .*it is empty"),
        (_lfs, r"train\.parquet: not a table but a Git LFS pointer; run git lfs pull"),
        (_shard, "train: 1 of 2 tables are there, such as data/train-00001-of-00002.parquet"),
        (_configurations, "several configurations: large, small; name"),
        (_outside, r"state\.json: no table \.\./secret\.arrow in this folder"),
        (_split_outside, r"no folder for the split \.\./other"),
        (_indices, "rows are chosen by a table of indices"),
        (_damaged, r"train\.parquet: damaged, or not a table"),
        (_classes, "columns or classes of test are not those of the other splits"),
        (_unlearned, 'no image of the split train has the label "dog"'),
        (_twice, "both val and valid would be the same split"),
        (_texts, "no column has images; there are text, label"),
        (_no_labels, "is not a classification dataset: .*there are image, size"),
    ],
)
def test_what_is_refused(tmp_path, prepare, message):
    prepare(tmp_path)
    with pytest.raises(UserError, match=message):
        labels_of(tmp_path)


def test_classes_that_are_not_trained_on_can_be_allowed(tmp_path):
    _unlearned(tmp_path)
    source = catalog.open_labels(f"hf:{tmp_path}", Options(further_classes=True))
    assert source.load("test").labels.tolist() == [0, 1, 0]
    assert source.load("train").labels.tolist() == [0, 0, 0]


def test_every_damage_of_a_table_is_a_message_or_a_count(tmp_path):
    """Cut, with changed bytes, and with bytes of any value at any place."""
    rng = np.random.default_rng(0)
    arrow = save(tmp_path / "saved", [mapping_of_lists([[[1, 2, 4, 3]]] * 3, [[1]] * 3)]) / "data-00000-of-00001.arrow"
    parquet = write(tmp_path / "one.parquet", mapping_of_lists([[[1, 2, 4, 3]]] * 3, [[1]] * 3))
    for original in (arrow, parquet):
        content = original.read_bytes()
        for number in range(150):
            damaged = bytearray(content)
            if number % 3 == 0:
                del damaged[rng.integers(len(damaged)) :]
            for place in rng.integers(len(damaged), size=3) if damaged else ():
                damaged[place] = rng.integers(256)
            path = tmp_path / f"damaged{original.suffix}"
            path.write_bytes(damaged)
            try:
                dataset = objects_of(path)
                for index in range(len(dataset)):
                    dataset.encoded(index)
            except UserError as error:
                assert "damaged" in str(error)  # noqa: PT017
            except OSError as error:
                assert "damaged" in str(error)  # noqa: PT017
