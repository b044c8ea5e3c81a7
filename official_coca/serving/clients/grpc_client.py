"""Asks a model server over gRPC; needs tensorflow and tensorflow-serving-api.

    python grpc_client.py encode_image photo.jpg other.png
    python grpc_client.py encode_text "a cat" "a dog"
    python grpc_client.py caption photo.jpg
"""

import argparse
import os
import pathlib
import sys

import grpc
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

# What a shell reports of a program that SIGPIPE ended: 128 + 13.
_BROKEN_PIPE = 141


def predict(channel, signature_name, inputs, model_name="coca", timeout=30.0):
    """Returns {output: numpy array} of a signature.

    Args:
        channel: a `grpc.Channel`.
        signature_name: of the model.
        inputs: {input: what `tf.make_tensor_proto` takes}.
        model_name: in the server's configuration.
        timeout: seconds.
    """
    request = predict_pb2.PredictRequest()
    request.model_spec.name = model_name
    request.model_spec.signature_name = signature_name
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    response = stub.Predict(request, timeout)
    return {name: tf.make_ndarray(value) for name, value in response.outputs.items()}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("signature", choices=["encode_image", "encode_text", "caption"])
    parser.add_argument("values", nargs="+", help="image files, or texts for encode_text")
    parser.add_argument("--address", default="localhost:8500")
    flags = parser.parse_args()
    if flags.signature == "encode_text":
        # An argument that is not UTF-8 goes as the bytes it is.
        inputs = {"text": [text.encode(errors="surrogateescape") for text in flags.values]}
    else:
        try:
            inputs = {"image_bytes": [pathlib.Path(path).read_bytes() for path in flags.values]}
        except OSError as error:
            return f"cannot read {error.filename}: {error.strerror}"
    try:
        with grpc.insecure_channel(flags.address) as channel:
            outputs = predict(channel, flags.signature, inputs)
    except grpc.RpcError as error:
        return f"{flags.address}: {error.code().name}: {error.details()}"
    try:
        for name, values in outputs.items():
            print(f"{name}: {values.tolist()}", flush=True)
    except BrokenPipeError:
        # Who read the output has gone, as `head` does. Python would flush once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _BROKEN_PIPE
    bad = [value for value, is_valid in zip(flags.values, outputs["valid"]) if not is_valid]
    return f"the model cannot read {', '.join(bad)}: its outputs are empty or zero" if bad else None


if __name__ == "__main__":
    sys.exit(main())
