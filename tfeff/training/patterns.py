"""Shell-style patterns over the paths of a network's variables, such as `stage[12]_*` or `*_bn/gamma`."""

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase

from tfeff.errors import UserError, nearest


def matching(pattern: str, paths: Iterable[str], key: str) -> set[str]:
    """The paths that `pattern` matches as a whole; `*` also matches `/`.

    Args:
        pattern: as for `fnmatch`: `*`, `?`, `[seq]` and `[!seq]`; case-sensitive.
        paths: of the variables that are trained, such as `stage1_block1_conv1/kernel`.
        key: the config key of the pattern, for the message.

    Raises:
        UserError: if it matches none; the message suggests a pattern.
    """
    paths = list(paths)
    found = {path for path in paths if fnmatchcase(path, pattern)}
    if not found:
        # One word of a path is a stage, two are a block: few enough to list.
        words = [re.split("[_/]", path) for path in paths]
        known = {f"{'_'.join(parts[:count])}*" for parts in words for count in (1, 2)}
        raise UserError(f"config: {key}: {pattern!r} matches no variable that is trained; {nearest(pattern, known)}")
    return found
