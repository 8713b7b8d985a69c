"""`python -m tfeff.serve --workdir=DIR`: try a trained model in a browser, or from programs on this machine.

Opens http://localhost:8000 to this machine alone: drop images on the page, or send an image file with
`curl --data-binary @photo.jpg http://localhost:8000/predict`, which answers with JSON. Ctrl-C ends it.
"""

import contextlib
import socket

from absl import flags

from tfeff import api, cli
from tfeff.errors import UserError
from tfeff.execution.startup import installed, load_tensorflow
from tfeff.reporting.terminal import say


def define_flags() -> None:
    """Defines this verb's flags."""
    cli.define_model()
    flags.DEFINE_integer("port", 8000, "Port on this machine; 0: a free one.", lower_bound=0, upper_bound=65535)
    cli.define_score()
    cli.define_gallery()


def main(argv: list[str]) -> None:
    """Serves a model until Ctrl-C."""
    given = flags.FLAGS
    cli.check_model()
    if not (installed("starlette") and installed("uvicorn")):
        raise UserError('tfeff.serve needs two packages: pip install "tfeff[serve]"')
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", given.port))
        listener.listen()  # from now on, another server is refused the port
    except OSError as error:
        raise UserError(f"--port={given.port} cannot be used ({error.strerror}); choose another one") from None
    load_tensorflow()
    import uvicorn

    from tfeff import runs
    from tfeff.reporting.progress import counting
    from tfeff.runs.endpoint import application
    from tfeff.runs.predictors import Options

    options: Options = {
        "score": given.score,
        "gallery": given.gallery,
        "neighbors": given.neighbors,
        "threshold": given.threshold,
    }
    with counting("reading the gallery", "images", shown=bool(given.gallery)) as progress:
        if given.model:
            predictor = runs.load_predictor(runs.find_model(given.model), progress=progress, **options)
        else:
            predictor = api.open(given.workdir).predictor(progress=progress, **options)
    for note in predictor.notes:
        say(note)
    name = str(given.workdir or given.model)
    say(f"serving {name} at http://localhost:{listener.getsockname()[1]}, to this machine alone; Ctrl-C ends it")
    app = application(predictor, name)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
    with contextlib.suppress(KeyboardInterrupt):  # uvicorn has shut down and passes the signal on
        server.run(sockets=[listener])


if __name__ == "__main__":
    define_flags()
    cli.run(main)
