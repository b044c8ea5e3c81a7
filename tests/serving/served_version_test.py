"""A SavedModel that is not whole is refused; a whole one answers with arrays."""

import os
import shutil

import numpy as np
import pytest
import tensorflow as tf

from official_coca.serving.served_version import WARMUP_FILE, ServedVersion
from tests.serving.stand_in_saved_model import png, stand_in_directory


@pytest.fixture
def directory(tmp_path):
    return shutil.copytree(stand_in_directory() / "1", tmp_path / "1")


def _cut(path, share):
    os.truncate(path, int(path.stat().st_size * share))


def _data(directory):
    return directory / "variables" / "variables.data-00000-of-00001"


HALVES = {
    "no graph": lambda directory: (directory / "saved_model.pb").unlink(),
    "graph cut short": lambda directory: _cut(directory / "saved_model.pb", 0.7),
    "empty graph": lambda directory: _cut(directory / "saved_model.pb", 0),
    "no variables": lambda directory: shutil.rmtree(directory / "variables"),
    "no index": lambda directory: (directory / "variables" / "variables.index").unlink(),
    "index cut short": lambda directory: _cut(directory / "variables" / "variables.index", 0.5),
    "no data": lambda directory: _data(directory).unlink(),
    "data cut short": lambda directory: _cut(_data(directory), 0.99),
    "one of two data files": lambda directory: _data(directory).rename(
        _data(directory).with_name("variables.data-00000-of-00002")
    ),
    "data of zeros": lambda directory: _data(directory).write_bytes(
        bytes(_data(directory).stat().st_size)
    ),
}


@pytest.mark.parametrize("half", HALVES)
def test_half_written_version_is_refused(directory, half):
    HALVES[half](directory)
    with pytest.raises((ValueError, OSError, IndexError, tf.errors.OpError)):
        ServedVersion(1, directory)


def test_whole_version_answers_with_arrays(directory):
    version = ServedVersion(1, directory)
    images = np.array([png(), b""], dtype=object)
    outputs = version.run("serving_default", {"image_bytes": images})
    assert outputs["image_embedding"].shape == (2, 16)
    assert outputs["valid"].tolist() == [True, False]
    loaded = tf.saved_model.load(str(directory))
    expected = loaded.encode_image(tf.constant(images))
    np.testing.assert_array_equal(outputs["image_embedding"], expected["image_embedding"])
    generated = version.run(
        "generate", {"image_bytes": images, "prompt": np.array([b"a", b"b"], dtype=object)}
    )
    assert generated["caption"][0].startswith(b"a ")


def test_output_of_one_string_is_an_array_too(tmp_path):
    module = tf.Module()
    module.name_of = tf.function(lambda: {"name": tf.constant(b"a\0")}, input_signature=[])
    tf.saved_model.save(module, str(tmp_path / "1"), signatures=module.name_of)
    name = ServedVersion(1, tmp_path / "1").run("serving_default", {})["name"]
    assert (name.shape, name.size, name.item()) == ((), 1, b"a\0")


def test_input_that_is_left_out_takes_its_default(directory):
    version = ServedVersion(1, directory)
    images = np.array([png(1), png(2)], dtype=object)
    given = np.array([b""] * 2, dtype=object)
    np.testing.assert_array_equal(
        version.run("generate", {"image_bytes": images})["caption"],
        version.run("generate", {"image_bytes": images, "prompt": given})["caption"],
    )


def test_signatures_carry_names_types_and_shapes(directory):
    signatures = ServedVersion(1, directory).signatures
    assert str(signatures["encode_token_ids"].inputs["token_ids"]) == "int32 of shape (?, 4)"
    assert "__saved_model_init_op" not in signatures
    definition = signatures["encode_text"].to_json()
    assert definition["method_name"] == "tensorflow/serving/predict"
    assert definition["inputs"]["text"]["dtype"] == "DT_STRING"
    assert definition["inputs"]["text"]["tensor_shape"] == {
        "dim": [{"size": "-1", "name": ""}],
        "unknown_rank": False,
    }


def test_recorded_requests_are_answered_to_warm_up(directory):
    logs = pytest.importorskip(
        "tensorflow_serving.apis.prediction_log_pb2", reason="needs tensorflow-serving-api"
    )
    path = directory / WARMUP_FILE
    path.parent.mkdir()

    def record(values):
        log = logs.PredictionLog()
        log.predict_log.request.model_spec.signature_name = "encode_token_ids"
        log.predict_log.request.inputs["token_ids"].CopyFrom(
            tf.make_tensor_proto(values, tf.int32)
        )
        with tf.io.TFRecordWriter(str(path)) as writer:
            writer.write(log.SerializeToString())

    record([[1, 2, 3, 4]])
    ServedVersion(1, directory).warm_up()
    record([[1, 2, 3, -4]])
    version = ServedVersion(1, directory)
    with pytest.raises(tf.errors.InvalidArgumentError):
        version.warm_up()
