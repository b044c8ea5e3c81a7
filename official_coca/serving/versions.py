"""Directories of numbered versions, as TF Serving reads them: whole from their first moment on.

    DIR/1/          an older version
    DIR/2/          the newest, which is served
    DIR/.writing-*  being written, or left behind by a run that was killed; never served
"""

import os
import pathlib
import shutil
import time
import uuid

from official_coca.errors import InvalidInputError

SAVED_MODEL_FILE = "saved_model.pb"

_WRITING = ".writing-"
_ABANDONED_SECONDS = 6 * 3600


def write_version(directory, write):
    """Writes the next version; a kill at any moment leaves no part of it under its number.

    Args:
        directory: of the versions, made where it does not exist.
        write: takes the path of a new directory and fills it.

    Returns:
        The path of the version.

    Raises:
        InvalidInputError: `directory` is a file, or cannot be written to; `write` raises an
            `OSError`, as where the disk is full.
    """
    directory = pathlib.Path(directory)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(directory)
        unfinished = directory / f"{_WRITING}{uuid.uuid4().hex}"
        unfinished.mkdir()
        try:
            write(unfinished)
            return _publish(directory, unfinished)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    except OSError as error:
        reason = error.strerror or error
        raise InvalidInputError(
            f"cannot write to {directory}: {reason}; name a directory that can be written"
        ) from None


def versions_newest_first(directory):
    """Returns the paths of the versions that have a graph, the highest number first."""
    versions = (
        pathlib.Path(directory) / str(number)
        for number in sorted(_numbers(pathlib.Path(directory)), reverse=True)
    )
    return [version for version in versions if (version / SAVED_MODEL_FILE).is_file()]


def _publish(directory, unfinished):
    while True:
        version = directory / str(max(_numbers(directory), default=0) + 1)
        try:
            # Another export may have taken the number meanwhile; its directory is not empty.
            os.rename(unfinished, version)
            return version
        except OSError:
            if not version.exists():
                raise


def _numbers(directory):
    return [int(path.name) for path in directory.iterdir() if path.name.isdecimal()]


def _remove_abandoned(directory):
    for path in directory.glob(f"{_WRITING}*"):
        if time.time() - path.stat().st_mtime > _ABANDONED_SECONDS:
            shutil.rmtree(path, ignore_errors=True)
