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


def _operations(directory, name="traced_call"):
    return [
        node.op
        for function in read_meta_graph(directory).graph_def.library.function
        if name in function.signature.name
        for node in function.node_def
    ]


def test_operations_that_nothing_reads_are_dropped(tmp_path):
    def function(x):
        tf.stack([tf.shape(x)[0], 5])
        tf.while_loop(lambda n: n < 3.0, lambda n: (n + 1.0,), (tf.constant(0.0),))
        return x * 2.0

    _saved(tmp_path, function, tf.TensorSpec([None], tf.float32))
    assert {"Shape", "Pack", "StatelessWhile"} <= set(_operations(tmp_path))
    drop_surplus_operations(tmp_path)
    assert sorted(_operations(tmp_path)) == ["Const", "Mul"]
    result = tf.saved_model.load(str(tmp_path)).call(tf.constant([1.0, 2.0]))
    np.testing.assert_array_equal(result, [2.0, 4.0])


def test_operations_with_effects_are_left_though_nothing_reads_them(tmp_path):
    module = tf.Module()
    module.count = tf.Variable(0.0)

    @tf.function(input_signature=[_NUMBER], autograph=False)
    def call(x):
        module.count.assign_add(1.0)
        tf.debugging.Assert(x > 0.0, ["not positive"])
        return x * 2.0

    module.call = call
    tf.saved_model.save(module, str(tmp_path))
    drop_surplus_operations(tmp_path)
    loaded = tf.saved_model.load(str(tmp_path))
    loaded.call(tf.constant(1.0))
    loaded.call(tf.constant(1.0))
    assert float(loaded.count) == 2.0
    with pytest.raises(tf.errors.InvalidArgumentError, match="not positive"):
        loaded.call(tf.constant(-1.0))


def test_saving_by_the_graph_needs_no_mode_of_variables(tmp_path):
    module = tf.Module()
    module.weights = [tf.Variable([float(number)]) for number in range(3)]
    module.call = tf.function(lambda: tf.add_n(module.weights), input_signature=[])
    tf.saved_model.save(module, str(tmp_path / "model"), signatures=module.call)
    assert "DisableCopyOnRead" in _operations(tmp_path / "model", "traced_save")
    drop_surplus_operations(tmp_path / "model")
    assert "DisableCopyOnRead" not in _operations(tmp_path / "model", "")
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        graph = tf.compat.v1.saved_model.load(session, ["serve"], str(tmp_path / "model"))
        saver = tf.compat.v1.train.Saver(saver_def=graph.saver_def)
        saver.save(session, str(tmp_path / "weights"), write_meta_graph=False)
    saved = tf.train.load_checkpoint(str(tmp_path / "weights"))
    dtypes = saved.get_variable_to_dtype_map()
    values = [saved.get_tensor(name) for name in dtypes if dtypes[name] == tf.float32]
    assert sorted(value[0] for value in values) == [0.0, 1.0, 2.0]


def _num_functions(directory, name):
    functions = read_meta_graph(directory).graph_def.library.function
    return sum(name in function.signature.name for function in functions)


def test_a_signature_of_two_names_has_one_function(tmp_path):
    module = tf.Module()
    module.weight = tf.Variable([2.0, 3.0])

    def traced_call(x):
        return {"product": x * module.weight}

    module.call = tf.function(traced_call, input_signature=[_NUMBER], autograph=False)
    signatures = {"serving_default": module.call, "multiply": module.call}
    tf.saved_model.save(module, str(tmp_path), signatures=signatures)
    assert _num_functions(tmp_path, "signature_wrapper") == 2
    drop_surplus_operations(tmp_path)
    assert _num_functions(tmp_path, "signature_wrapper") == 1
    loaded = tf.saved_model.load(str(tmp_path))
    for name in signatures:
        signature = loaded.signatures[name]
        assert signature.structured_input_signature == ((), {"x": _named(_NUMBER, "x")})
        np.testing.assert_array_equal(signature(x=tf.constant(2.0))["product"], [4.0, 6.0])
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        graph = tf.compat.v1.saved_model.load(session, ["serve"], str(tmp_path))
        for name in signatures:
            definition = graph.signature_def[name]
            fetched, fed = definition.outputs["product"].name, definition.inputs["x"].name
            np.testing.assert_array_equal(session.run(fetched, {fed: 2.0}), [4.0, 6.0])


def _named(spec, name):
    return tf.TensorSpec(spec.shape, spec.dtype, name=name)


def test_functions_of_other_weights_or_numbers_are_kept_apart(tmp_path):
    module = tf.Module()
    module.weights = [tf.Variable(2.0), tf.Variable(3.0)]

    def multiply_by(number, weight):
        def traced_call(x):
            return {"product": x * weight * number}

        return tf.function(traced_call, input_signature=[_NUMBER], autograph=False)

    module.calls = [
        multiply_by(number, weight) for number in (1.5, 2.5) for weight in module.weights
    ]
    signatures = {f"call_{index}": call for index, call in enumerate(module.calls)}
    tf.saved_model.save(module, str(tmp_path), signatures=signatures)
    drop_surplus_operations(tmp_path)
    loaded = tf.saved_model.load(str(tmp_path))
    wanted = [3.0, 4.5, 5.0, 7.5]
    for index, (call, product) in enumerate(zip(loaded.calls, wanted, strict=True)):
        assert float(call(tf.constant(1.0))["product"]) == product
        assert float(loaded.signatures[f"call_{index}"](tf.constant(1.0))["product"]) == product


def test_the_fingerprint_is_that_of_the_file(tmp_path):
    _saved(tmp_path, lambda x: x + 7.0 + 7.0, _NUMBER)
    before = tf.saved_model.experimental.read_fingerprint(str(tmp_path))
    drop_surplus_operations(tmp_path)
    after = tf.saved_model.experimental.read_fingerprint(str(tmp_path))
    assert after.saved_model_checksum != before.saved_model_checksum
    drop_surplus_operations(tmp_path)  # which changes nothing more
    again = tf.saved_model.experimental.read_fingerprint(str(tmp_path))
    assert again.saved_model_checksum == after.saved_model_checksum
