"""Keeps one of equal constants in each function of a SavedModel, so that it loads sooner.

Python code that is traced makes a constant wherever it writes a number, half the operations of an
export; loading takes time in proportion to the operations. TensorFlow merges them before it runs
a graph, so that what the model computes is the same.
"""

from official_coca.serving.rewritten import rewritten

_COLOCATION = "_class"


def merge_equal_constants(directory):
    """Rewrites `saved_model.pb` of a directory, and the fingerprint that belongs to it."""
    with rewritten(directory) as saved_model:
        for meta_graph in saved_model.meta_graphs:
            for function in meta_graph.graph_def.library.function:
                _merge(function)


def _merge(function):
    """Merges the constants of a `FunctionDef`, but for those named as more than a value."""
    named = set(_named_otherwise(function))
    first, replaced, surplus = {}, {}, []
    for index, node in enumerate(function.node_def):
        if node.op == "Const" and node.name not in named:
            kept = first.setdefault(_content(node), node.name)
            if kept != node.name:
                replaced[node.name] = kept
                surplus.append(index)
    for index in reversed(surplus):
        del function.node_def[index]
    for node in function.node_def:
        node.input[:] = [_renamed(name, replaced) for name in node.input]
    for output, name in dict(function.ret).items():  # a copy, since it is assigned to
        function.ret[output] = _renamed(name, replaced)


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


def _renamed(reference, replaced):
    """The reference "node:output:index" with the node that is kept."""
    name, colon, output = reference.partition(":")
    return replaced.get(name, name) + colon + output
