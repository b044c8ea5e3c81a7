"""Loads a directory in open_clip's layout: `open_clip_config.json`, weights, tokenizer files."""

import functools
import pathlib
import warnings

from official_coca.errors import InvalidInputError
from official_coca.models.open_clip_config import CONFIG_FILE, coca_arguments
from official_coca.models.open_clip_weights import assign_weights
from official_coca.saving import handles, presets
from official_coca.saving.tensor_files import open_tensors

# In open_clip's own order of preference.
WEIGHT_FILES = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
    "open_clip_pytorch_model.pth",
)


def is_open_clip_checkpoint(directory):
    """Whether a directory has open_clip's configuration, and none of our presets'."""
    directory = pathlib.Path(directory)
    return (directory / CONFIG_FILE).exists() and not (directory / presets.CONFIG_FILE).exists()


def load_open_clip_checkpoint(model_class, handle, directory, load_weights, overrides):
    """A CoCa with the weights, tokenizer and pixels of an open_clip checkpoint.

    Args:
        model_class: `CoCa` or a class with its arguments.
        handle: of the checkpoint; see `saving.handles`.
        directory: that `handles.resolve` gave for it.
        load_weights: False leaves the weights as they are initialised.
        overrides: constructor arguments to replace.

    Raises:
        InvalidInputError: a file is missing or damaged, or the checkpoint is not one of a CoCa
            that can be built here.
    """
    config = presets.read_json(directory, CONFIG_FILE)
    arguments = coca_arguments(config, directory / CONFIG_FILE)
    fill = None
    if load_weights:
        directory = handles.resolve_weights(handle, directory)
        fill = functools.partial(assign_weights, tensors=open_tensors(_weight_file(directory)))
    if "preprocessor" not in overrides:
        arguments["preprocessor"] = _preprocessor(config, arguments, directory)
    return presets.build_model(model_class, handle, arguments, overrides, fill)


def _weight_file(directory):
    for name in WEIGHT_FILES:
        if (directory / name).exists():
            return directory / name
    raise InvalidInputError(
        f"{directory} has no weights ({', '.join(WEIGHT_FILES[:1] + WEIGHT_FILES[2:3])}); download "
        "the checkpoint again, or in Python pass load_weights=False for its architecture alone"
    )


def _preprocessor(config, arguments, directory):
    """What turns strings and pictures into this model's inputs; None without its vocabulary."""
    # It needs TensorFlow, which the model itself does not.
    from official_coca.preprocessing.clip_tokenizer import CLIPTokenizer
    from official_coca.preprocessing.image import ImageConverter
    from official_coca.preprocessing.preprocessor import ImageTextPreprocessor

    tokenizer = CLIPTokenizer.from_checkpoint(directory)
    if tokenizer.vocabulary_size > arguments["vocabulary_size"]:
        warnings.warn(
            f"{directory} has a vocabulary of {arguments['vocabulary_size']} tokens and no "
            "tokenizer files for it: the model takes token ids and float images only",
            stacklevel=4,
        )
        return None
    arguments["bos_token_id"] = tokenizer.bos_token_id
    arguments["eos_token_id"] = tokenizer.eos_token_id
    return ImageTextPreprocessor(
        tokenizer,
        ImageConverter.from_preprocess_cfg(
            config.get("preprocess_cfg", {}), arguments["image_size"]
        ),
        max_length=arguments["max_length"],
        texts_end_with_eos=True,
    )
