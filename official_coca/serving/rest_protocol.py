"""TF Serving's REST protocol: JSON of a predict request to tensors, tensors to its JSON answer.

Protocol: https://www.tensorflow.org/tfx/serving/api_rest. Whatever is wrong with a request raises
`RequestError` 400 with one line.

Shapes: B rows of a request.
"""

import dataclasses
import gc
import itertools
import json
import reprlib

import numpy as np
import orjson
import pybase64
import tensorflow as tf

from official_coca.serving.request_error import RequestError

DEFAULT_SIGNATURE = "serving_default"
_LARGEST_RANK = 32  # of an input whose signature leaves the rank open; NumPy allows 64
_MOST_VALUES = 2_000_000  # of a body: 13 images of 224 x 224 as numbers; a second of reading


@dataclasses.dataclass
class PredictRequest:
    """A request that fits its signature.

    inputs: {name: array}, strings as arrays of bytes objects.
    row_format: whether it came as "instances" and is answered with "predictions".
    """

    signature: object
    inputs: dict
    row_format: bool


def read_predict_request(body, signatures):
    """Bytes of a predict request → `PredictRequest`; signatures: {name: `Signature`}."""
    fields = _read_json(body)
    signature = _find_signature(fields, signatures)
    row_format = "instances" in fields
    if row_format == ("inputs" in fields):
        raise RequestError(400, 'the request must have either "instances" or "inputs"')
    columns = (
        _rows_to_columns(fields["instances"], signature)
        if row_format
        else _named_columns(fields["inputs"], signature)
    )
    inputs = {
        name: to_array(value, signature.inputs[name], name) for name, value in columns.items()
    }
    _refuse_overflow(inputs, body)
    return PredictRequest(signature, inputs, row_format)


def _refuse_overflow(inputs, body):
    """Numbers too large for 64 bits are read as infinite, which may be written as Infinity only."""
    for name, array in inputs.items():
        if array.dtype.kind == "f" and np.isinf(array).any() and b"Infinity" not in body:
            raise _out_of_range(name, array.dtype.name)


def write_predict_response(outputs, row_format):
    """{name: array} → bytes of the JSON answer.

    A signature with one output is answered with its bare values. Strings of outputs whose name
    ends in `_bytes` are base64 in {"b64": ...}; others are text, where bytes that are not UTF-8
    become U+FFFD. Numbers have the digits that tell them from their neighbours of the same dtype,
    and may be NaN, Infinity and -Infinity, as TF Serving writes them.

    Raises:
        RequestError: the row format was asked for and the outputs do not share their first size,
            or an output has complex numbers.
    """
    values = {name: _to_writable(array, name) for name, array in sorted(outputs.items())}
    if not row_format:
        answer = {"outputs": next(iter(values.values())) if len(values) == 1 else values}
    elif len(values) == 1:
        answer = {"predictions": next(iter(values.values()))}
    else:
        if len({np.shape(array)[:1] for array in outputs.values()}) != 1 or any(
            np.ndim(array) == 0 for array in outputs.values()
        ):
            raise RequestError(
                400, 'the outputs do not share their first dimension; send "inputs" for columns'
            )
        rows = zip(*values.values())
        answer = {"predictions": [dict(zip(values, row)) for row in rows]}
    return _dump(answer, values.values())


def to_array(value, info, name):
    """Nested JSON lists → an array that fits the `TensorInfo`."""
    leaves, shape = _flatten(value, info, name)
    if not leaves:
        return np.empty(shape, dtype=info.dtype.as_numpy_dtype)
    return _to_leaf_array(leaves, info.dtype, name).reshape(shape)


