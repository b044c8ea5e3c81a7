"""One writer of an index at a time."""

import contextlib
import errno
import fcntl
import pathlib

from official_coca.commands.embedding_index import INDEX_FILE
from official_coca.errors import InvalidInputError

_LOCK_FILE = "lock"


@contextlib.contextmanager
def writing_lock(directory, flag="--output"):
    """Keeps others from writing the index at the same time; a kill frees it.

    Where the context ends by an exception before anything is written, nothing is left behind. An
    index that is there may lie where nothing can be written: that matters only if something must.

    Args:
        directory: of the index; it is made.
        flag: that names the directory, for messages.

    Raises:
        InvalidInputError: another process writes, or the directory holds something else.
    """
    directory = pathlib.Path(directory)
    try:
        is_new = not directory.exists()
        directory.mkdir(parents=True, exist_ok=True)
        names = {path.name for path in directory.iterdir()}
        if names and INDEX_FILE not in names and _LOCK_FILE not in names:
            raise InvalidInputError(
                f"{flag}={directory} is a directory with other files; name a new one"
            )
        stream = _open_lock(directory, INDEX_FILE in names)
    except OSError as error:
        raise InvalidInputError(
            f"the index {directory} cannot be written: {error.strerror}; name another place with "
            f"{flag}"
        ) from None
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InvalidInputError(
                f"another coca index or coca demo is writing {directory}; wait until it is done, "
                f"or name another place with {flag}"
            ) from None
        try:
            yield
        except BaseException:
            _remove_unused(directory, is_new)
            raise


def _open_lock(directory, has_index):
    """The file to lock; without a lock, and where none can be made, the index itself will do."""
    try:
        return open(directory / _LOCK_FILE, "w")
    except OSError as error:
        if not has_index or error.errno not in (errno.EACCES, errno.EROFS):
            raise
    try:
        return open(directory / _LOCK_FILE)
    except FileNotFoundError:
        return open(directory / INDEX_FILE)


def _remove_unused(directory, is_new):
    """Removes the lock, and the directory if it is new, where there is nothing else."""
    with contextlib.suppress(OSError):  # it may be gone; what ended the context is what matters
        if [path.name for path in directory.iterdir()] == [_LOCK_FILE]:
            (directory / _LOCK_FILE).unlink()
            if is_new:
                directory.rmdir()
