"""The load test's client: answers in any pieces, and connections that break."""

import asyncio

import pytest

from benchmarks.http_connection import Connection, header

ANSWER = b"HTTP/1.1 200 OK\r\nX-Model-Version: 3\r\nContent-Length: 5\r\n\r\nhello"


def _talk(answer, ask):
    """Runs `ask` with the URL of a server that meets each request with `answer`'s pieces."""

    async def serve(reader, writer):
        while head := await _head_of(reader):
            await reader.readexactly(int(header(head, b"content-length")))
            for piece in answer:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0.001)
            if len(answer) == 0:
                break
        writer.close()

    async def both():
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            return await ask(f"http://127.0.0.1:{port}/v1/models/coca:predict")

    return asyncio.run(both())


async def _head_of(reader):
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return b""


@pytest.mark.parametrize("cuts", [(), (1, 20), (len(ANSWER) - 5,), (len(ANSWER) - 1,)])
def test_answer_is_whole_in_whatever_pieces_it_comes(cuts):
    edges = [0, *cuts, len(ANSWER)]
    pieces = [ANSWER[start:end] for start, end in zip(edges, edges[1:])]

    async def ask(url):
        connection = await Connection.connect(url)
        answers = [await connection.post(b"body") for _ in range(3)]
        connection.close()
        return answers

    for status, head, body in _talk(pieces, ask):
        assert (status, header(head, b"x-model-version"), body) == (200, b"3", b"hello")


def test_connection_that_the_server_ends_is_not_used_again():
    async def ask(url):
        connection = await Connection.connect(url)
        status, *_ = await connection.post(b"")
        return status, connection.is_open

    last_answer = ANSWER.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    assert _talk([last_answer], ask) == (200, False)


def test_hanging_up_without_an_answer_is_an_error():
    async def ask(url):
        connection = await Connection.connect(url)
        with pytest.raises(ConnectionError, match="hung up"):
            await connection.post(b"body")
        return connection.is_open

    assert _talk([], ask) is False


def test_header_is_found_by_its_lower_case_name():
    assert header(ANSWER, b"content-length") == b"5"
    assert header(ANSWER, b"retry-after") == b""
