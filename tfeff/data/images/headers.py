"""Image sizes from the headers of files."""

from pathlib import Path

from tfeff.data.images import decoding
from tfeff.errors import UserError


class Headers:
    """Reads the header of each file once."""

    def __init__(self) -> None:
        self._sizes = dict[Path, tuple[int, int] | UserError]()

    def size(self, path: Path) -> tuple[int, int] | UserError:
        """(height, width) as stored, or why the header cannot be read."""
        if path not in self._sizes:
            try:
                self._sizes[path] = decoding.size(path)
            except UserError as error:
                self._sizes[path] = error
        return self._sizes[path]
