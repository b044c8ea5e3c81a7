"""The server as a process: it answers, changes versions under load, and ends cleanly."""

import base64
import concurrent.futures
import gzip
import http.client
import json
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf

from official_coca.program import run_program
from official_coca.serving.server import main
from tests.serving.stand_in_saved_model import CORRUPT_PNG, png, stand_in_directory

ROOT = pathlib.Path(__file__).resolve().parents[2]

# The signal comes while the garbage is collected, where an exception of its handler is ignored.
SIGNAL_DURING_IMPORTS = """
import gc, signal, sys
from official_coca.program import run_program
from official_coca.serving.server import main

def interrupt(phase, info):
    if sys.argv[2] in sys.modules:
        gc.callbacks.remove(interrupt)
        signal.raise_signal(int(sys.argv[1]))

gc.callbacks.append(interrupt)
sys.exit(run_program(main, sys.argv[3:]))
"""


def _start(model_dir, *flags):
    """Returns the process and the port of a server."""
    process = subprocess.Popen(
        [sys.executable, "-m", "official_coca.serving.server", f"--model_dir={model_dir}"]
        + ["--port=0", *flags],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    line = process.stdout.readline()
    assert line.startswith("serving coca on http://127.0.0.1:"), line
    return process, int(line.rpartition(":")[2])


class Server:
    """A server process on a free port, over a copy of the stand-in that tests may change."""

    def __init__(self, model_dir):
        self.model_dir = model_dir
        self.process, self.port = _start(model_dir, "--file_system_poll_wait_seconds=0.2")
        while self.ask("GET", "/readyz")[0] != 200:
            time.sleep(0.05)

    def ask(self, method, path, fields=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, None if fields is None else json.dumps(fields))
            response = connection.getresponse()
            answer = json.loads(response.read())
            return response.status, answer, response.getheader("X-Model-Version")
        finally:
            connection.close()

    def predict(self, images, signature="encode_image", **inputs):
        inputs = {"image_bytes": [_b64(image) for image in images], **inputs}
        fields = {"signature_name": signature, "inputs": inputs}
        return self.ask("POST", "/v1/models/coca:predict", fields)


def _b64(content):
    return {"b64": base64.b64encode(content).decode()}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    model_dir = shutil.copytree(stand_in_directory(), tmp_path_factory.mktemp("server") / "models")
    server = Server(model_dir)
    yield server
    server.process.kill()
    server.process.wait()


def test_answers_equal_those_of_the_saved_model(server):
    loaded = tf.saved_model.load(str(stand_in_directory() / "1"))
    images = [png(1), b"no image", png(2)]
    labels, templates = ["cat", "dog"], ["a ", "the "]
    _, answer, _ = server.predict(images, "classify", labels=labels, templates=templates)
    expected = loaded.classify(*map(tf.constant, (images, labels, templates)))
    np.testing.assert_allclose(
        answer["outputs"]["probabilities"], expected["probabilities"], atol=1e-6
    )
    assert answer["outputs"]["valid"] == [True, False, True]
    _, answer, _ = server.predict(images, "score", text=["a", "b"])
    expected = loaded.score(tf.constant(images), tf.constant(["a", "b"]))
    np.testing.assert_allclose(answer["outputs"]["similarity"], expected["similarity"], atol=1e-6)
    _, answer, _ = server.predict(images, "generate", prompt=["a", "b", "c"])
    expected = loaded.generate(tf.constant(images), tf.constant(["a", "b", "c"]))
    assert answer["outputs"]["caption"] == [text.decode() for text in expected["caption"].numpy()]


def test_status_and_metadata(server):
    status, answer, _ = server.ask("GET", "/v1/models/coca/versions/1")
    assert (status, answer["model_version_status"][0]) == (
        200,
        {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}},
    )
    _, answer, _ = server.ask("GET", "/v1/models/coca/metadata")
    assert answer["model_spec"] == {"name": "coca", "signature_name": "", "version": "1"}
    signatures = answer["metadata"]["signature_def"]["signature_def"]
    assert signatures["serving_default"]["inputs"]["image_bytes"]["dtype"] == "DT_STRING"


def test_compressed_request_is_answered(server):
    body = gzip.compress(json.dumps({"instances": [_b64(png())]}).encode())
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.request("POST", "/v1/models/coca:predict", body, {"Content-Encoding": "gzip"})
    assert connection.getresponse().status == 200
    connection.close()


