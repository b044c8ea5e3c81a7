"""What a command prints: a line for every input as it is done, progress, and what was skipped."""

import json
import os
import re
import sys

import tqdm

from official_coca.printing import writing

HELP = "print JSON Lines, one object for each input; see above for the keys"

# A name with a line break or a terminal's control sequence must stay one harmless line.
_CONTROL_CHARACTER = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class Results:
    """Prints results to stdout, skipped inputs to stderr, a progress bar if stderr is a terminal.

    Args:
        total: number of inputs.
        as_json: whether a result is a JSON object or fields between tabs.
        unit: what an input is.
        inputs: what all of them are; `unit` with an s, unless given.

    Example:

        with Results(len(files), as_json=False) as results:
            for file in files:
                results.add({"image": file.path, "caption": "a cat"}, [file.path, "a cat"])
        return results.exit_code()
    """

    def __init__(self, total, as_json, unit="image", inputs=None):
        self._total = total
        self._as_json = as_json
        self._inputs = inputs or f"{unit}s"
        self._skipped = 0
        self._bar = tqdm.tqdm(total=total, unit=unit, **bar_options())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._bar.close()

    def add(self, record, fields):
        """Prints one result: `record` as JSON, else `fields`."""
        self._print_record(record) if self._as_json else self._print("\t".join(map(clean, fields)))
        self._bar.update()

    def count(self):
        """Counts an input that prints nothing by itself."""
        self._bar.update()

    def skip(self, name, problem, kind="image"):
        """Reports an input that cannot be used."""
        self._skipped += 1
        self._print(f"skipped {clean(name)}: {clean(problem)}", sys.stderr)
        if self._as_json:
            self._print_record({kind: name, "error": problem})
        self._bar.update()

    def exit_code(self):
        """0, or 1 and a last line if inputs were skipped."""
        if not self._skipped:
            return 0
        were = "was" if self._skipped == 1 else "were"
        print(
            f"{self._skipped} of {self._total} {self._inputs} {were} skipped",
            file=sys.stderr,
            flush=True,
        )
        return 1

    def _print_record(self, record):
        self._print(json.dumps(record))

    def _print(self, line, stream=None):
        stream = stream or sys.stdout
        with writing(stream):
            if self._bar.disable:
                print(line, file=stream, flush=True)
            else:
                self._bar.write(line, file=stream)
                stream.flush()


def bar_options():
    """What `tqdm` is told: a bar is shown on a terminal only."""
    if not sys.stderr.isatty():
        return {"disable": True}
    # A terminal that does not know its size says 0, at which tqdm shows nothing.
    columns, lines = os.get_terminal_size(sys.stderr.fileno())
    return {"ncols": columns or 80, "nrows": lines or 24}


def clean(text):
    """A text as one line, its control characters written out as in Python."""
    return _CONTROL_CHARACTER.sub(lambda found: repr(found.group())[1:-1], str(text))
