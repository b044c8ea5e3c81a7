"""Bodies of requests that came compressed."""

import zlib

from aiohttp import web

from official_coca.serving.request_error import RequestError

ENCODINGS = ("identity", "gzip", "deflate")
_GZIP, _ZLIB, _BARE = 16 + zlib.MAX_WBITS, zlib.MAX_WBITS, -zlib.MAX_WBITS  # as zlib asks for them


def inflate(body, encoding, most_bytes):
    """Bytes of a gzip or deflate body → the bytes that were compressed.

    Of a deflate body the header may be missing, since clients differ in what they send. A second
    stream is refused rather than read: many small ones take longer than the limit of bytes allows.

    Raises:
        RequestError: 400; the body is not one whole stream of its encoding.
        web.HTTPRequestEntityTooLarge: it has more than `most_bytes`, after which no more is read.
    """
    inflater = zlib.decompressobj(_window(body, encoding))
    try:
        content = inflater.decompress(body, most_bytes + 1)
    except zlib.error:
        raise RequestError(400, f"the body is not {encoding}") from None
    if len(content) > most_bytes:
        raise web.HTTPRequestEntityTooLarge(most_bytes)
    if not inflater.eof:
        raise RequestError(400, f"the body is not {encoding}, or is cut short")
    if inflater.unused_data:
        raise RequestError(400, f"the body has more than one stream of {encoding}")
    return content


def _window(body, encoding):
    if encoding == "gzip":
        return _GZIP
    return _ZLIB if body[:1] and body[0] & 0x0F == zlib.DEFLATED else _BARE
