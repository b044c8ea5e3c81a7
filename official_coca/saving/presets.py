"""Presets: directories that hold a model, in KerasHub's layout.

    config.json          class and constructor arguments
    model.weights.h5     weights
    metadata.json        versions, parameter count, date
    preprocessor.json    class and arguments of the preprocessor, if there is one
    assets/tokenizer/    its vocabulary
"""

import datetime
import functools
import json
import pathlib
import shutil
import tempfile
import warnings

import keras

from official_coca.errors import InvalidInputError
from official_coca.saving import handles
from official_coca.saving.array_copies import assigned_by_copies
from official_coca.saving.first_values import build_and_fill

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.weights.h5"
METADATA_FILE = "metadata.json"
PREPROCESSOR_FILE = "preprocessor.json"


def save_preset(model, directory):
    """Writes a model and its preprocessor.

    Everything is written beside `directory` first and moved into place when it is whole, so that
    a kill leaves either the old preset or the new one.

    Args:
        model: a `keras.Model` with a serializable `preprocessor` attribute, which may be None.
        directory: made, with its parents, where it does not exist.

    Raises:
        InvalidInputError: `directory` is a file.
    """
    directory = pathlib.Path(directory)
    if directory.exists() and not directory.is_dir():
        raise InvalidInputError(f"cannot save a preset to {directory}: it is a file")
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{directory.name}.", dir=directory.parent) as made:
        made = pathlib.Path(made)
        _write_files(model, made)
        new, old = made / "new", made / "old"
        new.mkdir()
        for path in list(made.iterdir()):
            if path != new:
                path.rename(new / path.name)
        if directory.exists():
            _keep_other_files(directory, new)
            directory.rename(old)
        new.rename(directory)


def _write_files(model, directory):
    config = keras.saving.serialize_keras_object(model)
    # The preprocessor has a file of its own, and compile arguments belong to training.
    config["config"]["preprocessor"] = None
    config.pop("compile_config", None)
    config.pop("build_config", None)
    _write_json(directory / CONFIG_FILE, config)
    if model.preprocessor is not None:
        _write_json(
            directory / PREPROCESSOR_FILE,
            {
                "registered_name": keras.saving.get_registered_name(type(model.preprocessor)),
                "config": model.preprocessor.get_config(include_assets=False),
            },
        )
        model.preprocessor.save_assets(directory)
    model.save_weights(directory / WEIGHTS_FILE)
    _write_json(
        directory / METADATA_FILE,
        {
            "keras_version": keras.__version__,
            "parameter_count": model.count_params(),
            "date_saved": datetime.datetime.now(datetime.timezone.utc).isoformat(),
        },
    )


def _keep_other_files(directory, new):
    """Files that are no part of a preset, such as a model card, outlive a new save."""
    ours = {CONFIG_FILE, WEIGHTS_FILE, METADATA_FILE, PREPROCESSOR_FILE, "assets"}
    for path in directory.iterdir():
        if path.name not in ours:
            copy = shutil.copytree if path.is_dir() else shutil.copy2
            copy(path, new / path.name)


def load_preset(model_class, handle, directory, load_weights, overrides):
    """Loads what `save_preset` wrote.

    Args:
        model_class: the class that the preset must hold.
        handle: of the preset; see `handles`.
        directory: that `handles.resolve` gave for it.
        load_weights: False leaves the weights as they are initialised.
        overrides: constructor arguments to replace.

    Returns:
        A model of `model_class`.

    Raises:
        InvalidInputError: a missing or broken file, another class, weights that do not fit.
    """
    config = read_json(directory, CONFIG_FILE)
    registered_name = keras.saving.get_registered_name(model_class)
    if config.get("registered_name") != registered_name:
        raise InvalidInputError(
            f"preset {handle} holds {config.get('registered_name')}, not {registered_name}; load "
            "it with its own class"
        )
    arguments = {**config["config"], "preprocessor": None}
    fill = None
    if load_weights:
        directory = handles.resolve_weights(handle, directory)
        fill = functools.partial(_load_weights, directory=directory)
    model = build_model(model_class, handle, arguments, overrides, fill)
    if model.preprocessor is None:
        model.preprocessor = load_preprocessor(directory)
    return model


def build_architecture(model_class, name, arguments, load_weights, overrides):
    """Builds a built-in architecture with random weights.

    Raises:
        InvalidInputError: `load_weights` is True, since there are none.
    """
    if load_weights:
        raise InvalidInputError(
            f"preset {name!r} is an architecture without trained weights; name a trained preset, "
            "by its directory or a hub's handle (in Python, load_weights=False builds it with "
            "random ones)"
        )
    if load_weights is None:
        warnings.warn(
            f"preset {name!r} has no trained weights: the model starts from random ones "
            "(load_weights=False says that this is meant)",
            stacklevel=3,
        )
    return build_model(model_class, name, arguments, overrides)


def load_preprocessor(directory):
    """The preprocessor of a preset directory, or None where there is none."""
    directory = pathlib.Path(directory)
    if not (directory / PREPROCESSOR_FILE).exists():
        return None
    saved = read_json(directory, PREPROCESSOR_FILE)
    # Registers the class under the name that the file holds.
    from official_coca.preprocessing import preprocessor  # noqa: F401

    preprocessor_class = keras.saving.get_registered_object(saved["registered_name"])
    if preprocessor_class is None:
        raise InvalidInputError(
            f"{directory / PREPROCESSOR_FILE} names the unknown class {saved['registered_name']}; "
            "import the module that defines it first"
        )
    return preprocessor_class.from_directory(saved["config"], directory)


def build_model(model_class, handle, arguments, overrides, fill=None):
    """A model of `arguments`, some of them replaced.

    Args:
        model_class: the class.
        handle: what messages call the model.
        arguments: of its constructor.
        overrides: arguments to replace.
        fill: assigns the weights of the model that it is given; None draws them.

    Raises:
        InvalidInputError: an override that the class has no argument for.
    """
    unknown = set(overrides) - set(_constructor_arguments(model_class))
    if unknown:
        raise InvalidInputError(
            f"from_preset({str(handle)!r}) got arguments that {model_class.__name__} does not "
            f"have: {', '.join(sorted(unknown))}"
        )
    build = functools.partial(model_class.from_config, {**arguments, **overrides})
    return build() if fill is None else build_and_fill(build, fill)


def _constructor_arguments(model_class):
    import inspect

    own = inspect.signature(model_class.__init__).parameters
    return [*own, "name", "dtype", "trainable"]


def _load_weights(model, directory):
    path = directory / WEIGHTS_FILE
    if not path.exists():
        raise missing_file(directory, WEIGHTS_FILE)
    try:
        with assigned_by_copies(model.variables):
            model.load_weights(path)
    except (ValueError, OSError, KeyError) as error:
        reason = " ".join(str(error).split())
        raise InvalidInputError(f"{path} does not fit the model: {reason}") from error


def read_json(directory, name):
    path = directory / name
    if not path.exists():
        raise missing_file(directory, name)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InvalidInputError(
            f"{path} is not valid JSON ({error}); save the preset again"
        ) from None


def missing_file(directory, name):
    return InvalidInputError(
        f"preset directory {directory} has no {name}; save it again with save_to_preset()"
    )


def _write_json(path, value):
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
