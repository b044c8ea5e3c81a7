"""JSON answers to the page, and errors as one line of them."""

import logging

from aiohttp import web

from official_coca.errors import InvalidInputError
from official_coca.serving.request_error import RequestError

_LOGGER = logging.getLogger(__name__)


@web.middleware
async def answer_errors(request, handler):
    """Makes {"error": one line} of what a handler raises."""
    try:
        return await handler(request)
    except InvalidInputError as error:
        return json_response({"error": str(error)}, 422)
    except RequestError as error:
        return json_response({"error": str(error)}, error.status, error.headers)
    except web.HTTPRequestEntityTooLarge:
        limit = f"{request.client_max_size // 2**20} MB"
        return json_response({"error": f"the file is larger than {limit}"}, 413)
    except web.HTTPException as error:  # no such path, wrong method
        return json_response({"error": error.reason}, error.status)
    except ConnectionResetError:  # the visitor has gone on
        raise
    except Exception:
        _LOGGER.exception("%s %s failed", request.method, request.path[:200])
        message = "this failed; the terminal of the program says why"
        return json_response({"error": message}, 500)


def json_response(fields, status=200, headers=None):
    """An answer that no browser keeps."""
    headers = {"Cache-Control": "no-store", **(headers or {})}
    return web.json_response(fields, status=status, headers=headers)
