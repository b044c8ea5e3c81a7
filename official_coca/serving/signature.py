"""What a signature of a SavedModel takes and gives, read from its `SignatureDef`."""

import dataclasses
import pathlib

import tensorflow as tf
from google.protobuf import json_format, message
from tensorflow.core.protobuf import saved_model_pb2

# TensorFlow's own entries among the signatures of a SavedModel; nobody calls them.
_INTERNAL_SIGNATURES = {"__saved_model_init_op", "__saved_model_train_op"}


@dataclasses.dataclass(frozen=True)
class TensorInfo:
    """dtype: a `tf.DType`. shape: a tuple with None for any size; None for any rank."""

    dtype: tf.DType
    shape: tuple | None

    @classmethod
    def from_proto(cls, proto):
        shape = None
        if not proto.tensor_shape.unknown_rank:
            shape = tuple(None if dim.size < 0 else dim.size for dim in proto.tensor_shape.dim)
        return cls(tf.dtypes.as_dtype(proto.dtype), shape)

    def accepts(self, shape):
        """Whether a tensor of this shape fits."""
        return self.shape is None or (
            len(shape) == len(self.shape)
            and all(wanted in (None, size) for wanted, size in zip(self.shape, shape))
        )

    def __str__(self):
        if self.shape is None:
            return f"{self.dtype.name} of any shape"
        sizes = ", ".join("?" if size is None else str(size) for size in self.shape)
        return f"{self.dtype.name} of shape ({sizes})"


@dataclasses.dataclass(frozen=True)
class Signature:
    """A signature: `inputs` and `outputs` by name, `defaults` of inputs that may be left out."""

    name: str
    inputs: dict
    outputs: dict
    defaults: dict
    proto: object

    @classmethod
    def from_proto(cls, name, proto):
        return cls(
            name,
            {key: TensorInfo.from_proto(info) for key, info in sorted(proto.inputs.items())},
            {key: TensorInfo.from_proto(info) for key, info in sorted(proto.outputs.items())},
            {key: tf.make_ndarray(value) for key, value in proto.defaults.items()},
            proto,
        )

    @property
    def may_be_by_rows(self):
        """Whether every output may have an entry for each row of the inputs, whatever their number.

        Only a call tells it of an output whose rank is unknown.
        """
        shapes = [info.shape for info in self.outputs.values()]
        return all(shape is None or shape[:1] == (None,) for shape in shapes)

    def to_json(self):
        """The `SignatureDef` as TF Serving's metadata prints it: every field, proto names."""
        return json_format.MessageToDict(
            self.proto,
            preserving_proto_field_name=True,
            always_print_fields_with_no_presence=True,
        )


def read_meta_graph(directory):
    """Returns the `MetaGraphDef` to serve of a SavedModel.

    Raises:
        ValueError: the file is cut short, or has no graph with the tag `serve`.
        OSError: it cannot be read.
    """
    path = pathlib.Path(directory) / "saved_model.pb"
    saved_model = saved_model_pb2.SavedModel()
    try:
        saved_model.ParseFromString(path.read_bytes())
    except message.DecodeError as error:
        raise ValueError(f"{path} is not a whole SavedModel: {error}") from None
    for meta_graph in saved_model.meta_graphs:
        if "serve" in meta_graph.meta_info_def.tags:
            return meta_graph
    raise ValueError(f"{path} has no graph with the tag 'serve'")


def read_signatures(meta_graph):
    """{name: `Signature`} of the signatures that a client may call."""
    return {
        name: Signature.from_proto(name, proto)
        for name, proto in sorted(meta_graph.signature_def.items())
        if name not in _INTERNAL_SIGNATURES
    }
