"""Arrays in variables: the same values, and memory of their own."""

import gc

import keras
import ml_dtypes
import numpy as np
import pytest

from official_coca.saving.array_copies import assign_copies, assigned_by_copies
from official_coca.saving.paused_collector import paused_collector

RANDOM = np.random.default_rng(0)
ARRAYS = {
    "scalar": np.float32(-3.5),
    "vector": RANDOM.normal(size=7).astype("float32"),
    "matrix": RANDOM.normal(size=(3, 5)).astype("float32"),
    "transposed": RANDOM.normal(size=(5, 3)).astype("float32").T,
    "transposed over several blocks": RANDOM.normal(size=(300, 70)).astype("float32").T,
    "part of a transposed": RANDOM.normal(size=(300, 70)).astype("float32")[10:200].T,
    "strided": RANDOM.normal(size=(6, 8)).astype("float32")[::2, ::3],
    "four axes": RANDOM.normal(size=(2, 3, 4, 5)).astype("float32").transpose(2, 3, 1, 0),
    "unaligned": np.frombuffer(b"x" + bytes(range(64)), np.uint8)[1:].view("float32"),
    "half precision": RANDOM.normal(size=(4, 4)).astype("float16"),
    "bfloat16": RANDOM.normal(size=(4, 4)).astype(ml_dtypes.bfloat16),
}


def variable_like(array):
    return keras.Variable(np.zeros(array.shape), dtype="float32")


def test_every_layout_keeps_its_values():
    variables = [variable_like(array) for array in ARRAYS.values()]
    assign_copies(zip(variables, ARRAYS.values()))
    for variable, (name, array) in zip(variables, ARRAYS.items()):
        np.testing.assert_array_equal(variable.numpy(), np.asarray(array, "float32"), name)


def test_more_arrays_than_are_in_work_at_once():
    arrays = [np.full((index % 5 + 1,), index, "float32") for index in range(200)]
    variables = [variable_like(array) for array in arrays]
    assign_copies(zip(variables, arrays))
    for variable, array in zip(variables, arrays):
        np.testing.assert_array_equal(variable.numpy(), array)


def test_array_and_neighbours_do_not_change_with_the_variable():
    arrays = [np.ones((20, 20), "float32"), np.full((20,), 2, "float32")]
    variables = [variable_like(array) for array in arrays]
    assign_copies(zip(variables, arrays))
    variables[0].value.assign_add(np.ones((20, 20), "float32"))  # in place, as optimizers do
    arrays[1][:] = 7
    assert variables[0].numpy().tolist() == np.full((20, 20), 2.0).tolist()
    assert variables[1].numpy().tolist() == np.full((20,), 2.0).tolist()
    assert (arrays[0] == 1).all()


def test_assigning_a_wrong_shape_is_refused():
    with pytest.raises(ValueError, match="shape"):
        assign_copies([(variable_like(np.zeros(3)), np.zeros(4, "float32"))])


def test_keras_assigns_by_copies_too_and_only_there():
    variables = [variable_like(array) for array in ARRAYS.values()]
    with assigned_by_copies(variables):
        for variable, array in zip(variables, ARRAYS.values()):
            variable.assign(array)
    for variable, (name, array) in zip(variables, ARRAYS.items()):
        np.testing.assert_array_equal(variable.numpy(), np.asarray(array, "float32"), name)
    assert all("assign" not in vars(variable) for variable in variables)


@pytest.mark.parametrize("enabled", [True, False])
def test_collector_is_left_as_it_was(enabled):
    was_enabled = gc.isenabled()
    try:
        (gc.enable if enabled else gc.disable)()
        with pytest.raises(KeyError), paused_collector():
            assert not gc.isenabled()
            raise KeyError
        assert gc.isenabled() == enabled
    finally:
        (gc.enable if was_enabled else gc.disable)()
