"""Copies of a search or a sweep in trackers: one run, with the choice, its metrics, all candidates and the report.

The workdir remains the record. A tracker gets the config and the command when the search starts, and at the end what
`result.json` says, which every kind of search writes: its numbers as metrics, its texts as tags, its lists of networks
or candidates as tables; and the files. A search that is run again with another config, such as another budget, is a
new run of the tracker.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tfeff import checked, config
from tfeff.config.section import Section
from tfeff.training import provenance
from tfeff.training.tracking.tracker import FIGURES
from tfeff.training.tracking.trackers import Trackers

RESULT = "result.json"
FILES = (RESULT, "report.html", "networks.md", "family.md", "candidates.md", "best.json", "coefficients.json", FIGURES)
"""Files of a workdir that a tracker gets, if they exist."""
TABLES = ("candidates", "networks")
"""Keys of `result.json` whose rows are tables."""
SETTINGS = ("config", "folds", "seed")
"""Keys of `result.json` that repeat the config."""


class SearchMirror(Trackers):
    """The trackers of a search.

    Args:
        directory: the workdir of the search.
        names: names of trackers, beside those of earlier calls.
        settings: the config of the search.
    """

    def __init__(self, directory: Path, names: Sequence[str], settings: Section) -> None:
        self._directory = directory
        values = config.flatten(settings)
        super().__init__(directory, names, checked.checksum(values))
        call = provenance.call() if self._open else {}
        for name in list(self._open):
            with self._tolerated(name):
                self._send_settings(name, values, call)
        self._save()

    def finish(self) -> None:
        """Sends the result and the files, unless the trackers have this result, and marks the runs as finished."""
        if not self._open:
            return
        result = json.loads((self._directory / RESULT).read_text(encoding="utf-8"))
        state, scalars = checked.checksum(result), dict(_scalars(result))
        numbers = {f"result/{key}": float(value) for key, value in scalars.items() if not isinstance(value, str)}
        texts = {f"result.{key}": value for key, value in scalars.items() if isinstance(value, str)}
        for name, tracker in list(self._open.items()):
            with self._tolerated(name):
                if self._record[name]["finished"] != state:
                    tracker.tags(texts)
                    tracker.result(0, numbers | chosen(result))
                    for key in TABLES:
                        if rows := table(result.get(key, ())):
                            tracker.table(key, rows)
                    tracker.files([self._directory / file for file in FILES], "search")
                tracker.close(finished=True)
                del self._open[name]
                self._record[name]["finished"] = state
        self._save()


def chosen(result: Mapping[str, Any]) -> dict[str, float]:
    """Returns the numbers of the chosen candidate, `chosen/mean` and others; none of a search for coefficients."""
    if "chosen" not in result:
        return {}
    rows = (row for key in TABLES for row in table(result.get(key, ())))
    row = next((row for row in rows if result["chosen"] in (row.get("id"), row.get("name"))), {})
    return {f"chosen/{key}": float(value) for key, value in row.items() if isinstance(value, int | float)}


def table(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Returns rows with single values in the same columns: `costs` becomes `costs/macs` and others, lists are texts."""
    flat = [{key: json.dumps(each) if isinstance(each, list) else each for key, each in _flat(row)} for row in rows]
    columns = dict.fromkeys(key for row in flat for key in row)
    return [{key: row.get(key) for key in columns} for row in flat]


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}/")
        else:
            yield prefix + key, value


def _scalars(result: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yields numbers and texts of a result, also those one level below."""
    for key, value in _flat({key: value for key, value in result.items() if key not in SETTINGS}):
        if isinstance(value, str | int | float) and key.count("/") <= 1:
            yield key, value
