"""The front door: `coca COMMAND ...`, also as `python -m official_coca.cli COMMAND ...`."""

import difflib
import gc
import importlib
import logging
import os
import sys
import threading
import warnings

# TensorFlow logs the absence of a GPU as an error; what really fails raises an exception.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from official_coca import __version__  # noqa: E402
from official_coca.errors import InvalidInputError  # noqa: E402
from official_coca.printing import print_line  # noqa: E402
from official_coca.program import run_program  # noqa: E402

# Name of a command: its module, which has a `main(arguments)`, and what it does. A module is
# imported when its command is called, so that help comes at once.
COMMANDS = {
    "caption": ("official_coca.commands.caption", "write captions for images"),
    "classify": ("official_coca.commands.classify", "sort images into classes of your own"),
    "embed": ("official_coca.commands.embed", "embed images and texts into a .npz file"),
    "index": ("official_coca.commands.index", "embed a directory of images for searching"),
    "search": ("official_coca.commands.search", "find the images nearest to a text or an image"),
    "convert": ("official_coca.commands.convert", "write a model in this package's own format"),
    "export": ("official_coca.serving.export_saved_model", "write a SavedModel for serving"),
    "demo": ("official_coca.commands.demo.command", "serve a page to search images with"),
    "presets": ("official_coca.commands.presets", "list architectures and weights by name"),
}

_HELP = """\
usage: coca COMMAND [ARGUMENT ...]

commands:
{commands}

examples:
  coca caption photos/ 'holiday/**/*.jpg'
  coca classify cat.jpg --labels=cat,dog,horse
  coca index photos/ && coca search photos/ "a dog on a beach"

coca COMMAND --help says more. --model=HANDLE, or the environment variable COCA_MODEL, chooses the
model. Exit codes: 0 all done, 1 inputs were skipped, some or all of them, 2 bad usage or an error
that ends the command, 130 stopped by Ctrl-C."""


def main(arguments):
    if arguments and arguments[0] in ("-h", "--help"):
        print_line(_help())
        return 0
    if arguments and arguments[0] == "--version":
        print_line(f"official_coca {__version__}")
        return 0
    if not arguments:
        print(_help(), file=sys.stderr)
        return 2
    name, *rest = arguments
    if name not in COMMANDS:
        raise InvalidInputError(_unknown(name))
    command = importlib.import_module(COMMANDS[name][0])
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        # Of Pillow, about pictures that are large but not too large.
        warnings.filterwarnings("ignore", message=".*decompression bomb")
        return command.main(rest)


def run():
    """What the installed script `coca` calls; returns the exit code."""
    # A stream that the shell closed is None, which neither `print` nor a progress bar expects.
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))
    code = run_program(main)
    if any(thread.daemon for thread in threading.enumerate()):
        # One that is within TensorFlow while Python ends would abort the process.
        sys.stderr.flush()
        os._exit(code)
    # Python's last search for garbage among TensorFlow's objects would take seconds.
    gc.freeze()
    return code


def _show_warning(message, category, *_, **__):
    print(f"warning: {' '.join(str(message).split())}", file=sys.stderr)


def _help():
    commands = "\n".join(f"  {name:<10}{summary}" for name, (_, summary) in COMMANDS.items())
    return _HELP.format(commands=commands)


def _unknown(name):
    near = difflib.get_close_matches(name, COMMANDS, n=1)
    guess = f"; did you mean {near[0]!r}?" if near else f"; it is one of {', '.join(COMMANDS)}"
    return f"coca has no command {name!r}{guess}"


if __name__ == "__main__":
    sys.exit(run())
