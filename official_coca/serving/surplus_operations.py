"""Drops what a SavedModel's graphs have twice or for nothing, so that it loads sooner.

Python code that is traced makes a constant wherever it writes a number, half the operations of an
export, an identity of whatever a function or a loop returns, and a size wherever one could be
wanted; what a signature has two names for is written twice. Loading takes time in proportion to
the operations and functions. TensorFlow drops them before it runs a graph, so that what the model
computes is the same.
"""

from tensorflow.core.framework import function_pb2
from tensorflow.python.framework import op_def_registry  # nothing public tells what has effects

from official_coca.serving.rewritten import rewritten

_DISABLE_COPY_ON_READ = "DisableCopyOnRead"
_COLOCATION = "_class"
_VALUE = ":output:0"  # the output of a constant or an identity, as a function refers to it


def drop_surplus_operations(directory):
    """Rewrites `saved_model.pb` of a directory, and the fingerprint that belongs to it."""
    with rewritten(directory) as saved_model:
        for meta_graph in saved_model.meta_graphs:
            for function in meta_graph.graph_def.library.function:
                _drop_modes(function)
                _drop_equal(function)
                _drop_unread(function)
            _merge_functions(meta_graph)


def _drop_modes(function):
    """Drops what makes reading a variable after updates of some of its rows cheaper.

    Saving has one for each variable; at worst it makes one more copy without.
    """
    dropped = [
        index for index, node in enumerate(function.node_def) if node.op == _DISABLE_COPY_ON_READ
    ]
    names = {function.node_def[index].name for index in dropped}
    _delete(function.node_def, dropped)
    for node in function.node_def:
        node.input[:] = [name for name in node.input if name.removeprefix("^") not in names]
    for output, name in dict(function.control_ret).items():
        if name in names:
            del function.control_ret[output]
            function.signature.control_output.remove(output)


def _drop_equal(function):
    """Drops constants and identities of a function, but for those named as more than a value."""
    named = set(_named_otherwise(function))
    constants, instead, surplus = {}, {}, []
    for index, node in enumerate(function.node_def):
        if node.name in named:
            continue
        value = node.name + _VALUE
        if node.op == "Const":
            value = constants.setdefault(_content(node), value)
        elif node.op == "Identity" and len(node.input) == 1:  # it waits for no other operation
            value = node.input[0]
        if value != node.name + _VALUE:
            instead[node.name + _VALUE] = value
            surplus.append(index)
    _delete(function.node_def, surplus)
    for node in function.node_def:
        node.input[:] = [_kept(name, instead) for name in node.input]
    for output, name in dict(function.ret).items():  # a copy, since it is assigned to
        function.ret[output] = _kept(name, instead)


def _drop_unread(function):
    """Drops nodes of a `FunctionDef` without effects whose results nothing reads."""
    while True:
        read = set(_named_otherwise(function))
        values = (value for node in function.node_def for value in node.input)
        read.update(value.split(":")[0] for value in (*values, *function.ret.values()))
        unread = [
            index
            for index, node in enumerate(function.node_def)
            if node.name not in read and _has_no_effects(node.op)
        ]
        if not unread:
            return
        _delete(function.node_def, unread)


def _has_no_effects(operation):
    definition = op_def_registry.get(operation)
    return definition is not None and not definition.is_stateful


def _merge_functions(meta_graph):
    """Keeps one of functions that do the same, with the same weights if they have any."""
    library, objects = meta_graph.graph_def.library, meta_graph.object_graph_def
    untouched = {function.gradient_func for function in library.registered_gradients}
    for gradient in library.gradient:
        untouched.update((gradient.function_name, gradient.gradient_func))
    kept, instead, surplus = {}, {}, []
    for index, function in enumerate(library.function):
        name = function.signature.name
        if name in untouched:
            continue
        first = kept.setdefault(_function_content(function, objects), name)
        if first != name:
            instead[name] = first
            surplus.append(index)
    _delete(library.function, surplus)
    for name in instead:
        objects.concrete_functions.pop(name, None)
    _rename_functions(meta_graph, instead)


def _function_content(function, objects):
    """What a function is, but for its name and those of weights, which are only counted."""
    content = function_pb2.FunctionDef()
    content.CopyFrom(function)
    content.signature.ClearField("name")
    for attributes in content.arg_attr.values():
        attributes.attr.pop("_user_specified_name", None)
    name = function.signature.name
    as_object = objects.concrete_functions[name] if name in objects.concrete_functions else None
    return tuple(
        part if part is None else part.SerializeToString(deterministic=True)
        for part in (content, as_object)
    )


def _rename_functions(meta_graph, instead):
    graph = meta_graph.graph_def
    for nodes in (graph.node, *(function.node_def for function in graph.library.function)):
        for node in nodes:
            for attribute in node.attr.values():
                functions = [attribute.func] if attribute.HasField("func") else attribute.list.func
                for function in functions:
                    function.name = instead.get(function.name, function.name)
    for saved in meta_graph.object_graph_def.nodes:
        kind = saved.WhichOneof("kind")
        if kind == "bare_concrete_function":
            function = saved.bare_concrete_function
            name = function.concrete_function_name
            function.concrete_function_name = instead.get(name, name)
        elif kind == "function":
            names = saved.function.concrete_functions
            names[:] = [instead.get(name, name) for name in names]


def _named_otherwise(function):
    """Names of nodes that must run before another one, or that another one must run beside."""
    yield from function.control_ret.values()
    for node in function.node_def:
        yield from (name[1:] for name in node.input if name.startswith("^"))
        places = node.attr[_COLOCATION].list.s if _COLOCATION in node.attr else ()
        yield from (place.decode().removeprefix("loc:@") for place in places)


def _content(node):
    attributes = (
        (name, value.SerializeToString(deterministic=True)) for name, value in node.attr.items()
    )
    return node.device, tuple(node.input), tuple(sorted(attributes))


def _delete(repeated, indices):
    for index in reversed(indices):
        del repeated[index]


def _kept(name, instead):
    """The value that takes the place of a value, which may have been replaced itself."""
    while name in instead:
        name = instead[name]
    return name
