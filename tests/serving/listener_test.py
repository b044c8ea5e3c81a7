"""A port belongs to the server that listens on it first."""

import socket

import pytest

from official_coca.errors import InvalidInputError
from official_coca.serving.listener import bind, local_url, start_listening, url


def test_second_of_two_servers_that_bind_at_once_is_refused_when_it_starts_to_listen():
    with bind("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with bind("127.0.0.1", port) as second:
            start_listening(first)
            with pytest.raises(InvalidInputError, match=f"--port={port}: Address already in use"):
                start_listening(second)
        with pytest.raises(InvalidInputError, match=f"--port={port}: Address already in use"):
            bind("127.0.0.1", port)


def test_clients_are_refused_until_the_server_listens():
    with bind("127.0.0.1", 0) as listener, socket.socket() as client:
        with pytest.raises(ConnectionRefusedError):
            client.connect(listener.getsockname())
        start_listening(listener)
        client.connect(listener.getsockname())


@pytest.mark.parametrize("host, opened", [("0.0.0.0", "127.0.0.1"), ("127.0.0.2", "127.0.0.2")])
def test_address_to_open_is_none_that_stands_for_all(host, opened):
    with bind(host, 0) as listener:
        port = listener.getsockname()[1]
        assert local_url(listener) == f"http://{opened}:{port}"
        assert url(listener) == f"http://{host}:{port}"
