"""Exports of a trained network: where they are written, as a model in a folder or as single files next to each other,
and versions of a SavedModel."""

from collections.abc import Callable
from pathlib import Path

from tfeff.config.budget import check_precision
from tfeff.durable import staging, sync
from tfeff.errors import UserError, nearest
from tfeff.serving.exportable import FORMATS as PORTABLE
from tfeff.serving.exportable import WITHOUT_DECODING, Exportable
from tfeff.serving.exported import metadata_beside
from tfeff.serving.interface import METADATA, is_metadata

FORMATS = {
    "saved_model": "",
    **{name: Path(each.FILE).suffix for name, each in (PORTABLE | WITHOUT_DECODING).items()},
}
"""Formats of exported models -> ending of the model's file; a SavedModel is a folder."""


def export(
    trained: Callable[[], Exportable],
    path: Path,
    format: str | None,
    *,
    fit: bool | None,
    precision: str,
    freeze: bool | None,
    next_version: bool,
    overwrite: bool,
) -> Path:
    """Writes a network; arguments, result and errors as of `Run.export`.

    Args:
        trained: returns the network, which takes seconds; called when the other arguments are right.
    """
    endings = {ending: name for name, ending in FORMATS.items() if ending}
    if format is None and path.suffix[1:2].isalpha() and path.suffix not in endings:
        raise UserError(
            f"--out={path}: no format has the ending {path.suffix}: {nearest(path.suffix, endings)}; "
            "--format=saved_model writes a folder of this name"
        )
    format = format or endings.get(path.suffix, "saved_model")
    if format not in FORMATS:
        raise UserError(f"--format={format}: {nearest(format, FORMATS)}")
    check_precision(precision, format)
    if fit is False and format == "saved_model":
        raise UserError("--nofit requires another format; a SavedModel fits images itself")
    if fit and format == "keras":
        raise UserError("--fit requires another format; a .keras file holds the network alone, see metadata.json")
    if fit and precision != "float32":
        raise UserError(f"--precision={precision} and --fit exclude each other: such a model takes images that fit")
    if freeze is not None and format != "saved_model":
        raise UserError(
            "--freeze requires --format=saved_model; a .keras file always keeps its variables, others never"
        )
    if next_version and (format != "saved_model" or overwrite):
        raise UserError("--next_version requires --format=saved_model, and excludes --overwrite")
    if path.suffix in endings and endings[path.suffix] != format:
        raise UserError(f"--out={path}: the ending of {endings[path.suffix]}, not of --format={format}")
    if next_version:
        path = _next_version(path)
    if format == "saved_model":
        trained().saved_model(path, freeze=freeze is not False, overwrite=overwrite)
    elif path.suffix not in endings:
        trained().portable(path, format, fit=fit, precision=precision, overwrite=overwrite)
    else:
        _write(trained, path, format, fit=fit, precision=precision, overwrite=overwrite)
    return path


def _write(
    trained: Callable[[], Exportable], path: Path, format: str, *, fit: bool | None, precision: str, overwrite: bool
) -> None:
    """Exports a network as a file, such as `mine.onnx`, with its metadata next to it, `mine.onnx.json`.

    Args:
        trained: returns the network.
        path: the model's file, with the ending of its format.
        format, fit, precision: see `Exportable.portable`.
        overwrite: replace an earlier export.

    Raises:
        UserError: of `Exportable.portable`, or a file exists that may not be replaced.
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
            trained().portable(made / "model", format, fit=fit, precision=precision)
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


def _next_version(path: Path) -> Path:
    """Returns the folder of the next version of a model: 1, or the number after the highest one in a folder.

    Raises:
        UserError: the folder is a SavedModel itself.
    """
    if (path / "saved_model.pb").is_file():
        raise UserError(f"--out={path}: a SavedModel, not a folder of versions; choose another directory")
    numbers = [int(each.name) for each in path.glob("*") if each.name.isdecimal()]
    return path / str(max(numbers, default=0) + 1)
