"""`python -m tfeff.analyze`: compare trained classifiers, and find out what they get wrong.

python -m tfeff.analyze --workdir=DIR [--workdir=DIR ...] --out=DIR [--split=test]
"""

from absl import flags

from tfeff import verbs


def define_flags() -> None:
    """Defines this verb's flags."""
    flags.DEFINE_multi_string("workdir", None, "Workdir of a finished tfeff.train run; repeatable.", required=True)
    flags.DEFINE_string("out", None, "Directory for the report.", required=True)
    flags.DEFINE_string("split", None, "Split to analyze. Default: the test split, or the validation images.")


def main(argv: list[str]) -> None:
    """Writes the report."""
    given = flags.FLAGS
    verbs.load_tensorflow()
    from tfeff.workbench import report

    print(report.write(given.workdir, given.out, given.split))


if __name__ == "__main__":
    define_flags()
    verbs.run(main)
