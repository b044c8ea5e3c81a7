"""The client side of a load test: connections that post and do next to nothing besides.

A client takes its time from the cores that it shares with the server. aiohttp's took as much for a
short text as the server's own HTTP, and so hid what the server could do.
"""

import asyncio
import urllib.parse

_TIMEOUT_SECONDS = 120


class Connection(asyncio.Protocol):
    """A connection that is kept for one request after the other; use `connect`.

    It reads what the model server writes: heads with a Content-Length.
    """

    def __init__(self, host, path):
        self._head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: ".encode()
        self._received = bytearray()
        self._size = None  # of the answer, once its head is there
        self._answer = None
        self.is_open = False

    @classmethod
    async def connect(cls, url):
        """Returns a connection to the server of a URL, whose path it will post to."""
        parts = urllib.parse.urlsplit(url)
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(
            lambda: cls(parts.netloc, parts.path), parts.hostname, parts.port
        )
        return connection

    async def post(self, body):
        """Returns the status, the head and the body of the answer, both as bytes.

        Raises:
            ConnectionError: the connection broke, or there was no answer in two minutes.
        """
        loop = asyncio.get_running_loop()
        self._answer = loop.create_future()
        self._transport.write(b"%s%d\r\n\r\n%s" % (self._head, len(body), body))
        timer = loop.call_later(_TIMEOUT_SECONDS, self._transport.abort)
        try:
            return await self._answer
        finally:
            timer.cancel()

    def close(self):
        self._transport.close()

    def connection_made(self, transport):
        self._transport, self.is_open = transport, True

    def connection_lost(self, error):
        self.is_open = False
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionError(str(error or "the server hung up")))

    def data_received(self, data):
        self._received += data
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return
        if self._size is None:
            head = bytes(self._received[:end])
            self._size = end + 4 + int(header(head, b"content-length"))
        if len(self._received) >= self._size:
            head, body = bytes(self._received[:end]), bytes(self._received[end + 4 : self._size])
            self._received, self._size = bytearray(), None
            if header(head, b"connection").lower() == b"close":
                self._transport.close()
                self.is_open = False
            self._answer.set_result((int(head.split(b" ", 2)[1]), head, body))


def header(head, name):
    """The value of a header, its name in lower case; b"" where there is none."""
    start = head.lower().find(b"\r\n" + name + b":")
    if start < 0:
        return b""
    return head[start + len(name) + 3 :].partition(b"\r\n")[0].strip()
