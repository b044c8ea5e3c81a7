"""Compares loading an export with loading plain SavedModels of the same weights.

    python benchmarks/saved_model_loading.py --model=runs/demo/preset [--work_dir=runs/loading]

Made once, in a folder of --work_dir that is named like the model: our export; what Keras'
`model.export` writes of the same model, with one signature of pictures and token ids; and a
`tf.Module` of the same weights that computes nothing. Each turn loads each of them by
`tf.saved_model.load` in a new process, which has imported TensorFlow before the clock starts; the
files are in the system's cache.
"""

import argparse
import json
import pathlib
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # runs from a checkout

from benchmarks import new_processes  # noqa: E402
from official_coca.program import ArgumentParser, run_program  # noqa: E402

_OURS = "our export"
_PLAIN = ("weights alone", "Keras export")


def main(arguments):
    flags = _parse(arguments)
    if flags.load:
        print(json.dumps(_load(flags.load)))
        return
    work_dir = flags.work_dir / pathlib.Path(flags.model).name  # one model's are not another's
    directories = {name: work_dir / name.replace(" ", "_") for name in (*_PLAIN, _OURS)}
    if not all(directory.exists() for directory in directories.values()):
        _write(flags.model, directories)
    directories[_OURS] /= "1"
    commands = {name: [__file__, f"--load={path}"] for name, path in directories.items()}
    turns = new_processes.in_turns(commands, flags.repeats)
    for plain in _PLAIN:
        for name in ("seconds", "cpu_seconds"):
            print(new_processes.comparison(turns, plain, _OURS, name, "s"))


def _write(handle, directories):
    import tensorflow as tf

    from official_coca.models.coca import CoCa
    from official_coca.serving.saved_model import export_saved_model

    model = CoCa.from_preset(handle)
    if not directories[_OURS].exists():
        export_saved_model(model, directories[_OURS])
    specs = {
        "images": tf.TensorSpec((None, *model.image_size, 3), tf.float32),
        "token_ids": tf.TensorSpec((None, None), tf.int32),
    }
    model.export(str(directories["Keras export"]), input_signature=[specs], verbose=False)
    module = tf.Module()
    module.weights = [variable.value for variable in model.variables]
    tf.saved_model.save(module, str(directories["weights alone"]))


def _load(directory):
    import tensorflow as tf
    import tensorflow_text  # noqa: F401  its operations are in the export

    started, cpu_started = time.perf_counter(), time.process_time()
    kept = tf.saved_model.load(str(directory))
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
    del kept
    return {"seconds": seconds, "cpu_seconds": cpu_seconds}


def _parse(arguments):
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="runs/demo/preset", help="a preset")
    parser.add_argument("--work_dir", type=pathlib.Path, default="runs/saved_model_loading")
    parser.add_argument("--repeats", type=int, default=5, help="turns")
    parser.add_argument("--load", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(run_program(main))
