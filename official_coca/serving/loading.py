"""One way to load what the package writes: presets and SavedModels."""

from official_coca.errors import InvalidInputError
from official_coca.models.coca import CoCa
from official_coca.models.coca_presets import PRESETS
from official_coca.models.open_clip_checkpoint import is_open_clip_checkpoint
from official_coca.models.open_weights import OPEN_WEIGHTS
from official_coca.saving import handles
from official_coca.saving.presets import CONFIG_FILE
from official_coca.serving.served_version import check_files
from official_coca.serving.signature import read_meta_graph
from official_coca.serving.text_operations import register_text_operations
from official_coca.serving.versions import SAVED_MODEL_FILE, versions_newest_first


def load(handle):
    """Loads a preset as a `CoCa`, or a SavedModel as `tf.saved_model.load` does.

    Args:
        handle: a directory, "hf://owner/repository" or "kaggle://owner/model/framework/variation"
            with a preset, a checkpoint of open_clip, a SavedModel, or numbered versions of one, of
            which the newest that is whole is taken; or a name that `CoCa.from_preset` knows. What
            was downloaded before is found without a network; of Kaggle's only by its version,
            as in "kaggle://owner/model/framework/variation/2".

    Raises:
        InvalidInputError: an unknown handle, or one with neither in it.

    Example:
        served = official_coca.load("runs/saved_model")
        served.encode_image(tf.constant([jpeg]))["image_embedding"]
    """
    names = (*PRESETS, *OPEN_WEIGHTS)
    if handle in names:
        return CoCa.from_preset(handle)
    directory = handles.resolve(handle, names)
    if (directory / CONFIG_FILE).exists() or is_open_clip_checkpoint(directory):
        return CoCa.from_preset(handle)
    directory = handles.resolve_saved_model(handle, directory)
    if (directory / SAVED_MODEL_FILE).is_file():
        return _load_saved_model(directory)
    versions = versions_newest_first(directory)
    if not versions:
        raise InvalidInputError(
            f"{handle} holds neither a preset ({CONFIG_FILE}) nor a SavedModel "
            f"({SAVED_MODEL_FILE}, or numbered versions of it)"
        )
    # Where none is whole, the message says what is wrong with the newest.
    return _load_saved_model(next(filter(_is_whole, versions), versions[0]))


def _is_whole(version):
    import tensorflow as tf

    try:
        check_files(version, read_meta_graph(version))
    except (OSError, ValueError, tf.errors.OpError):
        return False
    return True


def _load_saved_model(directory):
    import tensorflow as tf

    try:
        meta_graph = read_meta_graph(directory)
        check_files(directory, meta_graph)
        register_text_operations(meta_graph)
        return tf.saved_model.load(str(directory))
    except (OSError, ValueError, tf.errors.OpError) as error:
        reason = " ".join(str(error).split())
        raise InvalidInputError(f"the SavedModel {directory} cannot be read: {reason}") from None
