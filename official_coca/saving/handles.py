"""From the handle of a preset to a local directory, downloaded where need be.

A handle is a directory, "hf://owner/repository[@revision]" or
"kaggle://owner/model/framework/variation".
"""

import importlib
import importlib.util
import os
import pathlib

from official_coca.errors import InvalidInputError

_HUGGING_FACE, _KAGGLE = "hf://", "kaggle://"

# Everything of a repository that describes a model: configurations and tokenizers.
_DESCRIPTIONS = ("*.json", "*.txt", "*.txt.gz", "assets/**")
# Weights that are read without running anything, and those that a pickle holds.
_WEIGHTS = ("model.weights.h5", "open_clip_model.safetensors", "open_clip_pytorch_model.safetensors")
_PICKLED_WEIGHTS = ("open_clip_pytorch_model.bin",)
_SAVED_MODELS = ("*saved_model.pb", "*fingerprint.pb", "*variables/*", "*assets/*")

# Exceptions of huggingface_hub, and of requests, which kagglehub lets through; their own messages
# are about internals.
_REASONS = {
    "RepositoryNotFoundError": "the hub has no such repository, or it is private",
    "GatedRepoError": "its owner gives access only on request, on the hub's page of it",
    "RevisionNotFoundError": "the repository has no such revision",
    "HFValidationError": "the name is not of the form owner/repository",
    "LocalEntryNotFoundError": "there is no network, and nothing of it is in the cache",
    "ConnectionError": "there is no network, or the hub cannot be reached through it",
    "Timeout": "the hub does not answer in time",
}


def resolve(handle, built_in=()):
    """The local directory of a handle, with everything but, on a hub, the weights.

    Args:
        handle: see above.
        built_in: names that need no files, for the message.

    Raises:
        InvalidInputError: no such directory or repository, or it can be neither downloaded nor
            found in the cache.
    """
    handle = str(handle)
    try:
        handle.encode("utf-8")
    except UnicodeEncodeError:  # what reads the weights and the tokenizer takes nothing else
        raise InvalidInputError(
            f"the preset {handle!r} has a name that is not valid UTF-8; rename it"
        ) from None
    if handle.startswith(_HUGGING_FACE):
        return _from_hugging_face(handle, _DESCRIPTIONS)
    if handle.startswith(_KAGGLE):
        return _download(
            handle,
            "kagglehub",
            lambda hub: hub.model_download(handle.removeprefix(_KAGGLE)),
        )
    if not handle:
        raise InvalidInputError("the preset's handle is empty; name a directory or a preset")
    directory = pathlib.Path(handle)
    if not os.path.isdir(directory):  # which takes names that are too long, too
        raise InvalidInputError(
            f"unknown preset {handle!r}: it is neither a directory nor one of "
            f"{', '.join(built_in)}, nor does it begin with hf:// or kaggle://"
        )
    return directory


def resolve_weights(handle, directory):
    """The local directory of a handle with its weights, gigabytes of them perhaps.

    Args:
        handle: see above.
        directory: what `resolve` gave for it.

    Raises:
        InvalidInputError: as `resolve`; or the repository has nothing but a pickle, and torch is
            not there to read it.
    """
    handle = str(handle)
    if not handle.startswith(_HUGGING_FACE):
        return directory
    directory = _from_hugging_face(handle, (*_DESCRIPTIONS, *_WEIGHTS))
    if any((directory / name).exists() for name in _WEIGHTS):
        return directory
    if importlib.util.find_spec("torch") is None:
        raise InvalidInputError(
            f"{handle} has no weights but, at best, a pickle ({_PICKLED_WEIGHTS[0]}), which only "
            "torch reads safely: pip install torch, then `coca convert` it once; what that writes "
            "needs no torch"
        )
    return _from_hugging_face(handle, (*_DESCRIPTIONS, *_PICKLED_WEIGHTS))


def resolve_saved_model(handle, directory):
    """The local directory of a handle with the SavedModels that it holds; as `resolve_weights`."""
    handle = str(handle)
    if not handle.startswith(_HUGGING_FACE):
        return directory
    return _from_hugging_face(handle, (*_DESCRIPTIONS, *_SAVED_MODELS))


def _from_hugging_face(handle, patterns):
    repository, _, revision = handle.removeprefix(_HUGGING_FACE).partition("@")
    return _download(
        handle,
        "huggingface_hub",
        lambda hub: hub.snapshot_download(
            repository.strip("/"), revision=revision or None, allow_patterns=list(patterns)
        ),
    )


def _download(handle, module_name, fetch):
    try:
        hub = importlib.import_module(module_name)
    except ImportError as error:
        raise InvalidInputError(
            f"{handle} needs the package {module_name}; install it with pip"
        ) from error
    try:
        return pathlib.Path(fetch(hub))
    except Exception as error:  # Each hub has its own exceptions for no network and no such name.
        raise InvalidInputError(
            f"cannot download {handle}: {_reason(error)}; check the name and the network, or pass "
            "a local directory"
        ) from error


def _reason(error):
    """What went wrong, in a few words."""
    for kind in type(error).__mro__:  # the most special reason first
        if kind.__name__ in _REASONS:
            return _REASONS[kind.__name__]
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else repr(error)
