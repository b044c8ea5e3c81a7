"""Changing the graphs of a SavedModel that is already written."""

import contextlib
import pathlib

from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.saved_model import fingerprinting_utils  # no public function writes one

from official_coca.serving.versions import SAVED_MODEL_FILE


@contextlib.contextmanager
def rewritten(directory):
    """Gives the `SavedModel` proto of a directory to change, and writes it with its fingerprint."""
    path = pathlib.Path(directory) / SAVED_MODEL_FILE
    saved_model = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    yield saved_model
    path.write_bytes(saved_model.SerializeToString())
    fingerprinting_utils.write_fingerprint(str(directory))