def _read_json(body):
    if len(body) > _MOST_VALUES and (values := body.count(b",") + 1) > _MOST_VALUES:
        raise RequestError(400, f"the body has {values} values; at most {_MOST_VALUES} are read")
    try:
        fields = _without_collections(_parse, body)
    except UnicodeDecodeError as error:
        raise RequestError(
            400, f"the body is not UTF-8 (byte {error.start}); send such strings as b64"
        ) from None
    except RecursionError:
        raise RequestError(400, "the JSON is nested too deeply") from None
    except ValueError as error:  # also an integer of thousands of digits
        raise RequestError(400, f"the body is not JSON: {error}") from None
    if not isinstance(fields, dict):
        raise RequestError(400, "the body must be a JSON object")
    return fields


def _parse(body):
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:  # NaN and lone surrogates, which it refuses, or no JSON at all
        return json.loads(body.decode("utf-8"))


def _without_collections(function, argument):
    """Spares millions of new lists the garbage collector, which made reading 10 times as long."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        return function(argument)
    finally:
        if enabled:
            gc.enable()


def _find_signature(fields, signatures):
    name = fields.get("signature_name", DEFAULT_SIGNATURE)
    if isinstance(name, str) and (name or DEFAULT_SIGNATURE) in signatures:
        return signatures[name or DEFAULT_SIGNATURE]
    known = ", ".join(signatures)
    raise RequestError(400, f"signature_name {_short(name)} is not one of {known}")


def _rows_to_columns(instances, signature):
    """[{name: value}] or [value], of B rows → {name: [B values]}."""
    if not isinstance(instances, list) or not instances:
        raise RequestError(400, '"instances" must be a list with at least one entry')
    named = [isinstance(row, dict) and set(row) != {"b64"} for row in instances]
    if not any(named):
        return {_only_input(signature): instances}
    for index, row in enumerate(instances):
        if not named[index] or set(row) != set(instances[0]):
            raise RequestError(
                400, f"instances 0 and {index} name different inputs; all must name the same"
            )
    _check_names(instances[0], signature)
    return {name: [row[name] for row in instances] for name in instances[0]}


def _named_columns(inputs, signature):
    """{name: value} or the value of the one input → {name: value}."""
    if not isinstance(inputs, dict) or set(inputs) == {"b64"}:
        return {_only_input(signature): inputs}
    _check_names(inputs, signature)
    return inputs


def _only_input(signature):
    needed = [name for name in signature.inputs if name not in signature.defaults]
    if len(needed) == 1:
        return needed[0]
    if len(signature.inputs) == 1:
        return next(iter(signature.inputs))
    names = ", ".join(signature.inputs)
    raise RequestError(400, f"signature {signature.name} has several inputs, name them: {names}")


def _check_names(names, signature):
    missing = sorted(set(signature.inputs) - set(signature.defaults) - set(names))
    if missing:
        raise RequestError(400, f"input {missing[0]!r} of signature {signature.name} is missing")
    unknown = sorted(set(names) - set(signature.inputs))
    if unknown:
        known = ", ".join(signature.inputs)
        raise RequestError(
            400,
            f"signature {signature.name} has no input {_short(unknown[0])}; it has {known}",
        )


def _flatten(value, info, name):
    """Returns the leaves of nested lists and the shape, level by level at the speed of C."""
    rank = _LARGEST_RANK if info.shape is None else len(info.shape)
    leaves, shape = [value], []
    while leaves and list in (kinds := set(map(type, leaves))):
        lengths = set(map(len, leaves)) if kinds == {list} else ()
        if len(lengths) != 1:
            raise RequestError(400, f"input {name!r} is ragged: its lists differ in length")
        if len(shape) == rank:
            raise RequestError(400, f"input {name!r} is nested too deeply; it is {info}")
        shape += lengths
        leaves = list(itertools.chain.from_iterable(leaves))
    if not leaves and info.shape is not None:  # sizes below an empty list are not written
        shape += [size or 0 for size in info.shape[len(shape) :]]
    if not info.accepts(shape):
        given = ", ".join(map(str, shape))
        raise RequestError(400, f"input {name!r} has shape ({given}); it must be {info}")
    return leaves, shape


def _to_leaf_array(leaves, dtype, name):
    kinds = set(map(type, leaves))
    if dtype == tf.string:
        array = np.empty(len(leaves), dtype=object)
        array[:] = [_to_bytes(leaf, name) for leaf in leaves]
        return array
    if dtype == tf.bool:
        wanted = {bool}
    elif dtype.is_integer:
        wanted = {int}
    elif dtype.is_floating:
        wanted = {int, float}
    else:
        raise RequestError(400, f"input {name!r} is {dtype.name}, which JSON cannot express")
    if kinds - wanted:
        wrong = next(leaf for leaf in leaves if type(leaf) not in wanted)
        raise RequestError(400, f"input {name!r} must be {dtype.name}, got {_short(wrong)}")
    return _to_number_array(leaves, dtype, name)


def _to_number_array(leaves, dtype, name):
    try:
        if not dtype.is_floating:
            return np.array(leaves, dtype=dtype.as_numpy_dtype)
        wide = np.array(leaves, dtype=np.float64)
        with np.errstate(over="ignore"):
            array = wide.astype(dtype.as_numpy_dtype)
        if np.any(np.isinf(array) & ~np.isinf(wide)):
            raise OverflowError
    except OverflowError:
        raise _out_of_range(name, dtype.name) from None
    return array


def _out_of_range(name, dtype_name):
    return RequestError(400, f"input {name!r} has a number out of range of {dtype_name}")


def _to_bytes(leaf, name):
    if isinstance(leaf, str):
        # A lone surrogate becomes bytes that are not UTF-8: the model's to judge, row by row.
        return leaf.encode("utf-8", "surrogatepass")
    if isinstance(leaf, dict) and set(leaf) == {"b64"} and isinstance(leaf["b64"], str):
        return _from_base64(leaf["b64"], name)
    raise RequestError(
        400, f'input {name!r} must be a string or {{"b64": base64}}, got {_short(leaf)}'
    )


def _from_base64(text, name):
    try:
        return pybase64.b64decode(text, validate=True)
    except ValueError:
        # It may have other padding than it should, or white space, as MIME's line breaks.
        text = "".join(text.split()).rstrip("=")
        try:
            return pybase64.b64decode(text + "=" * (-len(text) % 4), validate=True)
        except ValueError:
            raise RequestError(400, f"input {name!r} has a b64 that is not base64") from None


def _to_writable(array, name):
    """An array of numbers as it is, in a dtype that JSON has; strings as nested lists of text."""
    array = np.asarray(array)
    if array.dtype == object:
        write = _write_base64 if name.endswith("_bytes") else _write_text
        flat = np.empty(array.size, dtype=object)
        flat[:] = [write(value) for value in array.ravel()]
        return flat.reshape(array.shape).tolist()
    if array.dtype.kind == "c":
        raise RequestError(400, f"output {name!r} is {array.dtype.name}, which JSON cannot express")
    if array.dtype.kind == "V" or array.dtype == np.float16:  # bfloat16 and smaller
        return array.astype(np.float32)
    return array


def _is_finite(values):
    """Whether JSON proper can write it."""
    is_float = isinstance(values, np.ndarray) and values.dtype.kind == "f"
    return not is_float or bool(np.isfinite(values).all())


def _dump(answer, values):
    written = orjson.dumps(answer, default=_to_python, option=orjson.OPT_SERIALIZE_NUMPY)
    # It writes null for what is not finite; looking for that is quicker than looking at numbers.
    if b"null" not in written or all(map(_is_finite, values)):
        return written
    return json.dumps(answer, default=_to_python, separators=(",", ":")).encode()


def _to_python(array):
    """What an encoder does not know: an array without axes or whose rows lie apart."""
    return array.tolist()


def _write_base64(value):
    return {"b64": pybase64.b64encode(value).decode()}


def _write_text(value):
    return value.decode("utf-8", "replace")


def _short(value):
    """A client's value for a message: short, on one line."""
    return reprlib.repr(value)
