"""Only a connection that asks for something is kept."""

import asyncio

from aiohttp import web

from official_coca.serving.first_request import FirstRequest

HEAD = b"GET / HTTP/1.1\r\nHost: localhost\r\n"


async def _answer(request):
    return web.Response(text="answer")


async def _send(port, sent):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    return reader, writer


async def _check():
    first_request = FirstRequest(0.3)
    application = web.Application(middlewares=[first_request.middleware])
    application.add_routes([web.get("/", _answer)])
    runner = web.AppRunner(application)
    await runner.setup()
    watched = first_request.watched(runner.server)
    async with await asyncio.get_running_loop().create_server(watched, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        asked, writer = await _send(port, HEAD + b"\r\n")
        await asked.readuntil(b"answer")
        for sent in (b"", HEAD):
            reader, _ = await _send(port, sent)
            assert await asyncio.wait_for(reader.read(), 10) == b""
        writer.write(HEAD + b"\r\n")
        assert b"200 OK" in await asked.readuntil(b"answer")
        await runner.cleanup()


def test_connection_without_a_whole_head_is_closed_and_one_that_asked_is_kept():
    asyncio.run(_check())
