"""Where a server of this package listens: the flags --host and --port, and the socket."""

import argparse
import re
import socket

from official_coca.errors import InvalidInputError

LOOPBACK = "127.0.0.1"  # no other machine reaches it
_MOST_PORT = 65535


def port_number(text):
    """The `type` of the flag --port: 0, which takes a free one, to 65535."""
    if not re.fullmatch("[0-9]{1,5}", text) or int(text) > _MOST_PORT:
        raise argparse.ArgumentTypeError(
            f"must be a whole number, 0 to {_MOST_PORT}, got {text!r}"
        )
    return int(text)


def listen(host, port):
    """Returns a socket that listens, so that a port in use is known before TensorFlow starts.

    A client that connects earlier than the server answers waits for it.

    Raises:
        InvalidInputError: the address is none of this machine, or the port is taken.
    """
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen()  # only now is the port this program's: two may bind to one
    except OSError as error:
        raise InvalidInputError(
            f"cannot listen on --host={host} --port={port}: {error.strerror}"
        ) from error
    except UnicodeError as error:  # a name with a part that is empty or too long
        raise InvalidInputError(f"cannot listen on --host={host}: {error}") from error
    return listener


def url(listener):
    """The address of a socket that listens, for a browser."""
    host, port = listener.getsockname()[:2]
    host = f"[{host}]" if ":" in host else host
    return f"http://{host}:{port}"
