"""What programs print: any text at all, and one clear line where nothing can be written."""

import contextlib
import io
import os
import sys

from official_coca.errors import InvalidInputError


def accept_any_text():
    """Has standard output and error write out, as Python would, what they cannot encode.

    The bytes of a file's name need not be text.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def print_line(line):
    """Prints a line to standard output at once; raises as `writing`."""
    with writing(sys.stdout):
        print(line, flush=True)


def flush():
    """Writes what standard output still holds; raises as `writing`."""
    if sys.stdout is not None:  # a stream that the shell closed
        with writing(sys.stdout):
            sys.stdout.flush()


@contextlib.contextmanager
def writing(stream):
    """The context in which a stream is written to.

    Raises:
        BrokenPipeError: who read the stream has gone.
        InvalidInputError: it cannot be written for another reason.
    """
    try:
        yield
    except OSError as error:
        _discard(stream)
        if isinstance(error, BrokenPipeError):
            raise
        raise InvalidInputError(f"cannot write the output: {error.strerror}") from None


def _discard(stream):
    """Sends the rest nowhere: Python flushes once more at its end."""
    with contextlib.suppress(OSError):  # it may be no file
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
