"""The operations of a SentencePiece tokenizer, which TensorFlow itself does not have."""

import importlib


def register_text_operations(meta_graph):
    """Makes a SavedModel with such a tokenizer loadable; others are spared importing Keras.

    Args:
        meta_graph: the `MetaGraphDef` of the SavedModel.
    """
    if has_text_operations(meta_graph):
        importlib.import_module("tensorflow_text")


def has_text_operations(meta_graph):
    """Whether a graph loads only where these operations are registered."""
    names = [operation.name for operation in meta_graph.meta_info_def.stripped_op_list.op]
    return any(name.startswith("Sentencepiece") for name in names)
