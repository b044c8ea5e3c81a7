"""A port belongs to one server from the moment that it is told so."""

import pytest

from official_coca.errors import InvalidInputError
from official_coca.serving.listener import listen


def test_port_of_a_server_that_does_not_answer_yet_is_refused():
    with listen("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(InvalidInputError, match=f"--port={port}: Address already in use"):
            listen("127.0.0.1", port)
