"""`tfeff VERB ...` or `python -m tfeff VERB ...`, short for `python -m tfeff.VERB ...`."""

import runpy
import sys
from importlib import metadata

from tfeff import cli
from tfeff.errors import nearest


def main() -> None:
    """Runs the verb given as the first argument, or lists all verbs."""
    verb = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if verb == "--version":
        print(f"tfeff {metadata.version('tfeff')}")
        return
    if verb in ("--help", "-h", "help"):
        print("usage: tfeff COMMAND [--flags]     (tfeff COMMAND --help lists its flags)\n")
        for name, purpose in cli.VERBS.items():
            print(f"  {name:10} {purpose}")
        return
    if verb not in cli.VERBS:
        print(f'error: no command "{verb}"; {nearest(verb, cli.VERBS)}', file=sys.stderr)
        sys.exit(2)
    sys.argv = [f"tfeff {verb}", *sys.argv[2:]]
    runpy.run_module(f"tfeff.{verb}", run_name="__main__")


if __name__ == "__main__":
    main()
