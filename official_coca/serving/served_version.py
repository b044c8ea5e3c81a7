"""One version of a SavedModel: checked for being whole, loaded, warmed up, called, let go.

Shapes: B rows of a request.
"""

import gc
import logging
import math
import pathlib

import numpy as np
import tensorflow as tf

from official_coca.serving.signature import read_meta_graph, read_signatures
from official_coca.serving.text_operations import register_text_operations

WARMUP_FILE = pathlib.PurePath("assets.extra", "tf_serving_warmup_requests")
_LOGGER = logging.getLogger(__name__)


class ServedVersion:
    """A loaded SavedModel whose signatures take and give NumPy arrays.

    Args:
        number: of the version.
        directory: of the SavedModel.

    Raises:
        ValueError, OSError, tf.errors.OpError: it is not whole; what TensorFlow raises on loading
            is passed on.
    """

    def __init__(self, number, directory):
        directory = pathlib.Path(directory)
        meta_graph = read_meta_graph(directory)
        check_files(directory, meta_graph)
        self.number = number
        self.signatures = read_signatures(meta_graph)
        register_text_operations(meta_graph)
        self._loaded = tf.saved_model.load(str(directory))
        self._functions = {name: self._loaded.signatures[name] for name in self.signatures}
        self._directory = directory

    def run(self, signature_name, inputs):
        """{name: array} → {name: array}; strings are arrays of bytes objects.

        Inputs that are left out take the defaults that the signature has.
        """
        inputs = self.signatures[signature_name].defaults | inputs
        tensors = {name: tf.constant(array) for name, array in inputs.items()}
        outputs = self._functions[signature_name](**tensors)
        return {name: _to_array(output) for name, output in outputs.items()}

    def warm_up(self):
        """Answers the recorded requests of the SavedModel, or one small request a signature.

        A recorded request that fails raises what TensorFlow says; a small one made up here does
        not, since a signature may refuse it.
        """
        recorded = _recorded_requests(self._directory / WARMUP_FILE)
        if recorded:
            for signature_name, inputs in recorded:
                self.run(signature_name, inputs)
            return
        for name, signature in self.signatures.items():
            try:
                self.run(name, {key: _smallest(info) for key, info in signature.inputs.items()})
            except tf.errors.OpError as error:
                _LOGGER.info("signature %s refused an empty request: %s", name, _line(error))

    def close(self):
        """Gives the memory back; the version cannot be called afterwards."""
        self._functions = self._loaded = None
        gc.collect()


def _to_array(tensor):
    value = tensor.numpy()
    return np.array(value, dtype=object) if isinstance(value, bytes) else value  # one string


def check_files(directory, meta_graph):
    """Raises `ValueError` where a file that the SavedModel refers to is missing or short."""
    for asset in meta_graph.asset_file_def:
        if not (directory / "assets" / asset.filename).is_file():
            raise ValueError(f"{directory} lacks assets/{asset.filename}")
    variables = directory / "variables"
    if not variables.is_dir():
        if any(node.HasField("variable") for node in meta_graph.object_graph_def.nodes):
            raise ValueError(f"{directory} lacks variables/")
        return
    shards = sorted(variables.glob("variables.data-?????-of-?????"))
    if not (variables / "variables.index").is_file() or not shards:
        raise ValueError(f"{variables} lacks variables.index or variables.data")
    if len(shards) != int(shards[0].name.rpartition("-")[2]):
        raise ValueError(f"{variables} has {len(shards)} of its data files: {shards[0].name} ...")
    there = sum(shard.stat().st_size for shard in shards)
    if there < (wanted := _variable_bytes(variables / "variables")):
        raise ValueError(f"{variables} has {there} bytes of data of at least {wanted}")


def _variable_bytes(prefix):
    """Bytes of the numbers in a checkpoint, by its index; strings are not counted."""
    reader = tf.train.load_checkpoint(str(prefix))
    dtypes = reader.get_variable_to_dtype_map()
    return sum(
        math.prod(shape) * dtypes[name].size
        for name, shape in reader.get_variable_to_shape_map().items()
        if dtypes[name].is_numpy_compatible and dtypes[name] != tf.string
    )


def _recorded_requests(path):
    """[(signature name, inputs)] of a warm-up file; none without TF Serving's protos."""
    if not path.is_file():
        return []
    try:
        from tensorflow_serving.apis import prediction_log_pb2
    except ImportError:
        _LOGGER.info("tensorflow-serving-api is not installed, so %s stays unread", path)
        return []
    requests = []
    for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
        log = prediction_log_pb2.PredictionLog.FromString(record)
        if log.HasField("predict_log"):
            request = log.predict_log.request
            inputs = {name: tf.make_ndarray(proto) for name, proto in request.inputs.items()}
            requests.append((request.model_spec.signature_name or "serving_default", inputs))
    return requests


def _smallest(info):
    """One row of zeros or empty strings."""
    shape = tuple(1 if size is None else size for size in info.shape or ())
    if info.dtype == tf.string:
        return np.full(shape, b"", dtype=object)
    return np.zeros(shape, dtype=info.dtype.as_numpy_dtype)


def _line(error):
    return " ".join(str(error).split())[:300]
