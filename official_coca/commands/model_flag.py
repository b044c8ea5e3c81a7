"""The flag --model, which every command that runs a model has."""

import os
import sys

from official_coca.errors import InvalidInputError
from official_coca.models.open_weights import OPEN_WEIGHTS
from official_coca.program import MODEL_VARIABLE

CAPTIONING_MODEL = "coca_vit_l_14_mscoco"
# The smaller one: whoever embeds has many images.
EMBEDDING_MODEL = "coca_vit_b_32_laion2b"
ELSE = f"${MODEL_VARIABLE}, else {{}}"


def add_model_flag(parser, default):
    """Adds --model; `default` says what a person gets who names none."""
    parser.add_argument(
        "--model",
        metavar="HANDLE",
        help="a preset directory, a directory of open_clip's, hf://owner/repository or a name that "
        f"`coca presets` lists; default: {default}",
    )


def chosen_model(flag, default):
    """The handle to load: the flag, else the environment's, else `default`."""
    return flag or os.environ.get(MODEL_VARIABLE) or default


def load_model(handle):
    """Returns the CoCa of a handle, with weights and a preprocessor.

    Raises:
        InvalidInputError: as `CoCa.from_preset`, or the model has no preprocessor.
    """
    model = load_weights(handle)
    if model.preprocessor is None:
        raise InvalidInputError(
            f"--model={handle} has no tokenizer; give a preset that was saved with one"
        )
    return model


def load_weights(handle):
    """Returns the CoCa of a handle, with weights, and says where they are downloaded from."""
    from official_coca.models.coca import CoCa

    source = f"hf://{OPEN_WEIGHTS[handle]}" if handle in OPEN_WEIGHTS else handle
    if "://" in source:
        print(f"model {handle}: from {source}, downloaded at its first use", file=sys.stderr)
    return CoCa.from_preset(handle, load_weights=True)
