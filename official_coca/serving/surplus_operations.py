"""Drops operations of a SavedModel's functions that others do the work of, so it loads sooner.

Python code that is traced makes a constant wherever it writes a number, half the operations of an
export, and an identity of whatever a function or a loop returns; loading takes time in proportion
to the operations. TensorFlow drops them before it runs a graph, so that what the model computes is
the same.
"""

from official_coca.serving.rewritten import rewritten

_COLOCATION = "_class"
_VALUE = ":output:0"  # the output of a constant or an identity, as a function refers to it


def drop_surplus_operations(directory):
    """Rewrites `saved_model.pb` of a directory, and the fingerprint that belongs to it."""
    with rewritten(directory) as saved_model:
        for meta_graph in saved_model.meta_graphs:
            for function in meta_graph.graph_def.library.function:
                _drop(function)


def _drop(function):
    """Drops nodes of a `FunctionDef`, but for those named as more than a value."""
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
    for index in reversed(surplus):
        del function.node_def[index]
    for node in function.node_def:
        node.input[:] = [_kept(name, instead) for name in node.input]
    for output, name in dict(function.ret).items():  # a copy, since it is assigned to
        function.ret[output] = _kept(name, instead)


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


def _kept(name, instead):
    """The value that takes the place of a value, which may have been replaced itself."""
    while name in instead:
        name = instead[name]
    return name
