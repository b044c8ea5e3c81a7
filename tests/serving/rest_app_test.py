"""Limits, deadlines and health of the web application, over a model that waits when told to."""

import asyncio
import contextlib
import gzip
import json
import threading
import zlib

import numpy as np
import pytest
import tensorflow as tf
from aiohttp.test_utils import TestClient, TestServer

from official_coca.serving.batching import BatchQueue
from official_coca.serving.batching_options import BatchingOptions
from official_coca.serving.model_versions import ModelVersions
from official_coca.serving.rest_app import HANDLER_OPTIONS, RequestLimits, RestApp
from official_coca.serving.server_metrics import ServerMetrics
from official_coca.serving.signature import Signature, TensorInfo

PREDICT = "/v1/models/coca:predict"
MOST_BYTES = 2**16
VALUES = TensorInfo(tf.float32, (None,))


class Version:
    def __init__(self, number, directory):
        self.number = number
        signature = Signature("serving_default", {"x": VALUES}, {}, {}, None)
        self.signatures = {signature.name: signature}
        self.may_run = threading.Event()
        self.may_run.set()
        self.entered = threading.Event()

    def warm_up(self):
        pass

    def run(self, signature_name, inputs):
        self.entered.set()
        assert self.may_run.wait(20)
        return {"y": inputs["x"] * np.float32(2)}

    def close(self):
        pass


@contextlib.asynccontextmanager
async def _client(directory, loaded=True, keepalive_timeout=75.0, **options):
    versions = ModelVersions(directory, load=Version)
    if loaded:
        (directory / "1").mkdir(exist_ok=True)
        (directory / "1" / "saved_model.pb").write_text("x")
        versions.poll()
        versions.poll()
    metrics = ServerMetrics()
    options = {"num_batch_threads": 1, "max_queued_requests": 3, **options}
    queue = BatchQueue(BatchingOptions(**options), metrics)
    limits = RequestLimits(
        max_request_bytes=MOST_BYTES, timeout_seconds=10.0, max_held_bytes=2 * MOST_BYTES
    )
    app = RestApp("coca", versions, queue, metrics, limits)
    server = TestServer(app.application())
    await server.start_server(keepalive_timeout=keepalive_timeout, **HANDLER_OPTIONS)
    async with TestClient(server) as client:
        client.rest_app, client.version = app, versions.current
        yield client
    if versions.current is not None:
        versions.current.may_run.set()
    queue.close(5)


def _run(coroutine_function, directory, **options):
    async def run():
        async with _client(directory, **options) as client:
            await coroutine_function(client)

    asyncio.run(run())


async def _post(client, fields=None, path=PREDICT, **options):
    body = fields if isinstance(fields, bytes) else json.dumps(fields or {"instances": [1.5]})
    async with client.post(path, data=body, **options) as response:
        return response.status, json.loads(await response.text()), response.headers


def test_prediction_names_the_version_that_answered(tmp_path):
    async def check(client):
        status, answer, headers = await _post(client)
        assert (status, answer, headers["X-Model-Version"]) == (200, {"predictions": [3.0]}, "1")

    _run(check, tmp_path)


def test_server_without_a_version_lives_and_is_not_ready(tmp_path):
    async def check(client):
        assert (await client.get("/healthz")).status == 200
        assert (await client.get("/readyz")).status == 503
        assert (await client.get("/v1/models/coca")).status == 404
        status, answer, headers = await _post(client)
        assert status == 503 and headers["Retry-After"] == "1"

    _run(check, tmp_path, loaded=False)


def test_readiness_ends_with_the_shutdown(tmp_path):
    async def check(client):
        assert (await client.get("/readyz")).status == 200
        client.rest_app.stop_accepting()
        assert (await client.get("/readyz")).status == 503

    _run(check, tmp_path)


@pytest.mark.parametrize("chunked", [False, True])
def test_large_body_is_refused(tmp_path, chunked):
    async def check(client):
        async def pieces():
            for _ in range(16):
                yield b" " * 2**14

        body = pieces() if chunked else b" " * (MOST_BYTES + 1)
        async with client.post(PREDICT, data=body) as response:
            assert response.status == 413
            assert str(MOST_BYTES) in (await response.json())["error"]

    _run(check, tmp_path)


