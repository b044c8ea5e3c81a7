"""Writes a model as a versioned SavedModel, with everything that a server wants beside it.

    DIR/1/saved_model.pb, variables/    the model
    DIR/1/README.md                     its card: signatures, limits, how to call it
    DIR/1/assets.extra/                 requests that a server warms up with
    DIR/serving_kit/                    configuration and example clients for TF Serving
    DIR/text_preprocessor/1/, DIR/text_encoder/1/    on request, the pair of the TF-Hub text API
"""

import contextlib
import os
import pathlib

import keras
import tensorflow as tf

from official_coca.errors import InvalidInputError
from official_coca.preprocessing.safe_decode import MAX_PIXELS
from official_coca.serving.export_module import ExportModule
from official_coca.serving.model_card import model_card
from official_coca.serving.serving_kit import KIT_DIRECTORY, write_serving_kit
from official_coca.serving.signature import read_meta_graph
from official_coca.serving.surplus_operations import drop_surplus_operations
from official_coca.serving.text_operations import has_text_operations
from official_coca.serving.text_pair import TextEncoder, TextPreprocessor
from official_coca.serving.variable_names import name_variables
from official_coca.serving.versions import write_version
from official_coca.serving.warmup import write_warmup_requests

PRECISIONS = ("float32", "bfloat16")
_TEXT_PAIR = ("text_preprocessor", "text_encoder")


def export_saved_model(
    model,
    directory,
    signatures=None,
    sampler="greedy",
    max_caption_length=None,
    precision="float32",
    max_image_pixels=MAX_PIXELS,
    merge_rows=False,
    text_pair=False,
    **sampler_options,
):
    """Writes the next version of a SavedModel.

    Args:
        model: see `ExportModule`.
        directory: of the versions.
        signatures: names to write; None for all that the model is capable of.
        sampler: see `ExportModule`.
        max_caption_length: see `ExportModule`.
        precision: "float32", or "bfloat16" for half the size: weights and arithmetic are rounded
            to 8 bits; outputs stay float32.
        max_image_pixels: see `ExportModule`.
        merge_rows: see `ExportModule`.
        text_pair: whether to write the text preprocessor and encoder of the TF-Hub text API too.
        **sampler_options: see `ExportModule`.

    Returns:
        The path of the version.

    Raises:
        InvalidInputError: what `ExportModule` refuses, an unknown precision, or a directory that
            cannot be written. No version is written then.
    """
    directory = pathlib.Path(directory)
    _check_places(directory, (KIT_DIRECTORY, *_TEXT_PAIR) if text_pair else (KIT_DIRECTORY,))
    facts = {"precision": precision, "sampler": sampler, **sampler_options}
    if model.dtype_policy.name != precision:
        facts["dtype policy of the model itself"] = model.dtype_policy.name
    model = to_precision(model, precision)
    module = ExportModule(
        model,
        sampler,
        max_caption_length,
        max_image_pixels,
        merge_rows,
        signatures,
        **sampler_options,
    )
    names = [variable.path for variable in model.weights]

    def write(path):
        _write(module, names, facts, path)
        # What fails here must do so before the version has its number.
        write_serving_kit(directory)
        if text_pair:
            _write_text_pair(model, names, directory)

    return write_version(directory, write)


def _check_places(directory, names):
    """Raises `InvalidInputError` before the work if a file is where a directory must be."""
    for place in (directory / name for name in names):
        if os.path.lexists(place) and not place.is_dir():
            raise InvalidInputError(
                f"{place} is a file where the export needs a directory; move it, or export to "
                "another directory"
            )


def _write_text_pair(model, names, directory):
    preprocessor, encoder = (directory / name for name in _TEXT_PAIR)
    write_version(preprocessor, lambda path: _save(TextPreprocessor(model.preprocessor), path))
    write_version(encoder, lambda path: _save(TextEncoder(model), path, names))


def _write(module, names, facts, path):
    module.trace_calls()
    default = module.default_signature.name
    functions = {s.name: getattr(module, s.name) for s in module.offered_signatures}
    _save(module, path, names, {"serving_default": functions[default], **functions})
    with _file_errors():
        has_warmup = write_warmup_requests(module, path)
    facts = {**facts, "warm-up requests": "yes" if has_warmup else "none"}
    card = model_card(module, facts, has_text_operations(read_meta_graph(path)))
    (path / "README.md").write_text(card, encoding="utf-8")


def _save(module, path, variable_names=None, signatures=None):
    with _file_errors():
        tf.saved_model.save(module, str(path), signatures=signatures)
        drop_surplus_operations(path)
    if variable_names:
        name_variables(path, variable_names)


@contextlib.contextmanager
def _file_errors():
    """Raises `OSError` for a file that TensorFlow could not write, as Python does."""
    try:
        yield
    except tf.errors.OpError as error:  # "FILE; REASON"
        raise OSError(error.message.rpartition("; ")[2]) from error


def to_precision(model, precision):
    """Returns the model with weights and arithmetic in `precision`; itself if it is so.

    Raises:
        InvalidInputError: a precision that is not in `PRECISIONS`.
    """
    if precision not in PRECISIONS:
        raise InvalidInputError(
            f"precision={precision!r} is unknown; choose one of {', '.join(PRECISIONS)}"
        )
    if model.dtype_policy.name == precision:
        return model
    other = type(model).from_config(
        {**model.get_config(), "dtype": precision, "preprocessor": None}
    )
    other.preprocessor = model.preprocessor
    for new, old in zip(other.weights, model.weights, strict=True):
        new.assign(keras.ops.cast(old.value, new.dtype))
    return other
