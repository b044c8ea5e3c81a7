"""Mistakes at the start of `coca demo`, and of clients, which its terminal does not show."""

import asyncio
import contextlib
import gzip
import json
import os
import signal
import socket
import urllib.parse

import pytest
from aiohttp import compression_utils

from official_coca.commands.demo import command
from official_coca.commands.embedding_index import EmbeddingIndex
from official_coca.serving.listener import LOOPBACK, bind


@pytest.mark.parametrize(
    "arguments, words",
    [
        ([], "--images"),
        (["--images=no/such"], "no/such is not a directory"),
        (["--images="], "--images='' names no directory"),
        (["--images={photos}", "--port=70000"], "70000"),
        (["--images={photos}", "--batch_size=0"], "--batch_size=0"),
        (["--images={photos}", "--host=192.0.2.1"], "--host=192.0.2.1"),
        (["--images={photos}", "--index={photos}", "--port=0"], "--index={photos}"),
    ],
)
def test_mistake_is_one_line_and_exit_code_2(coca, photos, capsys, arguments, words):
    assert coca("demo", *[argument.format(photos=photos) for argument in arguments]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and words.format(photos=photos) in err


def test_port_in_use_is_told_before_the_model_is_loaded(coca, photos, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert coca("demo", f"--images={photos}", f"--port={port}") == 2
    err = capsys.readouterr().err
    assert f"--port={port}: Address already in use; give another --port" in err


@pytest.mark.parametrize("arguments", [["index", "{photos}"], ["demo", "--images={photos}"]])
def test_mistyped_model_leaves_nothing_in_the_directory(coca, photos, arguments):
    arguments = [argument.format(photos=photos) for argument in arguments]
    arguments += ["--port=0"] if arguments[0] == "demo" else []
    assert coca(*arguments, "--model=no/such") == 2
    assert not (photos / "coca_index").exists()
    (photos / "coca_index").mkdir()
    assert coca(*arguments, "--model=no/such") == 2
    assert list((photos / "coca_index").iterdir()) == []


def test_link_out_of_the_directory_is_named_and_not_found(coca, photos, monkeypatch, capsys):
    async def serve(*_):
        pass

    outside = photos.rename(photos.parent / "others") / "a.png"
    (photos / "beach").mkdir(parents=True)
    (photos / "own.png").write_bytes(outside.read_bytes())
    (photos / "within.png").symlink_to("own.png")
    (photos / "beach" / "link.png").symlink_to(outside)
    assert coca("index", photos) == 0
    assert len(EmbeddingIndex(photos).rows) == 3
    monkeypatch.setattr(command, "_serve", serve)
    capsys.readouterr()
    assert coca("demo", f"--images={photos}", "--port=0") == 0
    problem = "it is a link that leads out of the directory"
    lines = [f"skipped {photos}/beach/link.png: {problem}", "1 of 1 images to embed was skipped"]
    assert capsys.readouterr().err.splitlines() == lines
    assert [row.path for row in EmbeddingIndex(photos).rows] == ["own.png", "within.png"]


def answers_to(requests, model, index):
    """What the running program sends back to the bytes of each request, until it closes.

    In a request {token} stands for that of the program's start.
    """
    listener = bind(LOOPBACK, 0)
    port = listener.getsockname()[1]

    async def answer_to(request):
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        with contextlib.closing(writer):
            writer.write(request)
            return await reader.read()

    async def main():
        serving = asyncio.create_task(command._serve(model, "the model", index, listener))
        while not listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            await asyncio.sleep(0.01)
        start = await answer_to(head("GET", "/start"))
        token = json.loads(start.splitlines()[-1])["token"].encode()
        answers = [await answer_to(request.replace(b"{token}", token)) for request in requests]
        os.kill(os.getpid(), signal.SIGINT)
        await serving
        return answers

    return asyncio.run(main())


def head(method, path, *headers):
    lines = (f"{method} {path} HTTP/1.1", "Host: localhost", "Connection: close", *headers)
    return "\r\n".join([*lines, "", ""]).encode()


def post(path, body, *headers):
    return head("POST", path, "Coca-Start: {token}", *headers) + body


def test_malformed_bodies_are_refused_without_a_word_in_the_terminal(
    coca, model, photos, caplog, capsys
):
    assert coca("index", photos) == 0
    capsys.readouterr()
    requests = [
        post("/look", b"zz\r\n", "Transfer-Encoding: chunked"),
        post("/look", b"xx", "Content-Encoding: gzip", "Content-Length: 2"),
        post("/labels", b"xx", "Content-Encoding: br", "Content-Length: 2"),
    ]
    answers = answers_to(requests, model, EmbeddingIndex(photos))
    assert [answer.split()[1] for answer in answers] == [b"400", b"415", b"415"]
    for answer in answers[1:]:
        assert "without Content-Encoding" in json.loads(answer.splitlines()[-1])["error"]
    assert not caplog.records and capsys.readouterr().err == "stopped\n"


@pytest.mark.parametrize("character", ["a", "\u732b", "\U0001f408"])
def test_text_of_a_thousand_characters_is_searched_for_in_any_script(
    coca, model, photos, character
):
    assert coca("index", photos) == 0
    path = f"/search?text={urllib.parse.quote(character * 1000)}"
    request = head("GET", path, "Coca-Start: {token}")
    (answer,) = answers_to([request], model, EmbeddingIndex(photos))
    assert answer.split()[1] == b"200", answer


def test_compressed_body_is_never_inflated(coca, model, photos, monkeypatch):
    assert coca("index", photos) == 0
    inflated = []
    inflate = compression_utils.ZLibDecompressor.decompress_sync

    def record(*arguments, **options):
        inflated.append(inflate(*arguments, **options))
        return inflated[-1]

    monkeypatch.setattr(compression_utils.ZLibDecompressor, "decompress_sync", record)
    bomb = gzip.compress(bytes(2**24))
    headers = ("Content-Encoding: gzip", f"Content-Length: {len(bomb)}")
    (answer,) = answers_to([post("/look", bomb, *headers)], model, EmbeddingIndex(photos))
    assert answer.split()[1] == b"415" and not inflated
