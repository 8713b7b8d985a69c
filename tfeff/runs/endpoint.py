"""A model behind HTTP on this machine, for trying it: a page that takes images, and an address for programs.

| request | answer |
|---|---|
| `GET /` | the page |
| `POST /predict`, the body is an image file | what `tfeff.predict` writes for it, as JSON |
| `POST /predict?draw=1` | the same, and `caption`, and `picture`, the image with what was found, a data URI |

It has no users, no queue and no encryption. For production, export the model for a server that has them.
"""

import asyncio
import base64
import io
from html import escape
from importlib import resources

import numpy as np
from PIL import Image
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from tfeff.errors import UserError, printable
from tfeff.runs.predictors import Predictor

HOSTS = ("localhost", "127.0.0.1")
"""Names in requests. Others are refused, so that no web page which the user visits reaches the server under its own
name."""
MOST_BYTES = 1 << 27
"""Bytes of an image file."""
SIDE = 1280
"""Pixels of the longer side of a picture."""


def application(predictor: Predictor, title: str) -> Starlette:
    """Returns the server's application.

    Args:
        predictor: the model.
        title: heading of the page.
    """
    page = resources.files("tfeff.runs").joinpath("endpoint.html").read_text("utf-8").replace("{title}", escape(title))

    one_at_a_time = asyncio.Lock()

    def show(request: Request) -> Response:
        return HTMLResponse(page)

    async def read(request: Request) -> Response:
        if request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            return _refused(403, "sent by another web page")
        if int(request.headers.get("content-length", 0)) > MOST_BYTES:
            return _refused(413, f"larger than {MOST_BYTES >> 20} MiB")
        encoded = bytearray()
        try:
            async for chunk in request.stream():
                encoded += chunk
                if len(encoded) > MOST_BYTES:
                    return _refused(413, f"larger than {MOST_BYTES >> 20} MiB")
        except ClientDisconnect:  # nobody reads the response
            return Response()
        if not encoded:
            return _refused(400, "empty; send an image file as the body of the request")
        draw = request.query_params.get("draw") == "1"
        async with one_at_a_time:  # the model already uses all cores
            return await run_in_threadpool(_predicted, predictor, bytes(encoded), draw=draw)

    routes = [Route("/", show), Route("/predict", read, methods=["POST"])]
    return Starlette(routes=routes, middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=list(HOSTS))])


def _predicted(predictor: Predictor, encoded: bytes, *, draw: bool) -> Response:
    try:
        (found,) = predictor.predict([("image", encoded)])
        if isinstance(found, UserError):
            return _refused(422, str(found).removeprefix("image: "))
        answer = dict(found.row)
        if draw:
            answer |= {"caption": found.caption(), "picture": _data_uri(found.draw())}
        return JSONResponse(answer)
    except Exception as error:  # such as too little memory, or outputs that are not finite; the server goes on
        return _refused(500, printable(str(error))[:300])


def _refused(status: int, why: str) -> Response:
    return JSONResponse({"error": f"the image cannot be used: {why}"}, status)


def _data_uri(pixels: np.ndarray) -> str:
    image, file = Image.fromarray(pixels), io.BytesIO()
    image.thumbnail((SIDE, SIDE))
    image.save(file, "JPEG", quality=90)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
