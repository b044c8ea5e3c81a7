"""From the arguments of a command to image files: files, directories, globs, lists on stdin."""

import glob
import os
import sys
from typing import NamedTuple

from official_coca.errors import InvalidInputError

# Of the formats that `decode_image` reads.
IMAGE_EXTENSIONS = (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp")

HELP = (
    "an image file; a directory, whose images are taken with those of its subdirectories (by "
    f"extension: {', '.join(name[1:] for name in IMAGE_EXTENSIONS)}; hidden ones are left out); a "
    "quoted glob, as 'photos/**/*.jpg'; or -, which reads such arguments from standard input, one "
    "a line"
)


class ImageFile(NamedTuple):
    """A file that may hold an image; `problem` says why it is already known that it does not."""

    path: str
    problem: str | None = None


def find_images(arguments):
    """Returns the `ImageFile`s that arguments stand for, in their order.

    Files of a directory or a glob are sorted by name. What stands for nothing, such as a missing
    file or a directory without images, is among them with its problem.
    """
    files = []
    for argument in arguments:
        listed = list(_standard_input()) if argument == "-" else [argument]
        for one in listed:
            files.extend(_expand(one))
        if not listed:
            files.append(ImageFile(argument, "standard input lists no image"))
    return files


def keep_within(directory, files):
    """Returns the files of a directory; what a link leads out of it to gets that as its problem."""
    return [
        file._replace(problem="it is a link that leads out of the directory")
        if os.path.islink(file.path) and not lies_within(directory, file.path)
        else file
        for file in files
    ]


def lies_within(directory, path):
    """Whether a path, after all links, is one within a directory."""
    directory = os.path.realpath(directory)
    return os.path.commonpath([directory, os.path.realpath(path)]) == directory


def is_image_argument(argument):
    """Whether an argument that may be an image or a text is meant as an image.

    Raises:
        InvalidInputError: it looks like a path, by an image extension or a separator, but nothing
            is there: a mistyped path must not pass for a text.
    """
    if argument == "-" or os.path.exists(argument) or _has_match(argument):
        return True
    if argument.lower().endswith(IMAGE_EXTENSIONS) or os.sep in argument:
        raise InvalidInputError(
            f"{argument!r} looks like a path, but there is no such file; correct it, or give a "
            f"text that looks so as --text={argument!r}"
        )
    return False


def has_candidates(files):
    """Whether any of the `ImageFile`s is there, so that loading a model makes sense."""
    return any(not file.problem and os.path.exists(file.path) for file in files)


def unusable(files):
    """Yields (file, None, problem) of files without candidates, as a stream of results would."""
    for file in files:
        yield file, None, file.problem or "no such file or directory"


def _standard_input():
    if sys.stdin is None:
        raise InvalidInputError(
            "- reads arguments from standard input, which is closed; pipe a list into it, or name "
            "the images themselves"
        )
    for line in sys.stdin.buffer:
        line = line.rstrip(b"\r\n")
        if line.strip():
            yield os.fsdecode(line)


def _expand(argument):
    if os.path.isdir(argument):
        return _directory(argument)
    if os.path.lexists(argument) or not glob.has_magic(argument):
        return [ImageFile(argument)]
    matches = _matches(argument)
    return [ImageFile(path) for path in matches] or [
        ImageFile(argument, "no image file matches this pattern")
    ]


def _directory(directory):
    files, problems = [], []

    def unreadable(error):
        problems.append(ImageFile(error.filename, error.strerror.lower()))

    for parent, children, names in os.walk(directory, onerror=unreadable):
        children[:] = sorted(name for name in children if not name.startswith("."))
        files.extend(
            ImageFile(os.path.join(parent, name)) for name in sorted(names) if _is_image_name(name)
        )
    if not files and not problems:
        problems = [ImageFile(directory, "there is no image file in this directory")]
    return files + problems


def _matches(pattern):
    """Files only; of any extension if the pattern itself names one."""
    extension = os.path.splitext(pattern)[1]
    names_extension = bool(extension) and not glob.has_magic(extension)
    return [
        path
        for path in sorted(glob.glob(pattern, recursive=True))
        if not os.path.isdir(path) and (names_extension or _is_image_name(os.path.basename(path)))
    ]


def _has_match(argument):
    return glob.has_magic(argument) and bool(_matches(argument))


def _is_image_name(name):
    return name.lower().endswith(IMAGE_EXTENSIONS) and not name.startswith(".")
