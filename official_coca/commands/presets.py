"""Lists the models that have a name.

    coca presets

prints `name<TAB>kind<TAB>source`: trained weights, which --model takes and which are downloaded at
their first use, and architectures, which are built with random weights for training. With --json
every line is an object {"name": name, "kind": "weights" or "architecture", "source": handle}.
"""

import json
import sys

from official_coca.models.coca_presets import PRESETS
from official_coca.models.open_weights import OPEN_WEIGHTS
from official_coca.printing import print_line
from official_coca.program import ArgumentParser, run_program


def main(arguments):
    parser = ArgumentParser(prog="coca presets", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON Lines")
    flags = parser.parse_args(arguments)
    rows = [(name, "weights", f"hf://{source}") for name, source in OPEN_WEIGHTS.items()]
    rows += [(name, "architecture", f"CoCa.from_preset({name!r}, load_weights=False)")
             for name in PRESETS]  # fmt: skip
    for name, kind, source in rows:
        if flags.json:
            print_line(json.dumps({"name": name, "kind": kind, "source": source}))
        else:
            print_line(f"{name}\t{kind}\t{source}")


if __name__ == "__main__":
    sys.exit(run_program(main))
