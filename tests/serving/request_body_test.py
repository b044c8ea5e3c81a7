"""Compressed bodies become what was compressed, or one line that says what is wrong with them."""

import gzip
import tracemalloc
import zlib

import pytest
from aiohttp import web

from official_coca.serving.request_body import inflate
from official_coca.serving.request_error import RequestError

CONTENT = b'{"instances": [1, 2, 3]}'


def _deflate_without_header(content):
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressor.compress(content) + compressor.flush()


COMPRESSED = {
    "gzip": ("gzip", gzip.compress(CONTENT)),
    "zlib": ("deflate", zlib.compress(CONTENT)),
    "bare deflate": ("deflate", _deflate_without_header(CONTENT)),
}


@pytest.mark.parametrize("case", COMPRESSED)
def test_body_of_just_the_limit_is_read_and_of_one_byte_more_refused(case):
    encoding, body = COMPRESSED[case]
    assert inflate(body, encoding, len(CONTENT)) == CONTENT
    with pytest.raises(web.HTTPRequestEntityTooLarge):
        inflate(body, encoding, len(CONTENT) - 1)


@pytest.mark.parametrize("case", COMPRESSED)
def test_body_that_is_cut_short_or_goes_on_is_refused(case):
    encoding, body = COMPRESSED[case]
    for wrong in (b"", body[:1], body[:-1], body + body, body + b"\0", body[:-5] + b"\xff" * 5):
        with pytest.raises(RequestError, match=f"^the body .*{encoding}") as raised:
            inflate(wrong, encoding, 10 * len(CONTENT))
        assert raised.value.status == 400


@pytest.mark.parametrize("encoding", ("gzip", "deflate"))
def test_body_that_is_not_compressed_is_refused(encoding):
    with pytest.raises(RequestError, match=f"is not {encoding}"):
        inflate(CONTENT, encoding, 10 * len(CONTENT))


def test_no_more_memory_is_taken_than_the_limit_asks_for():
    body = gzip.compress(b" " * 2**26)
    tracemalloc.start()
    try:
        with pytest.raises(web.HTTPRequestEntityTooLarge):
            inflate(body, "gzip", 2**20)
        assert tracemalloc.get_traced_memory()[1] < 2**23
    finally:
        tracemalloc.stop()
