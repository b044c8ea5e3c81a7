"""Mistakes at the start of `coca demo`."""

import socket

import pytest


@pytest.mark.parametrize(
    "arguments, words",
    [
        ([], "--images"),
        (["--images=no/such"], "no/such is not a directory"),
        (["--images={photos}", "--port=70000"], "70000"),
        (["--images={photos}", "--batch_size=0"], "--batch_size=0"),
        (["--images={photos}", "--host=192.0.2.1"], "--host=192.0.2.1"),
        (["--images={photos}", "--index={photos}", "--port=0"], "--index={photos}"),
    ],
)
def test_mistake_is_one_line_and_exit_code_2(coca, photos, capsys, arguments, words):
    assert coca("demo", *[argument.format(photos=photos) for argument in arguments]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and words.format(photos=photos) in err


def test_port_in_use_is_told_before_the_model_is_loaded(coca, photos, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert coca("demo", f"--images={photos}", f"--port={port}") == 2
    assert f"--port={port}" in capsys.readouterr().err