def test_bad_image_of_one_client_harms_no_other(server):
    wanted = server.predict([png(7)])[1]["outputs"]["image_embedding"][0]
    corrupt = CORRUPT_PNG + b"junk"
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda image: server.predict([image]), [png(7), corrupt] * 12))
    for status, answer, _ in answers[::2]:
        assert status == 200
        np.testing.assert_allclose(answer["outputs"]["image_embedding"][0], wanted, atol=1e-5)
    assert {status for status, _, _ in answers[1::2]} == {400}


def test_new_version_replaces_the_old_under_load_without_a_failed_request(server):
    half = server.model_dir / "2"
    half.mkdir()
    shutil.copy(server.model_dir / "1" / "saved_model.pb", half)
    stop = time.monotonic() + 30

    def ask_on():
        seen = []
        while time.monotonic() < stop and "3" not in {version for _, version in seen[:-5]}:
            status, _, version = server.predict([png()])
            seen.append((status, version))
        return seen

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(ask_on) for _ in range(4)]
        shutil.copytree(server.model_dir / "1", server.model_dir / "new")
        (server.model_dir / "new").rename(server.model_dir / "3")
        seen = [answer for future in asked for answer in future.result()]
    assert {status for status, _ in seen} == {200}
    assert {version for _, version in seen} <= {"1", "3"} and ("3" in {v for _, v in seen})


def test_sigterm_lets_what_was_taken_finish_and_exits_with_0(server):
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(server.predict, [png()] * 200, "encode_image") for _ in range(4)]
        time.sleep(0.1)
        server.process.send_signal(signal.SIGTERM)
        for future in asked:
            try:
                assert future.result()[0] == 200
            except ConnectionError:
                pass  # it had not been taken yet
    assert server.process.wait(30) == 0


def test_clients_that_come_with_the_signal_and_ask_for_nothing_do_not_hold_up_the_end(tmp_path):
    process, port = _start(tmp_path, "--shutdown_grace_seconds=20")
    connections = [socket.create_connection(("127.0.0.1", port)) for _ in range(20)]
    connections[0].sendall(b"POST /v1/mod")
    process.send_signal(signal.SIGTERM)
    try:
        assert process.wait(10) == 0
    finally:
        process.kill()
        for connection in connections:
            connection.close()


def test_connection_that_asks_for_nothing_is_closed_after_the_timeout_of_requests(tmp_path):
    process, port = _start(tmp_path, "--request_timeout_seconds=0.5", "--keep_alive_seconds=0.5")
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
            assert connection.recv(1) == b""
    finally:
        process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0


@pytest.mark.parametrize("module", ("tensorflow", "official_coca.serving.rest_app"))
@pytest.mark.parametrize(
    "number, code, error", [(signal.SIGTERM, 0, ""), (signal.SIGINT, 130, "stopped\n")]
)
def test_signal_ends_the_server_while_it_starts(tmp_path, module, number, code, error):
    started = subprocess.run(
        [sys.executable, "-c", SIGNAL_DURING_IMPORTS, str(int(number)), module]
        + [f"--model_dir={tmp_path}", "--port=0"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (started.returncode, started.stdout) == (code, "")
    assert started.stderr.endswith(error) and "Traceback" not in started.stderr


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--model_dir=nowhere"], "nowhere is not a directory"),
        ([], "--model_dir"),
        (["--model_dir=.", "--port=99999"], "0 to 65535"),
        (["--model_dir=.", "--port=x"], "whole number"),
        (["--model_dir=.", "--host=not.a.host.invalid"], "cannot listen"),
        (["--model_dir=.", "--host=" + "a" * 64], "cannot listen"),
        (["--model_dir=.", "--max_batch_size=0"], "1 to 1000000"),
        (["--model_dir=.", "--max_queued_requests=0"], "1 or more"),
        (["--model_dir=.", "--allowed_batch_sizes=1,2"], "end with --max_batch_size=16"),
        (["--model_dir=.", "--request_timeout_seconds=-1"], "above 0"),
        (["--model_dir=.", "--model_name=a/b"], "must be of letters"),
        (["--model_dir=.", "--shared_inputs=classify"], "SIGNATURE:INPUT"),
        (["--model_dir=.", "--prot=1"], "--prot"),
    ],
)
def test_bad_flags_give_one_line_and_exit_code_2(flags, message, capsys):
    assert run_program(main, flags) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_saved_model_itself_is_no_model_dir(capsys):
    assert run_program(main, [f"--model_dir={stand_in_directory() / '1'}"]) == 2
    assert "give the directory above it" in capsys.readouterr().err


def test_port_in_use_gives_one_line(tmp_path, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        flags = [f"--model_dir={tmp_path}", f"--port={taken.getsockname()[1]}"]
        assert run_program(main, flags) == 2
    assert "already in use" in capsys.readouterr().err
