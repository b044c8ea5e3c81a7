"""The web application of the model server: paths, limits, deadlines and errors.

Every answer is JSON, errors as {"error": one line}, apart from the metrics and from what aiohttp
itself refuses because it is not HTTP.
"""

import asyncio
import concurrent.futures
import dataclasses
import json
import logging
import math
import re
import time

from aiohttp import web

from official_coca.serving.request_body import ENCODINGS, inflate
from official_coca.serving.request_error import RequestError
from official_coca.serving.rest_protocol import read_predict_request, write_predict_response

TIMEOUT_HEADER = "X-Request-Timeout"
VERSION_HEADER = "X-Model-Version"
# For the runner of the application, which inflates bodies itself: no more than it may read.
HANDLER_OPTIONS = {"auto_decompress": False}
_SELECTOR = "{selector:(?:/(?:versions|labels)/[^/:]+)?}"
_VERSION = re.compile("[0-9]{1,19}")  # TF Serving's are 64 bits
_LARGE_BODY = 2**18  # bytes of JSON that take some milliseconds to read or write
_NUMBER_BYTES = 12  # of a float32 in JSON
_SIGNATURE = web.RequestKey("signature", str)
_HELD_BYTES = web.RequestKey("held_bytes", int)
_CLIENT_GONE = 499  # counted as web servers count it: the client closed the connection
_LOGGER = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class RequestLimits:
    """What one client may ask for.

    Args:
        max_request_bytes: of a body, after decompression.
        timeout_seconds: for a request from its headers to its answer; a client may ask for less.
        max_held_bytes: of the bodies of all requests that are read, wait or run.
    """

    max_request_bytes: int
    timeout_seconds: float
    max_held_bytes: int


