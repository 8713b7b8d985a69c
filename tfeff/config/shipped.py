"""The configs that come with the package, by name: `own_images` is the file `own_images.py`."""

import difflib
import os
from pathlib import Path

from tfeff.errors import UserError

_PACKAGE = Path(__file__).resolve().parents[1]
FOLDER = next(filter(Path.is_dir, (_PACKAGE / "configs", _PACKAGE.parent / "configs")))
"""Within an installed package, or next to the package in a checkout (`setup.py` maps one to the other)."""


def names() -> list[str]:
    """Returns the names of all configs, in alphabetical order."""
    return sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "__init__")


def find(given: str | Path) -> Path:
    """Returns the file of a config.

    Args:
        given: a name, such as `own_images`, or the path of a file. A file in the current folder with the name of a
            config and no suffix is not found; `./own_images` is.

    Raises:
        UserError: there is neither such a config nor such a file. The message lists the names, similar ones first.
    """
    known, path = names(), Path(os.path.expanduser(given))
    if str(given) in known:
        return FOLDER / f"{given}.py"
    if path.is_file():
        return path
    if path.is_dir():
        raise UserError(f"--config={given}: is a directory; give a file")
    close = difflib.get_close_matches(path.stem, known, n=3)
    advice = f"did you mean --config={close[0]}? " if close else ""
    wrong = "no such file" if path.suffix or path.name != str(given) else "no config of this name, and no such file"
    listed = ", ".join([*close, *(name for name in known if name not in close)])
    raise UserError(f"--config={given}: {wrong}; {advice}Configs that come with tfeff: {listed}")
