"""The message about images that cannot be read, of every command: how many, which and why, and what to do."""

from collections.abc import Mapping

FOLDER = "unreadable"
"""Folder of a workdir or a comparison with the list of such images, so that a restart need not decode all of them."""
LISTED = 10
"""Images listed in a message."""
REPLACE = "replace or remove them"
IN_RUN = f"{REPLACE}, or skip them with --config.data.corrupt_images=skip"
IN_SEARCH = f"{REPLACE}, or skip them with --config.experiment.data.corrupt_images=skip"
OF_FINISHED_RUN = f"{REPLACE}, or rerun its tfeff.train command with --config.data.corrupt_images=skip"


def unreadable_images(images: str, total: int, reasons: Mapping[str, str], advice: str) -> str:
    """Returns the message.

    Args:
        images: what was read: the name of a dataset, or a flag.
        total: number of images that were tried.
        reasons: id of each image that cannot be read -> why; the reason may start with the id.
        advice: what to do, such as `IN_RUN`; "" if something else follows.

    >>> print(unreadable_images("folder:pets/train", 80, {"a.jpg": "the file is empty"}, REPLACE))
    folder:pets/train: 1 of 80 images cannot be read:
      a.jpg: the file is empty
    replace or remove them
    """
    lines = [f"{images}: {len(reasons):,} of {total:,} images cannot be read:"]
    for name, reason in list(reasons.items())[:LISTED]:
        lines.append(f"  {reason}" if reason.startswith(f"{name}: ") else f"  {name}: {reason}")
    if len(reasons) > LISTED:
        lines.append(f"  and {len(reasons) - LISTED:,} more")
    return "\n".join([*lines, advice] if advice else lines)
