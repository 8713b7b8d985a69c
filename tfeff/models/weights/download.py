"""Downloads of published weights into Keras' cache; an interrupted one continues where it stopped."""

import hashlib
import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from tfeff.durable import locked
from tfeff.errors import UserError
from tfeff.models.bar import bar

_CHUNK = 1 << 20
_SECONDS = 30.0
"""How long to wait for an answer, or for more of it."""


def cache() -> Path:
    """Returns the folder in which Keras keeps published weights."""
    home = Path(os.environ.get("KERAS_HOME") or os.path.expanduser("~/.keras"))  # ~ stays without a home
    return home / "models"


def fetch(url: str, name: str, sha256: str = "") -> Path:
    """Downloads a file once.

    Args:
        url: where it is.
        name: name of the file in the cache.
        sha256: the first digits of its SHA-256; empty if it is not known.

    Returns:
        Its path.

    Raises:
        UserError: it cannot be downloaded, or is damaged.
    """
    path = cache() / name
    if path.is_file():
        _require(path, sha256, url)
        return path
    with locked(path.parent, "KERAS_HOME", wait=True):  # another process may be downloading it
        if not path.is_file():
            part = path.with_name(f"{name}.part")
            try:
                with bar(f"downloading {name}") as progress:
                    while not _continue(url, part, progress):
                        pass
            except (OSError, http.client.HTTPException) as error:
                kept = f"; {part} is continued by the next attempt" if part.is_file() else ""
                raise UserError(
                    f"cannot download {url} ({error}){kept}. Connect to the internet once, or copy the file to {path}"
                ) from error
            _require(part, sha256, url)
            part.replace(path)
    return path


def _continue(url: str, part: Path, progress: Callable[[int, int], None]) -> bool:
    """Appends what is missing; whether the file is complete."""
    begun = part.stat().st_size if part.is_file() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={begun}-"} if begun else {})
    try:
        answer = urllib.request.urlopen(request, timeout=_SECONDS)
    except urllib.error.HTTPError as error:
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE and begun:
            if (error.headers.get("Content-Range") or "").endswith(f"/{begun}"):
                return True
            part.unlink()  # of another version
            return False
        raise
    with answer:
        if answer.status != http.client.PARTIAL_CONTENT:  # from the beginning
            begun = 0
        total = begun + int(answer.headers.get("Content-Length") or 0)
        with part.open("ab" if begun else "wb") as file:
            while chunk := answer.read(_CHUNK):
                file.write(chunk)
                begun += len(chunk)
                progress(begun, max(total, begun))
    if begun < total:
        raise http.client.IncompleteRead(b"", total - begun)
    return True


def _require(path: Path, sha256: str, url: str) -> None:
    """Raises UserError: the file is not the published one."""
    if not sha256:
        return
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if not found.startswith(sha256):
        raise UserError(f"{path}: damaged, or not the file of {url}; delete it and run again")
