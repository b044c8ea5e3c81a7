"""JSON of TF Serving's REST protocol becomes tensors, and whatever is wrong with it one line."""

import base64
import json

import numpy as np
import pytest
import tensorflow as tf

from official_coca.serving import rest_protocol
from official_coca.serving.request_error import RequestError
from official_coca.serving.signature import Signature, TensorInfo


def _signature(name, **inputs):
    inputs = {key: TensorInfo(dtype, shape) for key, (dtype, shape) in inputs.items()}
    return Signature(name, inputs, {}, {}, None)


SIGNATURES = {
    signature.name: signature
    for signature in (
        _signature("serving_default", image_bytes=(tf.string, (None,))),
        _signature("generate", image_bytes=(tf.string, (None,)), prompt=(tf.string, (None,))),
        _signature("pixels", images=(tf.float32, (None, 2, 3))),
        _signature("token_ids", token_ids=(tf.int32, (None, 4))),
        _signature("flags", flags=(tf.bool, (None,))),
        _signature("small", small=(tf.bfloat16, (None,))),
        _signature("any", any=(tf.float32, None)),
        _signature("complex", value=(tf.complex64, (None,))),
    )
}


def _read(fields):
    body = fields if isinstance(fields, bytes) else json.dumps(fields).encode()
    return rest_protocol.read_predict_request(body, SIGNATURES)


def _b64(content):
    return {"b64": base64.b64encode(content).decode()}


@pytest.mark.parametrize(
    "fields",
    [
        {"instances": [_b64(b"a\0"), "b"]},
        {"instances": [{"image_bytes": _b64(b"a\0")}, {"image_bytes": "b"}]},
        {"inputs": [_b64(b"a\0"), "b"]},
        {"inputs": {"image_bytes": [_b64(b"a\0"), "b"]}, "signature_name": ""},
    ],
)
def test_rows_and_columns_give_the_same_bytes(fields):
    request = _read(fields)
    assert request.signature.name == "serving_default"
    assert list(request.inputs["image_bytes"]) == [b"a\0", b"b"]
    assert request.row_format == ("instances" in fields)


def test_several_inputs_are_gathered_by_name():
    rows = [{"image_bytes": "x", "prompt": "a"}, {"prompt": "b", "image_bytes": "y"}]
    inputs = _read({"signature_name": "generate", "instances": rows}).inputs
    assert list(inputs["image_bytes"]) == [b"x", b"y"]
    assert list(inputs["prompt"]) == [b"a", b"b"]


def test_numbers_take_the_dtype_of_the_signature():
    pixels = [[[0, 1.5, 2], [3, 4, 5]]]
    array = _read({"signature_name": "pixels", "inputs": pixels}).inputs["images"]
    assert array.dtype == np.float32 and array.tolist() == pixels
    array = _read({"signature_name": "small", "inputs": [1.5]}).inputs["small"]
    assert array.dtype == tf.bfloat16.as_numpy_dtype
    assert _read({"signature_name": "any", "inputs": 2}).inputs["any"].shape == ()
    assert _read({"signature_name": "flags", "inputs": [True]}).inputs["flags"].dtype == bool


def test_empty_columns_keep_the_rank_of_the_signature():
    array = _read({"signature_name": "pixels", "inputs": []}).inputs["images"]
    assert array.shape == (0, 2, 3) and array.dtype == np.float32


def test_text_that_is_no_unicode_reaches_the_model_as_bytes():
    assert _read(b'{"instances": ["\\ud800"]}').inputs["image_bytes"][0] == b"\xed\xa0\x80"


@pytest.mark.parametrize("space", ("\n", "\r\n", " ", "\t"))
def test_base64_may_have_white_space(space):
    content = bytes(range(200))
    text = base64.encodebytes(content).decode().replace("\n", space)
    assert _read({"instances": [{"b64": text}]}).inputs["image_bytes"][0] == content


@pytest.mark.parametrize("text", ("YWI=", "YWI", "YWI==", "YW\nI"))
def test_base64_may_have_any_padding(text):
    assert _read({"instances": [{"b64": text}]}).inputs["image_bytes"][0] == b"ab"


