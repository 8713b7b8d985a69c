"""`python -m tfeff.train --config=FILE --workdir=DIR [--config.key=value ...]`: train, evaluate, export.

The config is an `Experiment` or an `RCNN` (R-CNN's staged method). Rerun the same command to resume from the last
checkpoint. With --range_test, nothing is trained; a short test suggests a learning rate.
"""

import functools
from pathlib import Path

from absl import flags

from tfeff import config, verbs


def define_flags() -> None:
    """Defines this verb's flags."""
    verbs.define_config()
    flags.adopt_module_key_flags(verbs)  # so that --help shows them
    flags.DEFINE_string("workdir", None, "Directory for all results of the run.", required=True)
    flags.DEFINE_bool("evaluate", True, "Evaluate and export after training.")
    flags.DEFINE_bool("profile", False, "Profile a few steps for TensorBoard.")
    flags.DEFINE_bool("range_test", False, "Instead of training, find a learning rate and draw the losses at others.")


def main(argv: list[str]) -> None:
    """Trains what the config describes."""
    settings = verbs.load_config(flags.FLAGS.workdir)
    verbs.load_tensorflow()  # after the config, to report config errors immediately
    if isinstance(settings, config.RCNN):
        _train_detector(settings)
    else:
        _train_network(settings)


def _train_network(experiment: config.Experiment) -> None:
    from tfeff import training
    from tfeff.training import selection

    experiment = config.resolve_family(experiment)
    if flags.FLAGS.range_test:
        _test_learning_rates(experiment, Path(flags.FLAGS.workdir))
        return
    source = functools.cache(lambda: selection.open_source(experiment))  # once per run, after the flags are checked
    workdir = training.train(experiment, flags.FLAGS.workdir, source=source, profile=flags.FLAGS.profile)
    if flags.FLAGS.evaluate and training.is_chief():
        from tfeff.serving import run

        model = training.trained_model(workdir)
        assessment = training.conclude(workdir, training.Reporter(), model, source)
        exported = run.export(workdir, workdir.saved_model, model=model, overwrite=True)
        print(
            assessment.to_text() if assessment else "not evaluated: there is neither a test split nor a validation set"
        )
        for name in ("config.json", "dataset.json", "metrics.jsonl", "result.json", "checkpoints"):
            print(f"wrote {workdir.path / name}")
        print(f"wrote {exported}")
        print(f"wrote {workdir.tensorboard} (view it: tensorboard --logdir={workdir.path})")


def _test_learning_rates(experiment: config.Experiment, directory: Path) -> None:
    """Finds a learning rate; writes `range_test.json` and its figure into a directory."""
    import json

    from tfeff import training
    from tfeff.durable import locked, write
    from tfeff.reporting import figure
    from tfeff.reporting.range_test import range_test_figure
    from tfeff.training import build, selection

    for name in ("profile", "evaluate"):
        verbs.refuse(name, "--range_test")
    build.check(experiment, 1, afresh=True)
    with locked(directory):
        source = selection.open_source(experiment)
        selection.check(experiment, source)
        caches = selection.read(experiment, training.Reporter().reading, source=source)
        found = training.range_test(experiment, caches)
        write(directory / "range_test.json", json.dumps(found.to_json(), indent=1) + "\n")
        drawn = range_test_figure(found.rates, found.losses, found.means, found.rate)
        files = figure.save(drawn, directory / "range_test")
    print(f"The loss is lowest at --config.optimizer.learning_rate={found.rate:.2g}")
    print("\n".join(f"wrote {path}" for path in (directory / "range_test.json", *files)))


def _train_detector(settings: config.RCNN) -> None:
    for name in ("profile", "range_test"):
        verbs.refuse(name, "R-CNN")
    from tfeff import rcnn

    run_images = rcnn.RunImages(settings)
    workdir = rcnn.train(settings, flags.FLAGS.workdir, run_images=run_images)
    if flags.FLAGS.evaluate:
        assessment = rcnn.conclude(workdir, run_images=run_images)
        exported = [rcnn.export(workdir, form, overwrite=True) for form in settings.forms]
        print(assessment.to_text() if assessment else "not evaluated: data.test_split is None")
        print("\n".join(f"wrote {path}" for path in exported))


if __name__ == "__main__":
    define_flags()
    verbs.run(main)
