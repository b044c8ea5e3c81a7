"""Requests for a load test of the model server, good and bad, and clients that send them.

Good rows have a reference, the answer to the row alone, so that rows that were mixed up or harmed
by their neighbours are found.
"""

import asyncio
import base64
import dataclasses
import functools
import io
import itertools
import json
import random
import time
import zlib

import numpy as np
import uvloop
from http_connection import Connection, header
from PIL import Image

# The output to compare and the inputs of each signature, as the exported captioner names them.
SIGNATURES = {
    "encode_image": "image_embedding",
    "encode_text": "text_embedding",
    "classify": "probabilities",
    "generate": "caption",
}
LABELS = ["a cat", "a dog", "a red car", "a tree"]
TEMPLATES = ["a photo of {}."]
TOLERANCE = 1e-4  # of a row in a batch of another size
BOMB_SIDE = 20_000


@dataclasses.dataclass
class Row:
    """An input: encoded image or text. kind: "good", or in what way it is bad."""

    content: bytes
    kind: str = "good"
    is_text: bool = False


@dataclasses.dataclass
class Request:
    """Rows for one signature and the body that carries them."""

    signature: str
    rows: list
    body: bytes = b""

    def __post_init__(self):
        values = [_base64(row.content) for row in self.rows]
        if self.signature == "classify":
            fields = {
                "inputs": {"image_bytes": values, "labels": LABELS, "templates": TEMPLATES}
            }
        elif self.signature == "generate":
            fields = {"instances": [{"image_bytes": value, "prompt": ""} for value in values]}
        else:
            fields = {"instances": values}
        self.body = json.dumps({"signature_name": self.signature, **fields}).encode()

    @property
    def is_good(self):
        return all(row.kind == "good" for row in self.rows)


@dataclasses.dataclass
class Answer:
    """What came back: status 0 for a connection that broke."""

    request: Request
    status: int
    seconds: float
    version: str
    body: bytes
    finished: float
    is_wrong: bool = False

    @functools.cached_property
    def columns(self):
        """{output: values}, {} for an error."""
        if self.status != 200:
            return {}
        fields = json.loads(self.body)
        if "outputs" in fields:
            return fields["outputs"]
        rows = fields["predictions"]
        return {name: [row[name] for row in rows] for name in rows[0]}


def good_rows(count=24, seed=0):
    """Pictures and texts, `count` of each."""
    rng = np.random.default_rng(seed)
    rows = []
    for index in range(count):
        pixels = rng.integers(0, 256, size=(6, 8, 3), dtype=np.uint8)
        image = Image.fromarray(pixels).resize((96 + 8 * (index % 5), 96), Image.BICUBIC)
        rows.append(Row(_encode(image, "PNG")))
        words = " ".join(rng.choice("a red blue dog cat tree house on the hill".split(), size=6))
        rows.append(Row(f"{index} {words}".encode(), is_text=True))
    return rows


def bad_rows():
    """One row of each bad kind."""
    image = Image.fromarray(np.arange(48 * 48 * 3, dtype=np.uint8).reshape(48, 48, 3))
    frames = [image.rotate(angle) for angle in (0, 90, 180)]
    sixteen_bits = Image.fromarray(np.arange(48 * 48, dtype=np.uint16).reshape(48, 48) * 20)
    return [
        Row(b"not an image", "undecodable"),
        Row(_encode(image, "PNG")[:80], "cut short"),
        Row(b"", "empty"),
        Row(_encode(frames[0], "GIF", save_all=True, append_images=frames[1:]), "animated"),
        Row(_encode(image.convert("CMYK"), "JPEG"), "CMYK"),
        Row(_encode(sixteen_bits, "PNG"), "16 bits"),
        Row(_encode(image.resize((1, 1)), "PNG"), "1x1"),
        Row(_bomb(), "20,000x20,000"),
        Row(b"a cat \xff\xfe", "invalid UTF-8", is_text=True),
    ]


