"""Writes a model in this package's own format, a preset directory.

    coca convert hf://laion/CoCa-ViT-B-32-laion2B-s13B-b90k my_model

Loading a preset needs neither network nor torch. An existing preset is replaced; files in DST that
are no part of a preset are kept.
"""

import os
import pathlib
import sys

from official_coca.commands.model_flag import load_weights
from official_coca.errors import InvalidInputError
from official_coca.printing import print_line
from official_coca.program import ArgumentParser, run_program, text_argument


def main(arguments):
    flags = _parse(arguments)
    destination = pathlib.Path(flags.destination)
    _check_destination(destination, flags.overwrite)
    model = load_weights(flags.source)
    _save(model, destination)
    print_line(f"wrote {destination}: {model.count_params():,} parameters")
    for path in sorted(destination.rglob("*")):
        if path.is_file():
            print_line(f"  {path.relative_to(destination)}  {path.stat().st_size:,} bytes")
    if model.preprocessor is None:
        print("it has no tokenizer: it takes token ids, not strings", file=sys.stderr)


def _save(model, destination):
    import tensorflow as tf

    try:
        model.save_to_preset(destination)
    except (OSError, tf.errors.OpError) as error:
        # The words of h5py are many; TensorFlow writes the tokenizer, "PATH; REASON".
        number = getattr(error, "errno", None)
        reason = os.strerror(number) if number else str(error).rpartition("; ")[2]
        raise InvalidInputError(f"DST {destination} cannot be written: {reason}") from None


def _check_destination(destination, overwrite):
    """Raises `InvalidInputError` before the work if DST cannot or should not be written."""
    from official_coca.saving.presets import CONFIG_FILE, METADATA_FILE

    if destination.exists() and not destination.is_dir():
        raise InvalidInputError(f"DST {destination} is a file; name a directory")
    if destination.is_dir() and any(destination.iterdir()) and not overwrite:
        if not ((destination / CONFIG_FILE).exists() and (destination / METADATA_FILE).exists()):
            raise InvalidInputError(
                f"DST {destination} is a directory with other files; name a new one, or give "
                "--overwrite to add the preset to them"
            )
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInputError(
            f"DST {destination} cannot be written: {error.strerror}"
        ) from None
    if not os.access(destination.parent, os.W_OK):
        raise InvalidInputError(f"DST {destination} cannot be written: permission denied")


def _parse(arguments):
    parser = ArgumentParser(prog="coca convert", description=__doc__)
    parser.add_argument(
        "source",
        metavar="SRC",
        help="a directory of open_clip's, a preset, hf://owner/repository or a name that "
        "`coca presets` lists",
    )
    parser.add_argument(
        "destination", type=text_argument, metavar="DST", help="directory to write"
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="write into a directory that has other files"
    )
    return parser.parse_intermixed_args(arguments)


if __name__ == "__main__":
    sys.exit(run_program(main))
