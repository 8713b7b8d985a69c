"""What has been renamed since the previous version: one table each for keys, values, names and flags.

Saved configs (`config.json`, a search's database) are translated as they are read. In flags and Python configs, an old
name is an error that gives the new one.
"""

import re
from typing import Any

KEYS = {
    ("Windows", "most"): "max_windows",
    ("Search", "sweeps"): "members",
}
"""(section, old key) -> new key of that section."""
MOVED = {
    ("Experiment", "prediction"): "task.tta",
    ("Experiment", "tta"): "task.tta",
    ("Data", "augmentation"): "task.augmentation",
    ("Data", "box_augmentation"): "task.augmentation",
    ("Data", "plain_epochs"): "task.plain_epochs",
    ("Training", "label_smoothing"): "task.label_smoothing",
}
"""(section, old key) -> new key of the experiment."""
VALUES = {("DetectionData", "on_defect"): {"mend": "fix"}}
"""(section, key) -> {old value: new value}."""
NAMES = {
    "tfeff.config.Features": "tfeff.config.RegionFeatures",
    "tfeff.config.Objects": "tfeff.config.DetectionData",
    "tfeff.config.Prediction": "tfeff.config.TTA",
    "tfeff.config.Sweeps": "tfeff.config.Members",
    "tfeff.config.Task": "tfeff.config.Classification or tfeff.config.Localization",
    "tfeff.scaling.sweeps": "tfeff.scaling.members",
    "tfeff.data.augmentation": "tfeff.data.augment.policy (import Augmentation from tfeff.config)",
    "tfeff.data.box_augmentation": "tfeff.data.augment.box_policy (import BoxAugmentation from tfeff.config)",
}
"""Old class or module that configs import -> new one."""
FLAGS = {"sweep": "sensitivity"}
"""Old flag of a verb -> new one."""


def translate(section: str, values: dict[str, Any]) -> dict[str, Any]:
    """The saved values of one section under their present keys.

    >>> translate("DetectionData", {"source": "voc:x", "on_defect": "mend"})
    {'source': 'voc:x', 'on_defect': 'fix'}
    """
    if section == "Experiment":
        values = _with_task(values)
    renamed = {KEYS.get((section, key), key): value for key, value in values.items()}
    for key, value in renamed.items():
        new = VALUES.get((section, key), {})
        renamed[key] = new.get(value, value) if isinstance(value, str) else value
    return renamed


def _with_task(values: dict[str, Any]) -> dict[str, Any]:
    """Moves the values of an experiment that are now those of its task; drops those that its task never used."""
    parts = {"Experiment": values} | {key.capitalize(): values.get(key, {}) for key in ("task", "data", "training")}
    if not all(isinstance(part, dict) for part in parts.values()):
        return values
    moved = {(section, key): parts[section][key] for section, key in MOVED if key in parts[section]}
    if not moved:
        return values
    task = dict(parts["Task"])
    if task.get("name") == "localization":
        unused = {("Data", "augmentation"), ("Experiment", "tta"), ("Experiment", "prediction")}
    else:
        unused = {("Data", "box_augmentation")}
        for key in ("class_weight", "box_weight", "grid", "hidden"):
            task.pop(key, None)
    task |= {MOVED[old].removeprefix("task."): value for old, value in moved.items() if old not in unused}
    kept = {
        section: {key: value for key, value in part.items() if (section, key) not in moved}
        for section, part in parts.items()
    }
    sections = {key: kept[key.capitalize()] for key in ("data", "training") if key in values}
    return kept["Experiment"] | sections | {"task": task}


def hint(section: str, key: str, value: str | None = None) -> str | None:
    """What to write instead of an old key or value; None if it never was one.

    >>> hint("Experiment", "prediction")
    'it is now called "task.tta"'
    """
    new = (KEYS | MOVED).get((section, key)) if value is None else VALUES.get((section, key), {}).get(value)
    return None if new is None else f'it is now called "{new}"'


def explain(error: Exception) -> str | None:
    """The message for an error that comes from using an old name in Python; None for any other error."""
    old = ""
    if isinstance(error, ModuleNotFoundError):
        old = error.name or ""
    elif isinstance(error, ImportError):
        if found := re.match(r"cannot import name '(\w+)' from '([\w.]+)'", str(error)):
            old = f"{found[2]}.{found[1]}"
    elif isinstance(error, AttributeError):
        if found := re.match(r"module '([\w.]+)' has no attribute '(\w+)'", str(error)):
            old = f"{found[1]}.{found[2]}"
    elif isinstance(error, NameError):  # after `from tfeff.config import *`
        old = f"tfeff.config.{error.name}"
    return f"{old} is now {NAMES[old]}" if old in NAMES else None
