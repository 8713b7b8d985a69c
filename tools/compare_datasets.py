"""Trains the variants of an experiment on several datasets, and compares their test scores: a transfer table.

    python tools/compare_datasets.py --config=transfer_table --workdir=DIR --out=runs/NAME \\
        ants_and_bees=folder:DIR signs=folder:DIR [--seeds=3] [--only=NAME ...] [--override=key=value ...]

Each argument is a name and a `data.source`. For each dataset, the variants are trained and compared by
`tools/compare_variants.py`, in WORKDIR/NAME; OUT.json has the results of all, and `tools/write_results.py` writes them
into documents as a table with a row for each variant and a column for each dataset. Rerun the same command to resume.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import command_line
import compare_variants
from write_results import transfer

from tfeff.durable import write
from tfeff.errors import UserError


def main() -> None:
    """Runs the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, help="Name or file of a config with VARIANTS and REFERENCE.")
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="Path of the results, without suffix.")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", action="append", help="Train only these variants and the reference.")
    parser.add_argument("--processes", type=int)
    parser.add_argument("--override", action="append", default=[], help="key=value, of all variants.")
    parser.add_argument("datasets", nargs="+", metavar="NAME=SOURCE")
    run(parser.parse_args())


def run(arguments: argparse.Namespace) -> None:
    """Trains what is missing on each dataset, and reports every finished run."""
    results = dict[str, Any]()
    for name, source in sources(arguments.datasets).items():
        directory = arguments.workdir / name
        given = {**vars(arguments), "variants": None, "workdir": directory, "out": directory / "results"}
        given["override"] = [*arguments.override, f"data.source={source}"]
        print(f"{name}: {source}", flush=True)
        compare_variants.run(argparse.Namespace(**given))
        results[name] = json.loads((directory / "results.json").read_text())
    result = {"datasets": results}
    write(arguments.out.with_suffix(".json"), json.dumps(result, indent=1) + "\n")
    print(transfer(result))


def sources(given: list[str]) -> dict[str, str]:
    """Returns the source of each dataset by its name.

    Raises:
        UserError: a dataset has no name or no source, its name is no folder's, or two have the same.
    """
    found = dict[str, str]()
    for argument in given:
        name, _, source = argument.partition("=")
        if not source or not name or Path(name).name != name or name in (".", ".."):
            raise UserError(
                f"{argument}: write NAME=SOURCE, where NAME is a folder of --workdir; SOURCE is a data.source"
            )
        if name in found:
            raise UserError(f"{argument}: another dataset is named {name}, too")
        found[name] = source
    return found


if __name__ == "__main__":
    command_line.run(main)
