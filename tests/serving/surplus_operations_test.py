"""Dropping operations that others do the work of: fewer operations, the same results."""

import numpy as np
import pytest
import tensorflow as tf

from official_coca.serving.signature import read_meta_graph
from official_coca.serving.surplus_operations import drop_surplus_operations


def _saved(directory, function, *specs):
    module = tf.Module()

    def traced_call(*inputs):
        return function(*inputs)

    module.call = tf.function(traced_call, input_signature=specs, autograph=False)
    tf.saved_model.save(module, str(directory))
    return directory


def _constants(directory, name="traced_call"):
    """Values of the numbers in each function of that name, in lists."""
    return [
        [
            tf.make_ndarray(node.attr["value"].tensor).tolist()
            for node in function.node_def
            if node.op == "Const" and node.attr["dtype"].type == tf.float32
        ]
        for function in read_meta_graph(directory).graph_def.library.function
        if name in function.signature.name
    ]


_NUMBER = tf.TensorSpec([], tf.float32)


def test_equal_constants_become_one_and_results_stay(tmp_path):
    def function(x):
        return {"sum": x + 7.0, "product": (x * 7.0) ** 3.0, "constant": tf.constant(7.0)}

    _saved(tmp_path, function, _NUMBER)
    assert sorted(_constants(tmp_path)[0]) == [3.0, 7.0, 7.0, 7.0]
    drop_surplus_operations(tmp_path)
    assert sorted(_constants(tmp_path)[0]) == [3.0, 7.0]
    results = tf.saved_model.load(str(tmp_path)).call(tf.constant(2.0))
    assert {name: float(value) for name, value in results.items()} == {
        "sum": 9.0,
        "product": 14.0**3,
        "constant": 7.0,
    }


def test_constants_that_differ_in_dtype_shape_or_sign_are_kept(tmp_path):
    def function(x):
        integer = tf.cast(tf.constant(0), tf.float32)
        return tf.stack([x + 0.0, x / tf.constant(0.0), x / tf.constant(-0.0)]) + [0.0] + integer

    before = _saved(tmp_path, function, _NUMBER)
    wanted = tf.saved_model.load(str(before)).call(tf.constant(1.0)).numpy()
    drop_surplus_operations(tmp_path)
    np.testing.assert_array_equal(wanted, [1.0, np.inf, -np.inf])
    result = tf.saved_model.load(str(tmp_path)).call(tf.constant(1.0))
    np.testing.assert_array_equal(result, wanted)


def test_constants_of_loops_and_branches_are_merged_too(tmp_path):
    def function(x):
        doubled = tf.while_loop(lambda x: x < 64.0, lambda x: (x * 2.0 + 2.0 - 2.0,), (x,))[0]
        return tf.cond(doubled > 2.0, lambda: doubled - 2.0 + 2.0, lambda: doubled)

    _saved(tmp_path, function, _NUMBER)
    assert [2.0, 2.0, 2.0] in _constants(tmp_path, name="while_body")
    drop_surplus_operations(tmp_path)
    for values in _constants(tmp_path, name=""):
        assert len(values) == len(set(values))
    assert float(tf.saved_model.load(str(tmp_path)).call(tf.constant(1.0))) == 64.0


def test_constants_that_order_or_place_other_operations_are_left(tmp_path):
    def function(x):
        first, second, third = tf.constant(7.0), tf.constant(7.0), tf.constant(7.0)
        with tf.control_dependencies([second]):
            x = tf.identity(x)
        with tf.compat.v1.colocate_with(third, ignore_existing=True):
            x = x + first
        return x

    _saved(tmp_path, function, _NUMBER)
    before = _constants(tmp_path)
    drop_surplus_operations(tmp_path)
    assert before == _constants(tmp_path) == [[7.0, 7.0, 7.0]]
    assert float(tf.saved_model.load(str(tmp_path)).call(tf.constant(1.0))) == 8.0


def _identities(directory):
    return [
        node.name
        for function in read_meta_graph(directory).graph_def.library.function
        if "traced_call" in function.signature.name or "while" in function.signature.name
        for node in function.node_def
        if node.op == "Identity"
    ]


def test_identities_are_dropped_and_results_and_gradients_stay(tmp_path):
    def function(x, y):
        again = tf.identity(tf.identity(x))
        looped = tf.while_loop(lambda z, y: z < 9.0, lambda z, y: (z * y, y), (again, y))
        return {"x": tf.identity(x), "twice": [again, again], "looped": looped[0], "y": looped[1]}

    _saved(tmp_path, function, _NUMBER, _NUMBER)
    assert len(_identities(tmp_path)) > 5
    drop_surplus_operations(tmp_path)
    assert _identities(tmp_path) == []
    call = tf.saved_model.load(str(tmp_path)).call
    x, y = tf.constant(3.0), tf.constant(2.0)
    with tf.GradientTape() as tape:
        tape.watch((x, y))
        results = call(x, y)
        total = tf.add_n(tf.nest.flatten(results))
    assert [float(value) for value in tf.nest.flatten(results)] == [12.0, 3.0, 3.0, 3.0, 2.0]
    # x + 2 x + 4 x + y, where 4 is y squared.
    assert [float(gradient) for gradient in tape.gradient(total, (x, y))] == [7.0, 13.0]


def test_identities_that_wait_for_other_operations_are_left(tmp_path):
    def function(x):
        with tf.control_dependencies([tf.debugging.Assert(x > 0.0, ["not positive"])]):
            return tf.identity(x)

    _saved(tmp_path, function, _NUMBER)
    drop_surplus_operations(tmp_path)
    call = tf.saved_model.load(str(tmp_path)).call
    assert float(call(tf.constant(1.0))) == 1.0
    with pytest.raises(tf.errors.InvalidArgumentError, match="not positive"):
        call(tf.constant(-1.0))


def test_the_fingerprint_is_that_of_the_file(tmp_path):
    _saved(tmp_path, lambda x: x + 7.0 + 7.0, _NUMBER)
    before = tf.saved_model.experimental.read_fingerprint(str(tmp_path))
    drop_surplus_operations(tmp_path)
    after = tf.saved_model.experimental.read_fingerprint(str(tmp_path))
    assert after.saved_model_checksum != before.saved_model_checksum
    drop_surplus_operations(tmp_path)  # which changes nothing more
    again = tf.saved_model.experimental.read_fingerprint(str(tmp_path))
    assert again.saved_model_checksum == after.saved_model_checksum
