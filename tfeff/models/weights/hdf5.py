"""Reader of Keras' weights files (HDF5), which may come from anywhere.

HDF5 can refer to other files: by links, by external storage, by virtual data sets. Keras writes none of these, so they
are refused, as is a data set or a member of a `.keras` file that is larger than what is stored of it.
"""

import io
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np


def read_layers(path: Path) -> dict[str, dict[str, np.ndarray]]:
    """Returns the variables of each layer: name of the layer -> number of the variable, counted from 0 -> its value.

    Raises:
        OSError, ValueError, TypeError, KeyError, RuntimeError: the file is damaged, or refers to others.
    """
    layers = dict[str, dict[str, np.ndarray]]()
    with h5py.File(path) as file:
        require_plain(file)
        for group in file["layers"].values():
            if not isinstance(group, h5py.Group) or not isinstance(group.get("vars"), h5py.Group):
                continue
            variables = group["vars"]
            layer = str(variables.attrs.get("name", ""))
            values = {number: each[()] for number, each in variables.items() if isinstance(each, h5py.Dataset)}
            layers.setdefault(layer, {}).update(values)
    return layers


def require_plain_archive(path: Path) -> None:
    """Checks the weights within a `.keras` file.

    Raises:
        OSError, ValueError, KeyError, RuntimeError, zipfile.BadZipFile: see `read_layers`.
    """
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if archive.getinfo(name).compress_type != zipfile.ZIP_STORED:
                raise ValueError(f"{name} is compressed")  # Keras does not, and it may be of any size
            if name.endswith((".h5", ".hdf5")):
                with h5py.File(io.BytesIO(archive.read(name))) as file:
                    require_plain(file)


def require_plain(file: h5py.File) -> None:
    """Checks that a file refers to no other, and that its data sets are stored as they are.

    Raises:
        ValueError: it does not; the message names the member.
    """
    waiting: list[Any] = [file]
    known = {h5py.h5o.get_info(file.id).addr}
    while waiting:
        group = waiting.pop()
        for name in group:
            where = f"{group.name.rstrip('/')}/{name}"
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise ValueError(f"{where} is a link, and may lead to another file")
            member = group[name]
            address = h5py.h5o.get_info(member.id).addr
            if address in known:
                raise ValueError(f"{where} has a second name")  # so groups could contain themselves
            known.add(address)
            if isinstance(member, h5py.Group):
                waiting.append(member)
            elif isinstance(member, h5py.Dataset):
                _require_stored(member, where)


def _require_stored(data: h5py.Dataset, where: str) -> None:
    if data.external or data.is_virtual:
        raise ValueError(f"the contents of {where} are in another file")
    if data.dtype.hasobject:
        return  # text, such as the names that Keras keeps; not read here
    if data.id.get_create_plist().get_nfilters() or data.id.get_storage_size() < data.size * data.dtype.itemsize:
        raise ValueError(f"{where} is compressed or incomplete")
