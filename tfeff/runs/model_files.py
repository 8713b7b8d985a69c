"""Where exports are written: a model as single files next to each other, and versions of a SavedModel."""

from pathlib import Path

from tfeff import training
from tfeff.durable import staging, sync
from tfeff.errors import UserError
from tfeff.serving import run as serving
from tfeff.serving.exported import metadata_beside
from tfeff.serving.interface import METADATA, is_metadata


def write(workdir: training.Workdir, path: Path, format: str, *, fit: bool | None, int8: bool, overwrite: bool) -> None:
    """Exports a run as a file, such as `mine.onnx`, with its metadata next to it, `mine.onnx.json`.

    Args:
        workdir: workdir of the run.
        path: the model's file, with the ending of its format.
        format, fit, int8: see `serving.run.export_portable`.
        overwrite: replace an earlier export.

    Raises:
        UserError: of `export_portable`, or a file exists that may not be replaced.
    """
    if path.is_dir():
        raise UserError(f"--out={path} is a folder; choose another name")
    if path.exists() and not overwrite:
        raise UserError(f"{path} exists; choose another name, or allow overwriting (--overwrite)")
    about = metadata_beside(path)
    for beside in (about, path.with_suffix(".bin")) if format == "openvino" else (about,):
        if beside.exists() and not is_metadata(about):
            raise UserError(f"--out={path}: {beside} exists and does not belong to an export; choose another name")
    with staging(path.with_suffix("")) as made:
        try:
            serving.export_portable(workdir, made / "model", format, fit=fit, int8=int8)
        except UserError as error:
            raise UserError(str(error).replace(str(made / "model"), str(path))) from error
        # After a kill, no model remains rather than one with the metadata or the weights of another.
        path.unlink(missing_ok=True)
        sync(path.parent)
        order = sorted(
            (made / "model").iterdir(), key=lambda file: (file.suffix == path.suffix, file.suffix != ".json")
        )
        for file in order:
            file.replace(about if file.name == METADATA else path.with_suffix(file.suffix))
        sync(path.parent)


def next_version(path: Path) -> Path:
    """Returns the folder of the next version of a model: 1, or the number after the highest one in a folder.

    Raises:
        UserError: the folder is a SavedModel itself.
    """
    if (path / "saved_model.pb").is_file():
        raise UserError(f"--out={path}: a SavedModel, not a folder of versions; choose another directory")
    numbers = [int(each.name) for each in path.glob("*") if each.name.isdecimal()]
    return path / str(max(numbers, default=0) + 1)
