"""`python -m tfeff.train --config=FILE --workdir=DIR [--config.key=value ...]`: train, evaluate, export.

The config is an `Experiment` (classification or localization) or an `RCNN` (detection). Rerun the same command to
resume from the last checkpoint.
"""

import functools

from absl import flags

from tfeff import config, verbs
from tfeff.errors import UserError


def define_flags() -> None:
    """Defines this verb's flags."""
    verbs.define_config()
    flags.adopt_module_key_flags(verbs)  # so that --help shows them
    flags.DEFINE_string("workdir", None, "Directory for all results of the run.", required=True)
    flags.DEFINE_bool("evaluate", True, "Evaluate and export after training.")
    flags.DEFINE_bool("profile", False, "Profile a few steps for TensorBoard.")


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


def _train_detector(settings: config.RCNN) -> None:
    if flags.FLAGS.profile:
        raise UserError("--profile has no effect on detectors; remove it")
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