def make_requests(count, mix, good, bad, bad_share, seed=0):
    """Returns `count` requests of one row; a bad row has a good one beside it every second time.

    Args:
        mix: {signature: weight}.
        good: rows of `good_rows`.
        bad: rows of `bad_rows`.
        bad_share: of the requests.
    """
    choose = random.Random(seed)
    names, weights = list(mix), list(mix.values())
    made = {}
    bad_at = set(choose.sample(range(count), round(count * bad_share)))
    next_bad = itertools.cycle(range(2 * len(bad)))
    requests = []
    for index in range(count):
        signature = choose.choices(names, weights)[0]
        rows = []
        if index in bad_at:
            number = next(next_bad)
            rows = [bad[number % len(bad)]]
            wants_text = rows[0].is_text
            fitting = [name for name in names if (name == "encode_text") == wants_text]
            signature = choose.choice(fitting) if fitting else signature
        if not rows or number % 2:
            is_text = signature == "encode_text"
            rows = [choose.choice([row for row in good if row.is_text == is_text]), *rows]
        key = (signature, *map(id, rows))
        if key not in made:
            made[key] = Request(signature, rows)
        requests.append(made[key])
    return requests


async def send_all(url, requests, clients, references=None, on_answer=None):
    """Sends the requests, each client one after the other; returns the answers as they came.

    With references each answer is checked on arrival, and of its columns only `valid` is kept.
    """
    answers, waiting = [], iter(requests)

    async def client():
        connection = None
        for request in waiting:
            answer, connection = await _send(connection, url, request)
            if references is not None and answer.status == 200:
                answer.is_wrong = references.are_missed_by(answer)
                answer.columns = {"valid": answer.columns.get("valid")}
                answer.body = b""
            answers.append(answer)
            if on_answer is not None:
                on_answer(answers)
        if connection is not None:
            connection.close()

    await asyncio.gather(*(client() for _ in range(clients)))
    return answers


async def _send(connection, url, request):
    """Returns the answer and the connection to send the next request on."""
    started = time.perf_counter()
    status, version, body = 0, "", b""
    try:
        if connection is None or not connection.is_open:
            connection = await Connection.connect(url)
        status, head, body = await connection.post(request.body)
        version = header(head, b"x-model-version").decode()
    except OSError:
        pass
    finished = time.perf_counter()
    return Answer(request, status, finished - started, version, body, finished), connection


class References:
    """The answers to good rows alone, asked for one after the other.

    Args:
        url: of predict requests.
        signatures: names.
        rows: of `good_rows`.
    """

    def __init__(self, url, signatures, rows):
        requests = [
            Request(signature, [row])
            for signature in signatures
            for row in rows
            if row.is_text == (signature == "encode_text")
        ]
        self._values = {}
        for answer in uvloop.run(send_all(url, requests, 1)):
            if answer.status != 200:
                raise RuntimeError(
                    f"{answer.request.signature} answered a good request with {answer.status}"
                )
            signature = answer.request.signature
            value = answer.columns[SIGNATURES[signature]][0]
            self._values[signature, answer.request.rows[0].content] = value

    def are_missed_by(self, answer):
        """Whether a good row of an answer is not valid, or differs from the row alone."""
        signature = answer.request.signature
        for index, row in enumerate(answer.request.rows):
            if row.kind != "good":
                continue
            value = answer.columns[SIGNATURES[signature]][index]
            wanted = self._values[signature, row.content]
            valid = answer.columns.get("valid", [True] * (index + 1))[index]
            same = value == wanted
            if not isinstance(value, str):
                same = np.allclose(value, wanted, rtol=0, atol=TOLERANCE)
            if not (valid and same):
                return True
        return False


def _base64(content):
    return {"b64": base64.b64encode(content).decode()}


def _encode(image, file_format, **options):
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def _bomb():
    """A PNG of some hundred kilobytes whose pixels would take 400 MB."""
    compress = zlib.compressobj(9)
    row = bytes(BOMB_SIDE + 1)
    data = b"".join(compress.compress(row) for _ in range(BOMB_SIDE)) + compress.flush()
    header = BOMB_SIDE.to_bytes(4, "big") * 2 + bytes([8, 0, 0, 0, 0])
    chunks = [(b"IHDR", header), (b"IDAT", data), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        len(content).to_bytes(4, "big")
        + name
        + content
        + zlib.crc32(name + content).to_bytes(4, "big")
        for name, content in chunks
    )
