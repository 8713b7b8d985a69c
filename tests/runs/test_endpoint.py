import asyncio
import io
import json
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

import tfeff
from tests.training.tracking.small_run import SETTINGS
from tfeff.runs import endpoint
from tfeff.runs.run import Run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return tfeff.train(SETTINGS, tmp_path_factory.mktemp("endpoint"), evaluate=False, quiet=True)


@pytest.fixture(scope="module")
def client(run: Run) -> TestClient:
    return TestClient(endpoint.application(run.predictor(), "<my> run"), base_url="http://localhost:8000")


def encoded(side: int = 40) -> bytes:
    file = io.BytesIO()
    pixels = np.random.default_rng(1).integers(0, 256, (side, side, 3), np.uint8)
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def test_predictions_are_those_of_the_run(run: Run, client: TestClient, tmp_path: Path) -> None:
    file = tmp_path / "image.png"
    file.write_bytes(encoded())
    (expected,) = run.predict(file)
    answer = client.post("/predict", content=encoded())
    assert answer.json() == json.loads(json.dumps(expected.row))
    drawn = client.post("/predict?draw=1", content=encoded()).json()
    assert drawn["caption"] == expected.caption()
    assert drawn["picture"].startswith("data:image/jpeg;base64,")


def test_the_page_shows_names_as_text(client: TestClient) -> None:
    page = client.get("/").text
    assert "<title>&lt;my&gt; run</title>" in page
    assert "<my>" not in page


@pytest.mark.parametrize(
    ("content", "status", "why"),
    [(b"", 400, "empty"), (b"no image", 422, "not an image"), (encoded()[:-40], 422, "corrupt")],
)
def test_what_is_no_image_is_said(content: bytes, status: int, why: str, client: TestClient) -> None:
    answer = client.post("/predict", content=content)
    assert answer.status_code == status
    error = answer.json()["error"]
    assert error.startswith("the image cannot be used: ")
    assert why in error


def test_large_files_are_refused(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "MOST_BYTES", 1 << 20)
    for content in (bytes(2 << 20), iter([bytes(1 << 20)] * 2)):  # with and without a length
        assert client.post("/predict", content=content).status_code == 413


def test_an_aborted_upload_is_no_error(run: Run) -> None:
    scope = {
        **{"type": "http", "method": "POST", "path": "/predict", "query_string": b"", "scheme": "http"},
        **{"headers": [(b"host", b"localhost:8000"), (b"content-length", b"1000")], "server": ("localhost", 8000)},
    }
    received = iter([{"type": "http.request", "body": b"half", "more_body": True}, {"type": "http.disconnect"}])
    sent = list[dict]()

    async def receive() -> dict:
        return next(received)

    async def send(message: dict) -> None:
        sent.append(message)

    asyncio.run(endpoint.application(run.predictor(), "run")(scope, receive, send))
    assert [message.get("body") for message in sent] == [None, b""]


def test_other_host_names_are_refused(client: TestClient) -> None:
    assert client.get("/", headers={"host": "attacker.example"}).status_code == 400


def test_other_web_pages_are_refused(client: TestClient) -> None:
    assert client.post("/predict", content=encoded(), headers={"sec-fetch-site": "cross-site"}).status_code == 403


def test_a_failing_model_is_said() -> None:
    class Failing:
        def predict(self, files: object) -> None:
            raise RuntimeError("out of memory")

    failing = TestClient(endpoint.application(Failing(), "run"), base_url="http://localhost:8000")  # type: ignore[arg-type]
    answer = failing.post("/predict", content=encoded())
    assert (answer.status_code, answer.json()) == (500, {"error": "the image cannot be used: out of memory"})


@pytest.mark.parametrize("query", ["", "?draw=1"])
def test_a_prediction_that_cannot_be_shown_is_said(query: str) -> None:
    class Found:
        row: ClassVar = {"scores": [float("nan")] if not query else []}

        def caption(self) -> str:
            return ""

        def draw(self) -> np.ndarray:
            raise ValueError("not a box")

    class Diverged:
        def predict(self, files: object) -> list[Found]:
            return [Found()]

    failing = TestClient(endpoint.application(Diverged(), "run"), base_url="http://localhost:8000")  # type: ignore[arg-type]
    answer = failing.post(f"/predict{query}", content=encoded())
    assert answer.status_code == 500
    assert answer.json()["error"].startswith("the image cannot be used: ")