BAD = {
    "no json": (b"hello", "not JSON"),
    "no utf-8": (b'{"instances": ["\xff"]}', "UTF-8"),
    "deep": (b"[" * 100_000, "nested too deeply"),
    "deep value": (b'{"instances":' + b"[" * 500 + b"]" * 500 + b"}", "nested too deeply"),
    "list": ([], "JSON object"),
    "many values": (b'{"instances":[' + b"[]," * 2_000_000 + b"[]]}", "at most"),
    "huge integer": (b'{"instances":[' + b"9" * 5000 + b"]}", "not JSON"),
    "no format": ({}, "either"),
    "both formats": ({"instances": ["a"], "inputs": ["a"]}, "either"),
    "no rows": ({"instances": []}, "at least one"),
    "rows are no list": ({"instances": {"a": 1}}, "must be a list"),
    "unknown signature": ({"signature_name": "x", "inputs": []}, "'x' is not one of"),
    "signature is a list": ({"signature_name": [], "inputs": []}, "is not one of"),
    "missing input": ({"signature_name": "generate", "inputs": {"prompt": []}}, "is missing"),
    "unnamed inputs": ({"signature_name": "generate", "instances": ["a"]}, "name them"),
    "unknown input": ({"inputs": {"image_bytes": [], "x": 1}}, "no input 'x'"),
    "rows differ": ({"instances": [{"image_bytes": "a"}, "b"]}, "instances 0 and 1"),
    "ragged": ({"signature_name": "token_ids", "instances": [[1, 2, 3, 4], [1]]}, "ragged"),
    "ragged depth": ({"instances": [["a"], "b"]}, "ragged"),
    "wrong size": ({"signature_name": "token_ids", "instances": [[1, 2]]}, r"shape \(1, 2\)"),
    "wrong rank": ({"signature_name": "token_ids", "instances": [1]}, r"shape \(1\)"),
    "number for text": ({"instances": [1]}, "must be a string"),
    "null": ({"instances": [None]}, "must be a string"),
    "text for number": ({"signature_name": "any", "inputs": ["1.5"]}, "must be float32"),
    "fraction": ({"signature_name": "token_ids", "inputs": [[1, 2, 3, 4.5]]}, "must be int32"),
    "bool for number": ({"signature_name": "token_ids", "inputs": [[1, 2, 3, True]]}, "int32"),
    "number for bool": ({"signature_name": "flags", "inputs": [1]}, "must be bool"),
    "too large": ({"signature_name": "token_ids", "inputs": [[1, 2, 3, 2**40]]}, "out of range"),
    "too large float": ({"signature_name": "any", "inputs": [1e300]}, "out of range"),
    "integer above floats": ({"signature_name": "any", "inputs": [10**400]}, "out of range"),
    "too large for JSON": (b'{"signature_name": "any", "inputs": [1e400]}', "out of range"),
    "no base64": ({"instances": [{"b64": "@@"}]}, "not base64"),
    "b64 of a number": ({"instances": [{"b64": 1}]}, "must be a string"),
    "complex": ({"signature_name": "complex", "inputs": [1]}, "cannot express"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_request_gives_400_and_one_line(case):
    body, message = BAD[case]
    with pytest.raises(RequestError, match=message) as raised:
        _read(body)
    assert raised.value.status == 400
    assert len(str(raised.value)) < 400 and "\n" not in str(raised.value)


def test_default_of_an_input_may_be_left_out():
    signature = SIGNATURES["generate"]
    signature = Signature("g", signature.inputs, {}, {"prompt": np.array(b"")}, None)
    body = json.dumps({"signature_name": "g", "instances": ["a"]}).encode()
    assert set(rest_protocol.read_predict_request(body, {"g": signature}).inputs) == {"image_bytes"}


def _write(outputs, row_format):
    return json.loads(rest_protocol.write_predict_response(outputs, row_format))


def test_one_output_is_answered_with_its_values():
    outputs = {"embedding": np.array([[1, 2], [3, 4]], "float32")}
    assert _write(outputs, True) == {"predictions": [[1, 2], [3, 4]]}
    assert _write(outputs, False) == {"outputs": [[1, 2], [3, 4]]}


def test_several_outputs_are_answered_by_name():
    outputs = {"score": np.array([0.5, 1.0]), "valid": np.array([True, False])}
    rows = [{"score": 0.5, "valid": True}, {"score": 1.0, "valid": False}]
    assert _write(outputs, True) == {"predictions": rows}
    assert _write(outputs, False) == {"outputs": {"score": [0.5, 1.0], "valid": [True, False]}}


def test_outputs_named_bytes_are_base64_and_others_text():
    values = np.array([b"a\xff", b"b"], dtype=object)
    assert _write({"image_bytes": values}, True)["predictions"] == [_b64(b"a\xff"), _b64(b"b")]
    assert _write({"caption": values}, True)["predictions"] == ["a\ufffd", "b"]


def test_float32_survives_the_round_trip():
    values = np.random.default_rng(0).normal(size=100).astype("float32")
    assert np.array_equal(np.float32(_write({"x": values}, True)["predictions"]), values)


def test_numbers_have_the_digits_of_their_dtype():
    outputs = {"half": np.float16([0.1]), "single": np.float32([0.1]), "double": np.array([0.1])}
    written = rest_protocol.write_predict_response(outputs, False)
    assert written == b'{"outputs":{"double":[0.1],"half":[0.099975586],"single":[0.1]}}'


@pytest.mark.parametrize("row_format", (True, False))
def test_what_is_no_number_is_written_as_tf_serving_does(row_format):
    scores = np.array([[np.nan, 0.5], [np.inf, -np.inf]], "float32")
    written = rest_protocol.write_predict_response(
        {"scores": scores, "valid": np.array([True, False]), "caption": _texts("é", "b")},
        row_format,
    )
    if row_format:
        first, second = json.loads(written)["predictions"]
        assert (first["valid"], second["valid"]) == (True, False)
        assert (first["caption"], second["caption"]) == ("é", "b")
        found = [first["scores"], second["scores"]]
    else:
        found = json.loads(written)["outputs"]["scores"]
    np.testing.assert_array_equal(np.float32(found), scores)
    assert b"NaN" in written and b"-Infinity" in written


def test_text_with_the_word_null_does_not_change_how_numbers_are_written():
    outputs = {"caption": _texts("null"), "score": np.float32([0.1])}
    written = rest_protocol.write_predict_response(outputs, True)
    assert written == b'{"predictions":[{"caption":"null","score":0.1}]}'


@pytest.mark.parametrize("number", ("NaN", "Infinity", "-Infinity"))
def test_what_is_no_number_is_read_as_tf_serving_does(number):
    body = f'{{"signature_name": "any", "inputs": [0.5, {number}]}}'.encode()
    np.testing.assert_array_equal(_read(body).inputs["any"], np.float32([0.5, float(number)]))


@pytest.mark.parametrize("dtype", ("int32", "int64", "uint8", "bool", "float16", "float64"))
def test_arrays_of_any_dtype_and_layout_are_written(dtype):
    values = np.arange(12).reshape(3, 4).astype(dtype)
    for array in (values, values.T, values[::2], np.array(values[0, 1])):
        assert _write({"x": array}, False) == {"outputs": array.tolist()}


def test_bfloat16_is_written():
    values = tf.constant([1.5, -2.0], tf.bfloat16).numpy()
    assert _write({"x": values}, True) == {"predictions": [1.5, -2.0]}


@pytest.mark.parametrize("row_format", (True, False))
def test_output_of_complex_numbers_is_refused(row_format):
    with pytest.raises(RequestError, match="'x' is complex64, which JSON cannot") as raised:
        _write({"x": np.array([1j], "complex64")}, row_format)
    assert raised.value.status == 400


def test_one_string_is_written_as_it_is():
    name = np.array("é".encode(), dtype=object)
    assert _write({"name": name}, False) == {"outputs": "é"}
    assert _write({"name_bytes": name}, False) == {"outputs": _b64("é".encode())}


def _texts(*texts):
    return np.array([text.encode() for text in texts], dtype=object)


def test_rows_of_outputs_with_different_sizes_are_refused():
    with pytest.raises(RequestError, match="first dimension"):
        _write({"a": np.zeros(2), "b": np.zeros(3)}, True)
