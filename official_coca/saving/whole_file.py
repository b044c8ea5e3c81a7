"""A file that is written whole or not at all."""

import contextlib
import os
import pathlib
import stat

from official_coca.errors import InvalidInputError


class WholeFile:
    """Opens a new file beside the path at once, and puts it in its place when it is written.

    A link stays what it is: the file that it leads to is written.

    Args:
        path: what to write; its directory is made, a file that is there is replaced.
        flag: where the path comes from, for messages; None for no flag.

    Raises:
        InvalidInputError: the path cannot be written, or is no regular file.

    Example:

        with WholeFile("scores.npz", "--output") as file:
            scores = hours_of_work()
            file.write(lambda stream: numpy.savez(stream, scores=scores))
    """

    def __init__(self, path, flag=None):
        self._name = str(path) if flag is None else f"{flag}={path}"
        self._place = pathlib.Path(os.path.realpath(path))
        self._fresh = self._place.with_name(self._place.name + ".new")
        try:
            self._check_place()
            self._place.parent.mkdir(parents=True, exist_ok=True)
            self._stream = open(self._fresh, "wb")
        except OSError as error:
            raise self._cannot_write(error) from None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with contextlib.suppress(OSError):  # of what could not be written, as `write` has told
            self._stream.close()
        self._fresh.unlink(missing_ok=True)

    def write(self, write):
        """Calls `write(stream)` and puts the file in its place."""
        try:
            write(self._stream)
            self._stream.flush()
            os.fsync(self._stream.fileno())
            os.replace(self._fresh, self._place)
        except OSError as error:
            raise self._cannot_write(error) from None

    def _check_place(self):
        """Raises `InvalidInputError` where a new file must not take the place of what is there."""
        try:
            mode = os.stat(self._place).st_mode
        except FileNotFoundError:
            return
        if stat.S_ISDIR(mode):
            raise InvalidInputError(f"{self._name} is a directory; name a file")
        if not stat.S_ISREG(mode):
            raise InvalidInputError(
                f"{self._name} is a device, a pipe or a socket; name a regular file"
            )

    def _cannot_write(self, error):
        return InvalidInputError(f"{self._name} cannot be written: {error.strerror}")
