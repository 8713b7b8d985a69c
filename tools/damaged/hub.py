"""Damaged tables of Hugging Face datasets: Arrow streams and Parquet files.

They have no checksums, so other labels and boxes cannot be noticed; those and lost rows that are counted are only
reported.
"""

import io
from pathlib import Path
from typing import Any

import fuzzing
import pyarrow as pa
import pyarrow.parquet as pq
from fuzzing import pick
from PIL import UnidentifiedImageError

from damaged.annotations import image, invalid_output, write
from tfeff.data.dataset import Dataset
from tfeff.data.sources import hub
from tfeff.data.sources.source import Options
from tfeff.errors import UserError

SIZES = ((30, 40), (50, 20), (120, 160), (64, 64), (20, 90))
_ROWS_PER_GROUP = 2
_IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
_OBJECTS = pa.struct([("bbox", pa.list_(pa.list_(pa.float32(), 4))), ("category", pa.list_(pa.string()))])
_BOXES: list[list[float]] = [[1, 2, 10, 12], [5, 5, 15, 9]]
READERS = {"boxes": hub.HubAnnotatedImages, "labels": hub.HubLabeledImages}


def hub_case(rng: Any, folder: Path) -> fuzzing.Case:
    """Returns a table of boxes or of labels, in one of the two formats."""
    kind, ending = pick(rng, tuple(READERS)), pick(rng, (".arrow", ".parquet"))
    content = _encoded(_table(kind), ending)
    damage, damaged = fuzzing.damaged(content, rng, _encoded(_table(pick(rng, tuple(READERS))), ending))
    path = folder / f"train{ending}"
    write(path, damaged)
    return fuzzing.Case(f"hf, {kind}, {ending[1:]}", damage, lambda: _check(kind, path))


def _check(kind: str, path: Path) -> tuple[str, str]:
    """See `fuzzing.Case`."""
    try:
        found: Dataset = READERS[kind](path, Options()).load("all")
        for index in range(len(found)):
            found.encoded(index)
        violation = invalid_output(found) if kind == "boxes" else ""
    except UserError:
        return "UserError", ""
    except UnidentifiedImageError:  # images that have a header are decoded later
        return "corrupt image", ""
    except OSError as error:  # of labeled images, which are read later
        return "corrupt image", "" if kind == "labels" else f"an image whose header was read is not there\n{error}"
    text = found.defects.text()
    if violation:
        return "read", violation
    if len(found) < len(SIZES) and not text:
        return "read", f"silent: {len(SIZES) - len(found)} images lost"
    return "read" + (", defects reported" if text else ""), ""


def _table(kind: str) -> Any:
    rows = [{"bytes": image(size), "path": f"{number}.png"} for number, size in enumerate(SIZES)]
    columns = {"image": pa.array(rows, _IMAGE)}
    if kind == "labels":
        return pa.table(columns | {"label": ["cat", "dog", "cat", "dog", "hen"]})
    objects = [{"bbox": _BOXES[: number % 3], "category": ["cat", "dog"][: number % 3]} for number in range(len(SIZES))]
    return pa.table(columns | {"objects": pa.array(objects, _OBJECTS)})


def _encoded(table: Any, ending: str) -> bytes:
    file = io.BytesIO()
    if ending == ".parquet":
        pq.write_table(table, file, row_group_size=_ROWS_PER_GROUP)
    else:
        with pa.ipc.new_stream(file, table.schema) as stream:
            stream.write_table(table, max_chunksize=_ROWS_PER_GROUP)
    return file.getvalue()
