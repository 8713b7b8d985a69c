"""`python -m tfeff.train --config=CONFIG --workdir=DIR [--config.key=value ...]`: train, evaluate, export.

The config is an `Experiment`. Rerun the same command to resume from the last checkpoint. With --range_test, nothing is
trained; a short test suggests a learning rate. With --show, nothing is trained, either; `augmentation.png` shows some
training images as they are, under each augmentation of the config alone, and under all together.
"""

import shlex

from absl import flags

from tfeff import api, cli, config
from tfeff.execution.startup import load_tensorflow
from tfeff.reporting.terminal import say

OF_TRAINING = ("profile", "evaluate", "histograms", "track")
"""Flags that have no effect if nothing is trained."""
FILES = (
    *("report.html", "model_card.md", "config.json", "dataset.json", "provenance.json", "metrics.jsonl", "result.json"),
    *("checkpoints", "saved_model", "tensorboard"),
)


def define_flags() -> None:
    """Defines this verb's flags."""
    cli.define_config()
    flags.DEFINE_string("workdir", None, "Directory for all results of the run.", required=True)
    flags.DEFINE_bool("evaluate", True, "Evaluate and export after training.")
    flags.DEFINE_bool("profile", False, "Profile a few steps for TensorBoard.")
    flags.DEFINE_integer(
        "histograms", 0, "Epochs between histograms of weights and gradients in TensorBoard; 0: none.", lower_bound=0
    )
    flags.DEFINE_list("track", [], "Also send the run to these trackers: mlflow, wandb.")
    flags.DEFINE_bool("show", False, "Instead of training, draw what the config does to some training images.")
    flags.DEFINE_bool("range_test", False, "Instead of training, find a learning rate and draw the losses at others.")


def main(argv: list[str]) -> None:
    """Trains what the config describes."""
    given = flags.FLAGS
    experiment = api.load_config(given.config, given.override)
    if given.range_test:
        _test_learning_rates(experiment)
        return
    if given.show:
        _show(experiment)
        return
    run = api.train(
        experiment,
        given.workdir,
        evaluate=given.evaluate,
        export=given.evaluate,
        profile=given.profile,
        histograms=given.histograms,
        track=given.track,
    )
    from tfeff import training

    if given.evaluate and training.is_chief():
        if run.evaluation is not None:  # otherwise, it was said why
            say(run.evaluation)
        written = [name for name in FILES if (run.workdir / name).exists()]
        say(f"wrote {run.workdir}: {', '.join(written)}")
        say(f"view the training: tensorboard --logdir={shlex.quote(str(run.workdir))}")


def _test_learning_rates(experiment: api.Description) -> None:
    for name in (*OF_TRAINING, "show"):
        cli.refuse(name, "--range_test")
    load_tensorflow()
    from tfeff.training.range_test import write_range_test

    settings, _ = api.complete(experiment, flags.FLAGS.workdir)
    rate, files = write_range_test(settings, flags.FLAGS.workdir)
    say(f"The loss is lowest at --config.optimizer.learning_rate={rate:.2g}")
    say("\n".join(f"wrote {path}" for path in files))


def _show(experiment: api.Description) -> None:
    for name in OF_TRAINING:
        cli.refuse(name, "--show")
    load_tensorflow()
    from tfeff import training
    from tfeff.training.preview import write_preview

    settings, _ = api.complete(experiment, flags.FLAGS.workdir)
    plan = training.Plan.of(config.resolve_member(settings))
    say("\n".join(f"wrote {path}" for path in write_preview(plan, flags.FLAGS.workdir)))


if __name__ == "__main__":
    define_flags()
    cli.run(main)
