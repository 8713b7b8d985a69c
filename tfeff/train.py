"""`python -m tfeff.train --config=FILE --workdir=DIR [--config.key=value ...]`: train, evaluate, export.

The config says what: a network that classifies images, or localises their one object (`Experiment`), or a detector
(`RCNN`).

The same command goes on with a run that was stopped.
"""

from absl import flags

from tfeff import config, verbs
from tfeff.errors import UserError


def define_flags() -> None:
    """Defines this verb's flags."""
    verbs.define_config()
    flags.adopt_module_key_flags(verbs)  # so that --help shows them
    flags.DEFINE_string("workdir", None, "Where everything is written; see tfeff.training.workdir.", required=True)
    flags.DEFINE_bool("evaluate", True, "Evaluate and export the network when its training is over.")
    flags.DEFINE_bool("profile", False, "Trace some steps for TensorBoard's profiler.")


def main(argv: list[str]) -> None:
    """Runs the experiment of the flags."""
    settings = verbs.configured()
    verbs.load_tensorflow()  # after the config: its mistakes are told at once
    if isinstance(settings, config.RCNN):
        _detector(settings)
    else:
        _network(settings)


def _network(experiment: config.Experiment) -> None:
    from tfeff import training
    from tfeff.training import selection

    experiment = config.settled(experiment)
    source = selection.open_source(experiment)
    workdir = training.train(experiment, flags.FLAGS.workdir, source=source, profile=flags.FLAGS.profile)
    if flags.FLAGS.evaluate and training.is_chief():
        from tfeff.serving import run

        model = training.trained_model(workdir)
        assessment = training.conclude(workdir, training.Reporter(), model, source)
        exported = run.export(workdir, workdir.saved_model, model=model, overwrite=True)
        print(assessment.to_text() if assessment else "no images were held out: nothing to evaluate")
        for name in ("config.json", "dataset.json", "metrics.jsonl", "result.json", "checkpoints"):
            print(f"wrote {workdir.path / name}")
        print(f"wrote {exported}")
        print(f"wrote {workdir.tensorboard} (to look at it: tensorboard --logdir={workdir.path})")


def _detector(settings: config.RCNN) -> None:
    if flags.FLAGS.profile:
        raise UserError("--profile has no effect on this config's training; leave it out")
    from tfeff import rcnn

    run_images = rcnn.RunImages(settings)
    workdir = rcnn.train(settings, flags.FLAGS.workdir, run_images=run_images)
    if flags.FLAGS.evaluate:
        assessment = rcnn.conclude(workdir, run_images=run_images)
        exported = [rcnn.export(workdir, form, overwrite=True) for form in settings.forms]
        print(assessment.to_text() if assessment else "data.test_split is None: nothing to evaluate")
        print("\n".join(f"wrote {path}" for path in exported))


if __name__ == "__main__":
    define_flags()
    verbs.run(main)
