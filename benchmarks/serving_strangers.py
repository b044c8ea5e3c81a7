"""Clients that are a burden to a model server, and short texts beside them."""

import asyncio
import base64
import contextlib
import io
import json
import urllib.parse

from PIL import Image
from serving_traffic import Request, Row, send_all

_PICTURES = 4000  # of a large request
_LARGE_REQUESTS = 2
_SLOW_BODIES = 300
_SLOW_BYTES = 100_000  # that each of them promises
_HEAD_START = 1.0  # seconds before the first short text
_SHORT_TEXTS = 5


def strangers_of_a_server(num_clients):
    """{name: what an async context manager of a URL does to the server while it is open}."""
    return {
        "large requests": _large_requests,
        "large requests of clients that have gone": _abandoned_requests,
        "slow bodies": _slow_bodies,
        f"{num_clients} clients that hang up in the middle": lambda url: _torn(url, num_clients),
    }


async def answers_beside(burden, url):
    """The answers to short texts, one after the other, beside a burden."""
    async with burden(url):
        await asyncio.sleep(_HEAD_START)
        text = Request("encode_text", [Row(b"a cat", is_text=True)])
        return await send_all(url, [text] * _SHORT_TEXTS, clients=1)


@contextlib.asynccontextmanager
async def _large_requests(url):
    async with _sent(url, [_large_request(url)] * _LARGE_REQUESTS):
        yield


@contextlib.asynccontextmanager
async def _abandoned_requests(url):
    async with _sent(url, [_large_request(url)] * _LARGE_REQUESTS):
        await asyncio.sleep(_HEAD_START)
    yield


@contextlib.asynccontextmanager
async def _slow_bodies(url):
    head = _head(url, _SLOW_BYTES)
    async with _sent(url, [head + b"{"] * _SLOW_BODIES) as writers:

        async def drip():
            while True:
                await asyncio.sleep(0.2)
                for writer in writers:
                    writer.write(b" ")

        dripping = asyncio.create_task(drip())
        try:
            yield
        finally:
            dripping.cancel()


@contextlib.asynccontextmanager
async def _torn(url, num_clients):
    request = _large_request(url)
    async with _sent(url, [request[: len(request) // 2]] * num_clients):
        await asyncio.sleep(_HEAD_START)
    yield


@contextlib.asynccontextmanager
async def _sent(url, contents):
    """Connections that have sent these bytes and are closed at the end; gives their writers."""
    parts = urllib.parse.urlsplit(url)
    writers = []
    try:
        for content in contents:
            _, writer = await asyncio.open_connection(parts.hostname, parts.port)
            writers.append(writer)
            writer.write(content)
        yield writers
    finally:
        for writer in writers:
            writer.close()


def _large_request(url):
    """Captions of thousands of small pictures with one prompt for all, in a body of 0.6 MB."""
    file = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(file, "PNG")
    picture = {"b64": base64.b64encode(file.getvalue()).decode()}
    inputs = {"image_bytes": [picture] * _PICTURES, "prompt": ["a"]}
    body = json.dumps({"signature_name": "generate", "inputs": inputs}).encode()
    return _head(url, len(body)) + body


def _head(url, num_bytes):
    parts = urllib.parse.urlsplit(url)
    head = f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
    return f"{head}Content-Length: {num_bytes}\r\n\r\n".encode()
