"""`python -m tfeff.evaluate --workdir=DIR [--split=test] [--json]`: measure a trained network on a split."""

import json

from absl import flags

from tfeff import verbs


def define_flags() -> None:
    """Defines this verb's flags."""
    flags.DEFINE_string("workdir", None, "The workdir of a finished tfeff.train run.", required=True)
    flags.DEFINE_string("split", "test", "A split of the run's data; validation is what the run itself held out.")
    flags.DEFINE_bool("json", False, "Print the whole report as JSON.")


def main(argv: list[str]) -> None:
    """Evaluates the run of the flags."""
    verbs.load_tensorflow()
    from tfeff import training

    workdir = training.Workdir(flags.FLAGS.workdir)
    assessment = training.assess(workdir, flags.FLAGS.split, training.Reporter(quiet=flags.FLAGS.json))
    print(json.dumps(assessment.report, indent=2) if flags.FLAGS.json else assessment.to_text())


if __name__ == "__main__":
    define_flags()
    verbs.run(main)
