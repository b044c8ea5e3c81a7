"""Reads the tensors of foreign checkpoints: safetensors with NumPy, pickles with torch if it is there."""

import functools
import importlib
import json
import pathlib
import pickle

import numpy as np

from official_coca.errors import InvalidInputError


def open_tensors(path):
    """Opens a file of named tensors; nothing that it may hold besides is executed.

    Args:
        path: a safetensors file, or a pickle of torch (`.bin`, `.pt`, `.pth`).

    Returns:
        A `NamedTensors`.

    Raises:
        InvalidInputError: the file is cut off, damaged or holds code, or torch is missing.
    """
    path = pathlib.Path(path)
    read = _safetensors if path.suffix == ".safetensors" else _pickle
    return NamedTensors(path, read(path))


class NamedTensors:
    """Tensors of a file, read one by one, each checked and taken once.

    Args:
        path: of the file, for messages.
        readers: {name: (shape, function that reads the tensor as an array)}.
    """

    def __init__(self, path, readers):
        self.path = path
        self._readers = readers
        self._left = set(readers)

    def __contains__(self, name):
        return name in self._readers

    def shape(self, name):
        return self._readers[name][0]

    def names(self):
        return self._readers.keys()

    def take(self, name, shape):
        """The tensor as float32.

        Args:
            name: of the tensor.
            shape: that it must have.

        Raises:
            InvalidInputError: there is no such tensor, or it has another shape.
        """
        if name not in self._readers:
            raise InvalidInputError(
                f"{self.path} has no tensor {name!r} of shape {tuple(shape)}, which its "
                "configuration asks for; it belongs to another model, or is not whole"
            )
        found, read = self._readers[name]
        if tuple(found) != tuple(shape):
            raise InvalidInputError(
                f"tensor {name!r} of {self.path} has shape {tuple(found)}, but the model of its "
                f"configuration has {tuple(shape)} there"
            )
        self._left.discard(name)
        return np.asarray(read(), "float32")

    def ignore(self, names):
        """Counts tensors as taken that a model has no use for."""
        self._left.difference_update(names)

    def check_all_taken(self):
        """Raises `InvalidInputError` if a tensor was left over."""
        if self._left:
            name, *others = sorted(self._left)
            more = f" and {len(others)} more" if others else ""
            raise InvalidInputError(
                f"{self.path} has the unknown tensor {name!r} of shape {tuple(self.shape(name))}"
                f"{more}; the configuration describes no place for it"
            )


def _safetensors(path):
    """Readers of a safetensors file that look into it where it lies, without a copy."""
    import ml_dtypes
    import safetensors

    try:
        # Checks that the header is sound and that the tensors fill the file exactly.
        safetensors.safe_open(path, framework="numpy")
    except (safetensors.SafetensorError, OSError) as error:
        raise InvalidInputError(
            f"{path} is not a whole safetensors file ({error}); download it again"
        ) from None
    dtypes = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": ml_dtypes.bfloat16}
    content = np.memmap(path, mode="r")
    start = 8 + int(content[:8].view("<u8")[0])
    header = json.loads(content[8:start].tobytes())

    def read(name):
        entry = header[name]
        begin, end = (start + offset for offset in entry["data_offsets"])
        if entry["dtype"] not in dtypes:
            raise InvalidInputError(
                f"tensor {name!r} of {path} has the type {entry['dtype']}; only floating-point "
                "weights can be read, so convert the checkpoint to float32 first"
            )
        return content[begin:end].view(dtypes[entry["dtype"]]).reshape(entry["shape"])

    return {
        name: (tuple(entry["shape"]), functools.partial(read, name))
        for name, entry in header.items()
        if name != "__metadata__"
    }


def _pickle(path):
    try:
        torch = importlib.import_module("torch")
    except ImportError:
        raise InvalidInputError(
            f"{path} is a pickle, which only torch reads safely: pip install torch, then `coca "
            "convert` it once; what that writes needs no torch"
        ) from None
    try:
        # weights_only: tensors and plain containers; a pickle that calls anything else is refused.
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise InvalidInputError(
            f"{path} holds more than tensors and may run code when it is read; nothing of it was "
            "executed; ask its owner for a safetensors file"
        ) from None
    except (RuntimeError, OSError, EOFError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InvalidInputError(
            f"{path} is not a whole torch checkpoint ({reason}); download it again"
        ) from None
    return {
        name: (tuple(tensor.shape), lambda tensor=tensor: tensor.detach().float().numpy())
        for name, tensor in _state_dict(state, path).items()
    }


def _state_dict(state, path):
    """The tensors of a checkpoint, without what training wrapped around them."""
    state = state.get("state_dict", state) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not all(hasattr(t, "shape") for t in state.values()):
        raise InvalidInputError(f"{path} is no dictionary of tensors; give a checkpoint of open_clip")
    return {name.removeprefix("module."): tensor for name, tensor in state.items()}