def test_compressed_bodies_are_read_within_the_limit(tmp_path):
    async def check(client):
        headers = {"Content-Encoding": "gzip"}
        body = gzip.compress(b'{"instances": [2]}')
        assert (await _post(client, body, headers=headers))[:2] == (200, {"predictions": [4.0]})
        assert (await _post(client, gzip.compress(b" " * 2**24), headers=headers))[0] == 413
        assert (await _post(client, b"no gzip", headers=headers))[0] == 400
        assert (await _post(client, body, headers={"Content-Encoding": "x"}))[0] == 415

    _run(check, tmp_path)


class CountingInflater:
    """Stands in for what `zlib.decompressobj` makes; counts the bytes of all of them."""

    make = staticmethod(zlib.decompressobj)
    inflated = 0

    def __init__(self, *arguments, **options):
        self._inflater = self.make(*arguments, **options)

    def decompress(self, *arguments):
        content = self._inflater.decompress(*arguments)
        CountingInflater.inflated += len(content)
        return content

    def __getattr__(self, name):
        return getattr(self._inflater, name)


@pytest.mark.parametrize("pieces, inflated", [(2, MOST_BYTES + 1), (8, 0)])
def test_refused_body_is_not_inflated_past_the_limit(tmp_path, monkeypatch, pieces, inflated):
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    piece = compressor.compress(b" " * 2**24) + compressor.flush(zlib.Z_FULL_FLUSH)
    assert 2 * len(piece) < MOST_BYTES < 8 * len(piece)
    monkeypatch.setattr(zlib, "decompressobj", CountingInflater)
    monkeypatch.setattr(CountingInflater, "inflated", 0)

    async def check(client):
        async def send():
            for _ in range(pieces):
                yield piece

        headers = {"Content-Encoding": "deflate"}
        async with client.post(PREDICT, data=send(), headers=headers) as response:
            assert response.status == 413
            assert str(MOST_BYTES) in (await response.json())["error"]

    _run(check, tmp_path)
    assert CountingInflater.inflated == inflated


def test_request_past_its_deadline_gets_504(tmp_path):
    async def check(client):
        client.version.may_run.clear()
        status, answer, _ = await _post(client, headers={"X-Request-Timeout": "0.05"})
        assert status == 504 and "deadline" in answer["error"]

    _run(check, tmp_path)


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "soon"])
def test_deadline_must_be_a_time(tmp_path, value):
    async def check(client):
        status, answer, _ = await _post(client, headers={"X-Request-Timeout": value})
        assert status == 400 and "X-Request-Timeout" in answer["error"]

    _run(check, tmp_path)


def test_body_that_does_not_arrive_gets_408(tmp_path):
    async def check(client):
        async def pieces():
            yield b"{"
            await asyncio.sleep(1)

        headers = {"X-Request-Timeout": "0.05"}
        async with client.post(PREDICT, data=pieces(), headers=headers) as response:
            assert response.status == 408

    _run(check, tmp_path)


def test_requests_beyond_the_limits_get_429(tmp_path):
    async def check(client):
        client.version.may_run.clear()
        sent = [asyncio.create_task(_post(client))]
        while not client.version.entered.is_set():
            await asyncio.sleep(0.01)
        sent += [asyncio.create_task(_post(client)) for _ in range(7)]
        while sum(task.done() for task in sent) < 4:
            await asyncio.sleep(0.01)
        assert (await client.get("/healthz")).status == 200
        client.version.may_run.set()
        answers = await asyncio.gather(*sent)
        assert sorted(status for status, _, _ in answers) == [200] * 4 + [429] * 4
        refused = [headers for status, _, headers in answers if status == 429]
        assert {headers["Retry-After"] for headers in refused} == {"1"}

    _run(check, tmp_path)


def test_slow_bodies_leave_room_for_others(tmp_path):
    async def check(client):
        ends = asyncio.Event()

        async def begun():
            yield b'{"instances": '
            await ends.wait()
            yield b"[1]}"

        slow = [asyncio.create_task(_post_pieces(client, begun())) for _ in range(50)]
        await asyncio.sleep(0.2)
        assert (await _post(client))[0] == 200
        ends.set()
        assert set(await asyncio.gather(*slow)) <= {200, 429}

    _run(check, tmp_path)


