"""A file that is written whole or not at all."""

import os
import pathlib

from official_coca.errors import InvalidInputError


class WholeFile:
    """Opens a new file beside the path at once, and puts it in its place when it is written.

    Args:
        path: what to write; its directory is made, a file that is there is replaced.
        flag: where the path comes from, for messages.

    Raises:
        InvalidInputError: the path cannot be written.

    Example:

        with WholeFile("scores.npz", "--output") as file:
            scores = hours_of_work()
            file.write(lambda stream: numpy.savez(stream, scores=scores))
    """

    def __init__(self, path, flag):
        self._path = pathlib.Path(path)
        self._flag = flag
        self._fresh = self._path.with_name(self._path.name + ".new")
        if self._path.is_dir():
            raise InvalidInputError(f"{flag}={path} is a directory; name a file")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._stream = open(self._fresh, "wb")
        except OSError as error:
            raise self._cannot_write(error) from None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._stream.close()
        self._fresh.unlink(missing_ok=True)

    def write(self, write):
        """Calls `write(stream)` and puts the file in its place."""
        try:
            write(self._stream)
            self._stream.flush()
            os.fsync(self._stream.fileno())
            os.replace(self._fresh, self._path)
        except OSError as error:
            raise self._cannot_write(error) from None

    def _cannot_write(self, error):
        return InvalidInputError(f"{self._flag}={self._path} cannot be written: {error.strerror}")
