"""Warm-up requests, configuration and clients work against real servers of this process."""

import base64
import concurrent.futures
import http.server
import importlib.util
import json
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    message_factory,
    text_format,
    wrappers_pb2,
)

from tests.tiny_models import encoded_images


def load_client(directory, name):
    path = directory / "serving_kit" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    client = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(client)
    return client


def test_script_parses_and_names_the_files_beside_it(directory):
    kit = directory / "serving_kit"
    serve = (kit / "serve.sh").read_text(encoding="utf-8")
    for name in ("models.config", "batching.config", "monitoring.config"):
        assert f"/serving_kit/{name}" in serve and (kit / name).exists()
    assert subprocess.run(["sh", "-n", str(kit / "serve.sh")]).returncode == 0


def test_batching_configuration_is_what_tf_serving_reads(directory):
    text = (directory / "serving_kit" / "batching.config").read_text(encoding="utf-8")
    parameters = text_format.Parse(text, _batching_parameters())
    assert parameters.num_batch_threads.value > 0
    # What the server asks of it (shared_batch_scheduler.h): any request fits into its queue.
    assert parameters.enable_large_batch_splitting.value
    largest, executed = parameters.max_batch_size.value, parameters.max_execution_batch_size.value
    assert executed <= largest <= executed * parameters.max_enqueued_batches.value


def _batching_parameters():
    """An empty `BatchingParameters`, with the fields that we give.

    From TF Serving's session_bundle_config.proto, which tensorflow-serving-api lacks.
    """
    file = descriptor_pb2.FileDescriptorProto(
        name="batching_parameters.proto",
        syntax="proto3",
        dependency=["google/protobuf/wrappers.proto"],
    )
    message = file.message_type.add(name="BatchingParameters")
    kinds = descriptor_pb2.FieldDescriptorProto
    for number, name, kind, type_name in (
        (1, "max_batch_size", kinds.TYPE_MESSAGE, ".google.protobuf.Int64Value"),
        (2, "batch_timeout_micros", kinds.TYPE_MESSAGE, ".google.protobuf.Int64Value"),
        (3, "max_enqueued_batches", kinds.TYPE_MESSAGE, ".google.protobuf.Int64Value"),
        (4, "num_batch_threads", kinds.TYPE_MESSAGE, ".google.protobuf.Int64Value"),
        (7, "pad_variable_length_inputs", kinds.TYPE_BOOL, None),
        (8, "enable_large_batch_splitting", kinds.TYPE_MESSAGE, ".google.protobuf.BoolValue"),
        (9, "max_execution_batch_size", kinds.TYPE_MESSAGE, ".google.protobuf.Int64Value"),
    ):
        message.field.add(name=name, number=number, type=kind, type_name=type_name, label=1)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    descriptor = pool.FindMessageTypeByName("BatchingParameters")
    return message_factory.GetMessageClass(descriptor)()


def test_model_configuration_is_what_tf_serving_reads(directory):
    config = pytest.importorskip(
        "tensorflow_serving.config.model_server_config_pb2", reason="needs tensorflow-serving-api"
    )
    text = (directory / "serving_kit" / "models.config").read_text(encoding="utf-8")
    models = text_format.Parse(text, config.ModelServerConfig()).model_config_list.config
    assert [model.name for model in models] == ["coca"]


def test_warmup_requests_run_for_every_signature(directory, served):
    logs = pytest.importorskip(
        "tensorflow_serving.apis.prediction_log_pb2", reason="needs tensorflow-serving-api"
    )
    path = directory / "1" / "assets.extra" / "tf_serving_warmup_requests"
    names = []
    for record in tf.data.TFRecordDataset(str(path)):
        request = logs.PredictionLog.FromString(record.numpy()).predict_log.request
        names.append(request.model_spec.signature_name)
        inputs = {key: tf.make_ndarray(value) for key, value in request.inputs.items()}
        outputs = served.signatures[names[-1]](
            **{key: tf.constant(value) for key, value in inputs.items()}
        )
        for key, value in outputs.items():
            assert not key.endswith("valid") or value.numpy().all(), names[-1]
    assert sorted(names) == sorted(served.signatures)


def test_export_without_the_serving_package_says_that_warmup_is_left_out(monkeypatch, tmp_path):
    from official_coca.serving.warmup import write_warmup_requests

    monkeypatch.setitem(sys.modules, "tensorflow_serving.apis.prediction_log_pb2", None)
    assert write_warmup_requests(None, tmp_path) is False
    assert not list(tmp_path.iterdir())


class RestHandler(http.server.BaseHTTPRequestHandler):
    """Answers as TF Serving does in columns."""

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        inputs = {
            name: tf.constant(
                [base64.b64decode(v["b64"]) if isinstance(v, dict) else v for v in values]
            )
            for name, values in body["inputs"].items()
        }
        outputs = self.server.served.signatures[body["signature_name"]](**inputs)
        outputs = {name: value.numpy().tolist() for name, value in outputs.items()}
        answer = json.dumps({"outputs": outputs}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def rest_url(served):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), RestHandler)
    server.served = served
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/v1/models/coca"
    server.shutdown()
    server.server_close()