class RestApp:
    """Answers TF Serving's REST paths, health checks and Prometheus.

    Args:
        model_name: in the paths.
        versions: `ModelVersions`.
        queue: `BatchQueue`.
        metrics: `ServerMetrics`.
        limits: `RequestLimits`.
    """

    def __init__(self, model_name, versions, queue, metrics, limits):
        self._model_name = model_name
        self._versions = versions
        self._queue = queue
        self._metrics = metrics
        self._limits = limits
        self._json_thread = concurrent.futures.ThreadPoolExecutor(1, "json")
        self._held_bytes = 0
        self._stopping = False

    def application(self):
        """Returns the `aiohttp.web.Application`."""
        application = web.Application(
            middlewares=[self._answer_errors], client_max_size=self._limits.max_request_bytes
        )
        model = "/v1/models/{model:[^/:]+}" + _SELECTOR
        application.add_routes(
            [
                # Tried in turn: the most asked first.
                web.post(model + ":{verb}", self._predict, expect_handler=self._expect),
                web.get(model, self._status),
                web.get(model + "/metadata", self._metadata),
                web.get("/healthz", self._health),
                web.get("/readyz", self._readiness),
                web.get("/monitoring/prometheus/metrics", self._scrape),
            ]
        )
        return application

    def stop_accepting(self):
        """Reports the server as not ready, and ends each connection with its next answer."""
        self._stopping = True

    @web.middleware
    async def _answer_errors(self, request, handler):
        response = await _answer_or_error(request, handler)
        # What is left of a body cannot be told from a request.
        if self._stopping or not request.content.is_eof():
            response.force_close()
        return response

    async def _expect(self, request):
        """Answers `Expect: 100-continue` before the body is sent, unless it will be refused."""
        error = None
        if request.headers["Expect"].lower() != "100-continue":
            error = RequestError(417, "Expect may be 100-continue")
        elif (request.content_length or 0) > self._limits.max_request_bytes:
            error = RequestError(413, _too_large(self._limits.max_request_bytes))
        if error is not None:
            self._metrics.count_request("", error.status, seconds=0.0)
            response = _json_response({"error": str(error)}, error.status)
            response.force_close()
            return response
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # the answer itself has not begun

    async def _status(self, request):
        number, label = self._selected(request)
        states = self._versions.states()
        if label is not None:
            version = self._versions.acquire(label=label)
            number = version.number
            self._versions.release(version)
        if number is not None:
            states = {number: states[number]} if number in states else {}
        if not states:
            wanted = "no version" if number is None else f"no version {number}"
            raise RequestError(404, f"there is {wanted} of model {self._model_name}")
        return _json_response({"model_version_status": [
            {
                "version": str(version),
                "state": state,
                "status": {"error_code": code, "error_message": message},
            }
            for version, (state, code, message) in states.items()
        ]})  # fmt: skip

    async def _metadata(self, request):
        version = self._versions.acquire(*self._selected(request))
        try:
            signatures = {
                name: signature.to_json() for name, signature in version.signatures.items()
            }
        finally:
            self._versions.release(version)
        return _json_response({
            "model_spec": {
                "name": self._model_name,
                "signature_name": "",
                "version": str(version.number),
            },
            "metadata": {"signature_def": {"signature_def": signatures}},
        })  # fmt: skip

    async def _predict(self, request):
        started, status = time.monotonic(), _CLIENT_GONE
        try:
            response = await self._answer(request, started + self._timeout(request))
            status = response.status
            return response
        except Exception as error:
            status = getattr(error, "status", 500)
            raise
        finally:
            self._held_bytes -= request.get(_HELD_BYTES, 0)
            seconds = time.monotonic() - started
            self._metrics.count_request(request.get(_SIGNATURE, ""), status, seconds)

    async def _answer(self, request, deadline):
        """Reads a predict request and answers with what the model makes of it."""
        number, label = self._selected(request)
        verb = request.match_info["verb"]
        if verb != "predict":
            raise RequestError(400, f"this server answers :predict, not :{verb}")
        body = await self._read(request, deadline)
        version = self._versions.acquire(number, label)
        try:
            predict = await self._in_turn(
                len(body), read_predict_request, body, version.signatures
            )
            request[_SIGNATURE] = predict.signature.name
            work = self._queue.submit(version, predict.signature, predict.inputs, deadline)
        except BaseException:
            self._versions.release(version)
            raise
        # The version stays loaded while its work runs, even where the client has gone.
        work.add_done_callback(lambda _: self._versions.release(version))
        outputs = await _result(work, deadline)
        size = _NUMBER_BYTES * sum(output.size for output in outputs.values())
        return web.Response(
            body=await self._in_turn(size, write_predict_response, outputs, predict.row_format),
            content_type="application/json",
            headers={VERSION_HEADER: str(version.number)},
        )

    async def _in_turn(self, size, function, *arguments):
        """Calls a function; for many bytes in a thread, one at a time, lest others wait for it."""
        if size < _LARGE_BODY:
            return function(*arguments)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._json_thread, function, *arguments)

    async def _read(self, request, deadline):
        encoding = request.headers.get("Content-Encoding", "identity").lower()
        if encoding not in ENCODINGS:
            raise RequestError(415, f"Content-Encoding must be one of {', '.join(ENCODINGS)}")
        if (request.content_length or 0) > self._limits.max_request_bytes:
            raise web.HTTPRequestEntityTooLarge(self._limits.max_request_bytes)
        body = await self._body(request, deadline)
        if encoding == "identity":
            return body
        # A few bytes may inflate to as many as are allowed.
        most_bytes = self._limits.max_request_bytes
        body = await self._in_turn(most_bytes, inflate, body, encoding, most_bytes)
        self._hold(request, len(body))
        return body

    async def _body(self, request, deadline):
        if request.content.is_eof():  # all there, as small bodies are
            body = await request.read()
            self._hold(request, len(body))
            return body
        body = bytearray()
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                async for piece in request.content.iter_any():
                    self._hold(request, len(piece))
                    body += piece
                    if len(body) > self._limits.max_request_bytes:
                        raise web.HTTPRequestEntityTooLarge(self._limits.max_request_bytes)
        except TimeoutError:
            raise RequestError(408, "the body did not arrive before the deadline") from None
        except web.RequestPayloadError:
            raise RequestError(400, "the body is cut short") from None
        return bytes(body)

    def _hold(self, request, num_bytes):
        """Counts bytes as the request's until it is answered."""
        if self._held_bytes + num_bytes > self._limits.max_held_bytes:
            raise RequestError(429, f"{self._held_bytes} bytes of requests wait", retry_after=1)
        self._held_bytes += num_bytes
        request[_HELD_BYTES] = request.get(_HELD_BYTES, 0) + num_bytes

    async def _health(self, request):
        return _json_response({"status": "alive"})

    async def _readiness(self, request):
        if self._stopping:
            raise RequestError(503, "the server is shutting down")
        if not self._versions.is_ready:
            raise RequestError(503, "no version of the model is warmed up yet", retry_after=1)
        return _json_response({"status": "ready", "version": str(self._versions.current.number)})

    async def _scrape(self, request):
        body, content_type = self._metrics.write()
        return web.Response(body=body, headers={"Content-Type": content_type})

    def _selected(self, request):
        """Returns the version's number and the label that a path names, None for what it leaves."""
        model = request.match_info["model"]
        if model != self._model_name:
            raise RequestError(404, f"there is no model {model!r}; this is {self._model_name!r}")
        _, kind, value = ("//" + request.match_info["selector"]).rsplit("/", 2)
        if kind == "labels":
            return None, value
        if not kind:
            return None, None
        if not _VERSION.fullmatch(value):
            raise RequestError(400, f"version {value[:40]!r} is not a number")
        return int(value), None

    def _timeout(self, request):
        value = request.headers.get(TIMEOUT_HEADER)
        if value is None:
            return self._limits.timeout_seconds
        try:
            seconds = float(value)
        except ValueError:
            seconds = math.nan
        if not 0 < seconds < math.inf:
            raise RequestError(400, f"{TIMEOUT_HEADER} must be seconds above 0, got {value!r}")
        return min(seconds, self._limits.timeout_seconds)


