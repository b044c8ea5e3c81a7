"""Gives the variables of a SavedModel names that tell them apart.

A Keras model calls thirty variables `kernel`; HDF5 and other formats that know weights by name
cannot keep a model that such a SavedModel is a layer of.
"""

from official_coca.serving.rewritten import rewritten


def name_variables(directory, names):
    """Names the variables of the saved object's list `variables`, in its order.

    Args:
        directory: of a SavedModel whose root object has such a list.
        names: a string for each.
    """
    with rewritten(directory) as saved_model:
        for meta_graph in saved_model.meta_graphs:
            nodes = meta_graph.object_graph_def.nodes
            root = {child.local_name: nodes[child.node_id] for child in nodes[0].children}
            variables = {int(child.local_name): child for child in root["variables"].children}
            for index, name in enumerate(names):
                nodes[variables[index].node_id].variable.name = name