def test_rest_client_gets_the_models_answers(model, directory, rest_url, tmp_path):
    client = load_client(directory, "rest_client")
    images = encoded_images(2)
    outputs = client.predict(rest_url, "encode_image", {"image_bytes": images})
    np.testing.assert_allclose(outputs["image_embedding"], model.encode_image(images), atol=1e-5)
    (tmp_path / "image.png").write_bytes(images[0])
    command = [sys.executable, str(directory / "serving_kit" / "rest_client.py")]
    command += ["classify", str(tmp_path / "image.png"), "--labels", "cat", "dog"]
    ran = subprocess.run([*command, f"--url={rest_url}"], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert abs(sum(json.loads(ran.stdout)["probabilities"][0]) - 1) < 1e-5


def run_client(directory, name, *arguments):
    command = [sys.executable, str(directory / "serving_kit" / f"{name}.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:9/v1/models/coca",
        "http://127.0.0.1:9",
        "http://127.0.0.1:8501x",
        "http://",
        "",
        "http://a b",
    ],
)
def test_rest_client_says_in_a_line_that_there_is_no_server(directory, url):
    ran = run_client(directory, "rest_client", "encode_text", "a cat", f"--url={url}")
    assert ran.returncode == 1 and ran.stderr.startswith(f"no answer from {url}: ")
    assert ran.stderr.count("\n") == 1
    assert ("--url is to be like http://" in ran.stderr) == ("/v1/models" not in url)


@pytest.mark.parametrize("answer", [b"<html>", b"{}", b"[1]", b'{"outputs": {"valid"'])
def test_rest_client_says_in_a_line_that_an_answer_is_none(directory, answer):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *arguments):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.handle_request, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}/v1/models/coca"
    ran = run_client(directory, "rest_client", "encode_text", "a cat", f"--url={url}")
    server.server_close()
    assert ran.returncode == 1 and ran.stderr.startswith(f"no answer from {url}: ")
    assert ran.stderr.count("\n") == 1


def test_rest_client_ends_quietly_when_its_reader_has_gone(directory, rest_url):
    program = str(directory / "serving_kit" / "rest_client.py")
    texts = ["a cat"] * 300  # more output than a pipe holds
    assert_ends_quietly([program, "encode_text", *texts, f"--url={rest_url}"], b"{")


def test_grpc_client_ends_quietly_when_its_reader_has_gone(directory):
    code = """
import runpy, sys, unittest.mock
import numpy as np
for name in ("grpc", "tensorflow_serving", "tensorflow_serving.apis"):
    sys.modules[name] = unittest.mock.MagicMock()
client = runpy.run_path(sys.argv.pop(1))
answer = {"text_embedding": np.zeros((300, 1000)), "valid": np.ones(300, bool)}
client["main"].__globals__["predict"] = lambda *_: answer
sys.exit(client["main"]())
"""
    program = str(directory / "serving_kit" / "grpc_client.py")
    assert_ends_quietly(["-c", code, program, "encode_text", "a cat"], b"text_embedding")


def assert_ends_quietly(arguments, beginning):
    command = [sys.executable, *arguments]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    ran = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    )
    assert ran.stdout.read(len(beginning)) == beginning
    ran.stdout.close()
    errors = ran.stderr.read()
    assert b"Error" not in errors and b"Traceback" not in errors, errors
    assert ran.wait(timeout=60) == 141


def test_rest_client_names_what_the_model_cannot_read(directory, rest_url, tmp_path):
    (tmp_path / "good.png").write_bytes(encoded_images(1)[0])
    (tmp_path / "text.txt").write_text("no picture")
    paths = [str(tmp_path / "good.png"), str(tmp_path / "text.txt")]
    ran = run_client(directory, "rest_client", "encode_image", *paths, f"--url={rest_url}")
    assert ran.returncode == 1 and json.loads(ran.stdout)["valid"] == [True, False]
    assert ran.stderr == f"the model cannot read {paths[1]!r}: its outputs are empty or zero\n"
    texts = ["--texts", "a cat", " "]
    ran = run_client(directory, "rest_client", "score", paths[0], *texts, f"--url={rest_url}")
    assert ran.returncode == 1 and ran.stderr.startswith("the model cannot read ' ':")
    ran = run_client(
        directory, "rest_client", "classify", paths[0], "--labels", "", f"--url={rest_url}"
    )
    assert ran.returncode == 1 and "any of the labels" in ran.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["caption", "missing.png"], "cannot read missing.png: No such file or directory\n"),
        (["caption", "."], "cannot read .: Is a directory\n"),
        (["classify", __file__], "classify needs --labels\n"),
        (["score", __file__], "score needs --texts\n"),
    ],
)
def test_rest_client_says_in_a_line_what_is_missing(directory, arguments, said):
    ran = run_client(directory, "rest_client", *arguments)
    assert ran.returncode == 1 and ran.stderr == said


def test_grpc_client_gets_the_models_answers(model, directory, served):
    pytest.importorskip("tensorflow_serving", reason="needs tensorflow-serving-api")
    import grpc
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    class Service(prediction_service_pb2_grpc.PredictionServiceServicer):
        def Predict(self, request, context):
            inputs = {k: tf.constant(tf.make_ndarray(v)) for k, v in request.inputs.items()}
            response = predict_pb2.PredictResponse()
            for name, value in served.signatures[request.model_spec.signature_name](
                **inputs
            ).items():
                response.outputs[name].CopyFrom(tf.make_tensor_proto(value))
            return response

    client = load_client(directory, "grpc_client")
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(2))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(Service(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            images = encoded_images(2)
            outputs = client.predict(channel, "caption", {"image_bytes": images})
        expected = model.generate(images, sampler="beam", num_beams=3, max_length=8)
        assert [caption.decode() for caption in outputs["caption"]] == expected
        address = f"--address=127.0.0.1:{port}"
        text = b"a cat \xff".decode(errors="surrogateescape")
        ran = run_client(directory, "grpc_client", "encode_text", "a cat", text, address)
        assert ran.returncode == 1 and ran.stderr.splitlines()[-1].startswith("the model cannot")
        ran = run_client(directory, "grpc_client", "caption", "missing.png", address)
        assert ran.stderr.splitlines()[-1] == "cannot read missing.png: No such file or directory"
    finally:
        server.stop(None)