async def _result(work, deadline):
    """Waits for a `concurrent.futures.Future`, which is cancelled where nobody wants it any more.

    `asyncio.wrap_future` and `asyncio.timeout` were a tenth of what a short text costs.
    """
    loop = asyncio.get_running_loop()
    done_or_late = loop.create_future()

    def wake():
        if not done_or_late.done():
            done_or_late.set_result(None)

    def wake_from_thread(_):
        if not loop.is_closed():
            loop.call_soon_threadsafe(wake)

    work.add_done_callback(wake_from_thread)
    timer = loop.call_later(deadline - time.monotonic(), wake)
    try:
        await done_or_late
    finally:
        timer.cancel()
        work.cancel()
    if work.cancelled() or not work.done():
        raise RequestError(504, "the deadline passed before the model answered")
    return work.result()


async def _answer_or_error(request, handler):
    try:
        return await handler(request)
    except RequestError as error:
        return _json_response({"error": str(error)}, error.status, error.headers)
    except web.HTTPRequestEntityTooLarge as error:
        message = _too_large(request.client_max_size)
        return _json_response({"error": message}, error.status)
    except web.HTTPException as error:  # no such path, wrong method
        headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
        message = f"{request.method} {request.path[:200]}: {error.reason}"
        return _json_response({"error": message}, error.status, headers)
    except Exception:
        _LOGGER.exception("%s %s failed", request.method, request.path[:200])
        return _json_response({"error": "internal error"}, 500)


def _too_large(max_request_bytes):
    return f"the body is larger than {max_request_bytes} bytes"


def _json_response(fields, status=200, headers=None):
    body = json.dumps(fields, indent=1).encode()
    return web.Response(
        body=body, status=status, content_type="application/json", headers=headers
    )
