"""Copies the arrays of a checkpoint into a model's variables, as fast as memory allows.

Shapes: M rows, N columns.
"""

import concurrent.futures
import contextlib
import functools
import itertools
import mmap

import keras
import numpy as np

# What TensorFlow asks of memory that it takes over: `EIGEN_MAX_ALIGN_BYTES`.
_ALIGNMENT = 64
# Columns of a transposed matrix written at once, so that what is read for them stays in the cache.
_COLUMNS = 64
# More hardly copy faster: memory is what they wait for.
_THREADS = 4
# Arrays in work at once, which bounds the memory of those that are not views of the file.
_ARRAYS = 64


def assign_copies(values):
    """Assigns arrays to variables, each copied once.

    Assigning an array itself has TensorFlow copy it twice: once for fear that it changes, once to
    align it.

    Args:
        values: an iterable of pairs, a variable and an array of its shape; the array is any view,
            best of all contiguous or a transposed matrix.
    """
    values = iter(values)
    with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
        while some := list(itertools.islice(values, _ARRAYS)):
            variables, arrays = zip(*some)
            copies = _aligned_like(arrays)
            list(pool.map(_copy, copies, arrays))
            for variable, copy in zip(variables, copies):
                variable.assign(_as_tensor(copy))


@contextlib.contextmanager
def assigned_by_copies(variables):
    """Has `variable.assign` copy arrays once, where Keras does the assigning.

    Args:
        variables: that may be assigned to.
    """
    for variable in variables:
        variable.assign = functools.partial(_assign_array, variable)
    try:
        yield
    finally:
        for variable in variables:
            del variable.assign


def _assign_array(variable, value):
    if isinstance(value, np.ndarray):
        (copy,) = _aligned_like([value])
        _copy(copy, value)
        value = _as_tensor(copy)
    return type(variable).assign(variable, value)


def _aligned_like(arrays):
    """Arrays of the same shapes and types with undefined values, in one piece of memory."""
    ends = np.cumsum([-(-array.nbytes // _ALIGNMENT) * _ALIGNMENT for array in arrays])
    memory = _touched_memory(int(ends[-1]))
    return [
        memory[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
        for start, array in zip([0, *ends], arrays)
    ]


def _touched_memory(size):
    """Aligned bytes that the system has found memory for already.

    To find it page by page, as they are written, takes twice as long. The huge pages of
    `numpy.empty` help where they are at hand, and take longest in virtual machines without them.
    """
    if hasattr(mmap, "MAP_POPULATE"):
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE
        return np.frombuffer(mmap.mmap(-1, size, flags=flags), np.uint8)
    memory = np.empty(size + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    return memory[start : start + size]


def _copy(copy, array):
    if array.ndim == 2 and array.T.flags.c_contiguous:
        _copy_transposed(copy, array)
    else:
        np.copyto(copy, array)


def _copy_transposed(copy, array):
    """Copies (M, N), in memory (N, M), some columns at a time; at once it takes twice as long."""
    for start in range(0, array.shape[1], _COLUMNS):
        columns = slice(start, start + _COLUMNS)
        np.copyto(copy[:, columns], array[:, columns])


def _as_tensor(array):
    """A tensor of the backend in the memory of an aligned array, which nothing else may use."""
    if keras.backend.backend() != "tensorflow" or array.dtype.kind != "f":
        return array
    import tensorflow as tf

    return tf.experimental.dlpack.from_dlpack(array.__dlpack__())