def test_bodies_beyond_the_limit_together_get_429_until_they_are_answered(tmp_path):
    async def check(client):
        ends = asyncio.Event()

        async def large():
            yield b" " * (MOST_BYTES - 100)
            await ends.wait()
            yield b'{"instances": [1]}'

        slow = [asyncio.create_task(_post_pieces(client, large())) for _ in range(2)]
        while client.rest_app._held_bytes < 2 * (MOST_BYTES - 100):
            await asyncio.sleep(0.01)
        body = b" " * 1000 + b'{"instances": [1]}'
        status, answer, headers = await _post(client, body)
        assert status == 429 and "bytes of requests wait" in answer["error"]
        assert headers["Retry-After"] == "1"
        ends.set()
        assert await asyncio.gather(*slow) == [200, 200]
        assert (await _post(client, body))[0] == 200
        assert client.rest_app._held_bytes == 0

    _run(check, tmp_path)


async def _post_pieces(client, pieces):
    async with client.post(PREDICT, data=pieces) as response:
        return response.status


async def _raw(client, sent, end=None):
    """What the server sends back, up to `end` or until it closes the connection."""
    reader, writer = await asyncio.open_connection(client.host, client.port)
    writer.write(sent)
    try:
        return await asyncio.wait_for(reader.readuntil(end) if end else reader.read(), 10)
    finally:
        writer.close()


def test_expectation_of_a_body_that_will_be_refused_is_not_met(tmp_path):
    async def check(client):
        head = f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\nExpect: %s\r\n\r\n"
        answer = await _raw(client, (head % (MOST_BYTES + 1, "100-continue")).encode(), b"}")
        assert answer.startswith(b"HTTP/1.1 413") and b'"error"' in answer
        answer = await _raw(client, (head % (2, "luck")).encode(), b"}")
        assert answer.startswith(b"HTTP/1.1 417") and b'"error"' in answer
        body = b'{"instances": [2]}'
        sent = (head % (len(body), "100-Continue")).replace("Host", "Connection: close\r\nHost")
        answer = await _raw(client, sent.encode() + body)
        assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200") and b"4.0" in answer
        counted = await (await client.get("/monitoring/prometheus/metrics")).text()
        for status in (413, 417):
            assert f'coca_server_requests_total{{code="{status}",signature=""}} 1.0' in counted

    _run(check, tmp_path)


def test_each_connection_ends_with_its_first_answer_after_the_signal(tmp_path):
    async def check(client):
        assert (await _post(client))[2].get("Connection") is None
        client.rest_app.stop_accepting()
        status, _, headers = await _post(client)
        assert (status, headers["Connection"]) == (200, "close")

    _run(check, tmp_path)


def test_connections_that_ask_for_nothing_are_closed(tmp_path):
    async def check(client):
        head = b"GET /healthz HTTP/1.1\r\nHost: x\r\n"
        assert await _raw(client, b"") == await _raw(client, head) == b""
        for more in (b"", head):
            answer = await _raw(client, head + b"\r\n" + more)
            assert answer.count(b"200 OK") == 1

    _run(check, tmp_path, keepalive_timeout=0.3)


@pytest.mark.parametrize(
    "path, status, message",
    [
        ("/v1/models/other:predict", 404, "no model 'other'"),
        ("/v1/models/coca/versions/2:predict", 404, "version 2 is not served"),
        ("/v1/models/coca/versions/x:predict", 400, "not a number"),
        ("/v1/models/coca/labels/stable:predict", 404, "label 'stable'"),
        ("/v1/models/coca:classify", 400, "answers :predict"),
        ("/v1/models/coca:regress", 400, "answers :predict"),
        ("/v1/models/coca/versions/1:predict", 200, None),
        ("/v1/models/coca/labels/latest:predict", 200, None),
        ("/v1/models/coca", 405, "Method Not Allowed"),
        ("/v2/models/coca:predict", 404, "Not Found"),
    ],
)
def test_paths(tmp_path, path, status, message):
    async def check(client):
        answered, answer, _ = await _post(client, path=path)
        assert answered == status
        assert message is None or message in answer["error"]

    _run(check, tmp_path)


def test_metrics_count_requests_by_known_signatures_only(tmp_path):
    async def check(client):
        await _post(client)
        await _post(client, {"signature_name": "made up", "instances": [1]})
        text = await (await client.get("/monitoring/prometheus/metrics")).text()
        counted = 'coca_server_requests_total{code="200",signature="serving_default"} 1.0'
        assert counted in text and "made up" not in text
        assert 'coca_server_requests_total{code="400",signature=""} 1.0' in text
        assert "process_resident_memory_bytes" in text

    _run(check, tmp_path)
