"""Requests that TF Serving runs before it serves a version, so that no client pays for the first.

Their format needs the package tensorflow-serving-api; without it an export has none.

Source: https://www.tensorflow.org/tfx/serving/saved_model_warmup
"""

import importlib
import pathlib

import numpy as np
import tensorflow as tf

MODEL_NAME = "coca"  # in the configuration of the kit

_DIRECTORY = "assets.extra"
_FILE = "tf_serving_warmup_requests"


def write_warmup_requests(module, path):
    """Writes one request of one row for each signature.

    Args:
        module: an `ExportModule`.
        path: of its SavedModel.

    Returns:
        Whether they could be written.
    """
    try:
        logs = importlib.import_module("tensorflow_serving.apis.prediction_log_pb2")
        predict = importlib.import_module("tensorflow_serving.apis.predict_pb2")
    except ImportError:
        return False
    directory = pathlib.Path(path) / _DIRECTORY
    directory.mkdir()
    inputs = {s.name: example_inputs(module, s) for s in module.offered_signatures}
    inputs["serving_default"] = inputs[module.default_signature.name]
    with tf.io.TFRecordWriter(str(directory / _FILE)) as writer:
        for name in inputs:
            request = predict.PredictRequest()
            request.model_spec.name = MODEL_NAME
            request.model_spec.signature_name = name
            for key, value in inputs[name].items():
                request.inputs[key].CopyFrom(tf.make_tensor_proto(value))
            log = logs.PredictionLog(predict_log=logs.PredictLog(request=request))
            writer.write(log.SerializeToString())
    return True


def example_inputs(module, signature):
    """Returns {input: array of one row} for a signature of an `ExportModule`."""
    height, width = module.sizes["H"], module.sizes["W"]
    picture = tf.io.encode_jpeg(np.full((height, width, 3), 127, np.uint8)).numpy()
    examples = {
        "image_bytes": [picture],
        "images": np.zeros((1, height, width, 3), np.float32),
        "text": ["a photo of a cat"],
        "labels": ["cat"],
        "templates": ["a photo of a {}"],
        "prompt": [""],
        "token_ids": np.array([[module.preprocessor.tokenizer.bos_token_id, 1]], np.int32),
    }
    return {tensor.name: examples[tensor.name] for tensor in signature.inputs}
