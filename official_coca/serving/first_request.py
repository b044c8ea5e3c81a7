"""Connections that ask for nothing, which would hold the server's files until none is left."""

import asyncio

from aiohttp import web


class FirstRequest:
    """Closes connections from which no whole head of a request has come in time.

    aiohttp alone waits an hour for one, as it does for a client that may ask again.

    Args:
        seconds: from the start of a connection.
    """

    def __init__(self, seconds):
        self._seconds = seconds
        self._timers = {}  # of connections that have not asked for anything yet, by their handler

    def watched(self, make_handler):
        """Returns what makes handlers, as `loop.create_server` asks for it, and watches them."""

        def make():
            handler = make_handler()
            loop = asyncio.get_running_loop()
            self._timers[handler] = loop.call_later(self._seconds, self._close, handler)
            return handler

        return make

    @web.middleware
    async def middleware(self, request, handler):
        """Of the application whose connections are watched."""
        timer = self._timers.pop(request.protocol, None)
        if timer is not None:
            timer.cancel()
        return await handler(request)

    def _close(self, handler):
        del self._timers[handler]
        handler.force_close()
