"""Equal layers traced once: the graph of many blocks takes hardly longer to make than that of one.

Only graphs of TensorFlow need it; eager code and other backends run a layer as it is.
"""

import contextlib
import json
import threading

import keras

from official_coca.layers.alike_rows import rows_are_alike


def call_in_shared_graph(layer, method_name, *arguments):
    """Calls a method of a layer in a graph that all layers of equal configuration share.

    The method is traced with placeholders for the layer's weights, once for each set of shapes,
    and its gradient is made once too. TensorFlow dissolves the calls before it runs the graph that
    they are in, so that a step computes what it would compute otherwise.

    Args:
        layer: a built Keras layer with no other state than its weights.
        method_name: of a method of tensors, whose result depends on nothing else.
        *arguments: tensors, or None.

    Returns:
        What the method returns.
    """
    if not _shares():
        return getattr(layer, method_name)(*arguments)
    key = (type(layer), method_name, _configuration(layer), rows_are_alike())
    graph = _GRAPHS.setdefault(key, _SharedGraph(method_name))
    return graph(layer, arguments)


@contextlib.contextmanager
def separate_graphs(wanted=True):
    """Within it, if `wanted`, each layer is traced by itself.

    For XLA, which was seen to take more than four times as long to compile a step with calls.
    """
    before = _is_separate()
    _SETTINGS.is_separate = before or wanted
    try:
        yield
    finally:
        _SETTINGS.is_separate = before


def is_traced():
    """Whether TensorFlow makes a graph of what runs now."""
    if keras.backend.backend() != "tensorflow":
        return False
    import tensorflow as tf

    return not tf.executing_eagerly()


class _SharedGraph:
    """A `tf.function` of a layer's weights and arguments, which keeps no layer alive."""

    def __init__(self, method_name):
        import tensorflow as tf

        self._method_name = method_name
        self._called = threading.local()
        self._function = tf.function(self._trace, autograph=False)

    def __call__(self, layer, arguments):
        import tensorflow as tf

        self._called.layer = layer
        try:
            values = [tf.convert_to_tensor(variable.value) for variable in layer.variables]
            return self._function(values, arguments)
        finally:
            self._called.layer = None

    def _trace(self, values, arguments):
        layer = self._called.layer
        mapping = zip(layer.variables, values)
        # Variables that wait elsewhere to be made must not be made in this graph.
        with keras.StatelessScope(state_mapping=mapping, initialize_variables=False):
            return getattr(layer, self._method_name)(*arguments)


_GRAPHS = {}
_SETTINGS = threading.local()


def _configuration(layer):
    """What the graph of a layer depends on: its arguments, and weights that were added to it."""
    config = {name: value for name, value in layer.get_config().items() if name != "name"}
    weights = tuple((variable.name, variable.shape, variable.dtype) for variable in layer.variables)
    return json.dumps(config, sort_keys=True, default=str), weights


def _is_separate():
    return getattr(_SETTINGS, "is_separate", False)


def _shares():
    return is_traced() and not _is_separate()
