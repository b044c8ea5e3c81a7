"""What keeps other web pages, and hostile file names, away from the images.

The page loads nothing but its own files, so that no text can become a program in it, and other
pages in the same browser can neither read from this program nor make it work.
"""

import ipaddress

from aiohttp import web

from official_coca.serving.request_error import RequestError

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' blob: data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_STRANGERS = ("cross-site", "same-site")  # of the header Sec-Fetch-Site


async def add_headers(_, response):
    """Signal handler: every answer carries the rules for the browser."""
    response.headers.update(_HEADERS)


def guard(bound_host):
    """Returns the middleware that refuses what does not come from the page.

    Args:
        bound_host: the address that the program listens on. On loopback a request must name this
            machine: a foreign name that leads here is an attack (DNS rebinding).
    """
    loopback = ipaddress.ip_address(bound_host).is_loopback

    @web.middleware
    async def check(request, handler):
        if loopback and not _names_this_machine(request.host):
            raise RequestError(403, f"this program is not {request.host[:100]!r}")
        if request.path != "/" and request.headers.get("Sec-Fetch-Site") in _STRANGERS:
            raise RequestError(403, "another web page asks for this; open the page itself")
        return await handler(request)

    return check


def _names_this_machine(host):
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdecimal() else host
    name = name.removeprefix("[").removesuffix("]")
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
