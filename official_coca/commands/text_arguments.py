"""Texts from the command line: one alone, or a file with one a line."""

import pathlib

from official_coca.errors import InvalidInputError


def check_text(text):
    """Raises `InvalidInputError` for a text that is empty or no Unicode."""
    if not text.strip():
        raise InvalidInputError("a text is empty; give it words, or leave it out")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise InvalidInputError(f"the text {text!r} is not valid UTF-8") from None


def read_lines(path, flag):
    """Returns the lines of a text file, stripped and without empty ones; a BOM is no text.

    Args:
        path: the file.
        flag: where the path comes from, for the message.
    """
    try:
        lines = pathlib.Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise InvalidInputError(
            f"{flag}={path} cannot be read ({reason}); give a text file with one text a line"
        ) from None
    return [line.strip() for line in lines if line.strip()]
