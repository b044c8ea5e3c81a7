"""Compares loading a checkpoint of open_clip with reading its file twice.

    python benchmarks/loading.py --model=runs/benchmarks/coca_ViT-B-32

Each turn takes new processes, one for either, which have imported TensorFlow and Keras before the
clock starts; the file is in the system's cache. Printed are the medians of time and peak memory.
"""

import argparse
import json
import pathlib
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # runs from a checkout

from benchmarks import new_processes  # noqa: E402
from benchmarks.side_by_side import peak_memory  # noqa: E402
from official_coca.errors import InvalidInputError  # noqa: E402
from official_coca.program import ArgumentParser, run_program  # noqa: E402

_WEIGHTS = "open_clip_model.safetensors"
_JOBS = ("read twice", "load")


def main(arguments):
    flags = _parse(arguments)
    if flags.job:
        print(json.dumps(_measure(flags.job, flags.model)))
        return
    if not (flags.model / _WEIGHTS).exists():
        raise InvalidInputError(f"--model={flags.model} holds no {_WEIGHTS}")
    commands = {job: [__file__, f"--model={flags.model}", f"--job={job}"] for job in _JOBS}
    turns = new_processes.in_turns(commands, flags.repeats)
    for name, unit in (("seconds", "s"), ("peak_gigabytes", "GB")):
        print(new_processes.comparison(turns, *_JOBS, name, unit))


def _measure(job, model):
    import safetensors.numpy

    from official_coca.models.coca import CoCa
    from official_coca.preprocessing import clip_tokenizer, preprocessor  # noqa: F401

    peak_memory.reset_peak()
    started = time.perf_counter()
    if job == "load":
        kept = CoCa.from_preset(str(model))
    else:
        kept = [safetensors.numpy.load_file(model / _WEIGHTS) for _ in range(2)]
    seconds = time.perf_counter() - started
    peak = peak_memory.peak_bytes()
    del kept
    return {"seconds": seconds, "peak_gigabytes": peak / 1e9}


def _parse(arguments):
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=pathlib.Path, required=True, help="open_clip's directory")
    parser.add_argument("--repeats", type=int, default=5, help="turns")
    parser.add_argument("--job", choices=_JOBS, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(run_program(main))
