"""Where a server of this package listens: the flags --host and --port, and the bound socket."""

import argparse
import errno
import ipaddress
import re
import socket

from official_coca.errors import InvalidInputError

LOOPBACK = "127.0.0.1"  # no other machine reaches it
_LOOPBACK_6 = "::1"
_MOST_PORT = 65535


def port_number(text):
    """The `type` of the flag --port: 0, which takes a free one, to 65535."""
    if not re.fullmatch("[0-9]{1,5}", text) or int(text) > _MOST_PORT:
        raise argparse.ArgumentTypeError(
            f"must be a whole number, 0 to {_MOST_PORT}, got {text!r}"
        )
    return int(text)


def bind(host, port):
    """Returns a bound socket, so that a port in use is known before TensorFlow starts.

    Until `start_listening` its clients are refused, as those of a server that is not there.

    Raises:
        InvalidInputError: the address is none of this machine, or the port is taken.
    """
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        raise _cannot_listen(host, port, error) from error
    except UnicodeError as error:  # a name with a part that is empty or too long
        raise InvalidInputError(f"cannot listen on --host={host}: {error}") from error
    return listener


def start_listening(listener):
    """Takes clients on a bound socket.

    Raises:
        InvalidInputError: another program listens on the port, bound to it at the same time.
    """
    try:
        listener.listen()
    except OSError as error:
        raise _cannot_listen(*listener.getsockname()[:2], error) from error


def url(listener):
    """The address of a bound socket."""
    return _url(*listener.getsockname()[:2])


def local_url(listener):
    """An address of a bound socket that a browser on this machine opens."""
    host, port = listener.getsockname()[:2]
    if ipaddress.ip_address(host).is_unspecified:  # every address, but none to open
        host = _LOOPBACK_6 if ":" in host else LOOPBACK
    return _url(host, port)


def _url(host, port):
    host = f"[{host}]" if ":" in host else host
    return f"http://{host}:{port}"


def _cannot_listen(host, port, error):
    remedy = "; give another --port" if error.errno == errno.EADDRINUSE else ""
    return InvalidInputError(
        f"cannot listen on --host={host} --port={port}: {error.strerror}{remedy}"
    )
