"""What programs of the package share: bad input is one clear line and exit code 2."""

import argparse
import os
import sys

from official_coca import printing
from official_coca.errors import InvalidInputError

# TensorFlow greets every start with lines about the machine; a program imports this module first.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

# Names the model of programs that are called without --model.
MODEL_VARIABLE = "COCA_MODEL"

# What a shell reports of a program that SIGPIPE ended: 128 + 13.
_BROKEN_PIPE = 141


class ArgumentParser(argparse.ArgumentParser):
    """`argparse` that takes whole names only and reports a bad flag in one line."""

    def __init__(self, **kwargs):
        super().__init__(
            allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **kwargs
        )

    def error(self, message):
        raise InvalidInputError(f"{message} (--help shows the flags)")

    def print_help(self, file=None):
        # argparse itself does not mind whether the help can be written.
        printing.print_line(self.format_help().rstrip("\n"))


def text_argument(value):
    """The `type` of an argument that must be UTF-8, as a text is; a path need not be."""
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise argparse.ArgumentTypeError(f"{value!r} is not valid UTF-8") from None
    return value


def split_names(value, flag):
    """Returns the names between the commas of a flag's value, stripped.

    Args:
        value: of the flag.
        flag: for the message.

    Raises:
        InvalidInputError: a name is empty.
    """
    names = [name.strip() for name in value.split(",")]
    if "" in names:
        raise InvalidInputError(
            f"{flag}={value} has an empty name; give names with one comma between two"
        )
    return names


def run_program(main, arguments=None):
    """Runs `main(arguments)` and returns the exit code.

    Args:
        main: takes a list of arguments without the program's name; returns None or an exit code.
        arguments: None for those of the command line.

    Example:

        if __name__ == "__main__":
            sys.exit(run_program(main))
    """
    printing.accept_any_text()
    try:
        code = main(sys.argv[1:] if arguments is None else list(arguments)) or 0
        printing.flush()
        return code
    except InvalidInputError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:  # as of `head`, which has read enough
        return _BROKEN_PIPE
