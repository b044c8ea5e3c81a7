"""Memory and time that decoding and resizing one large picture takes.

    python benchmarks/picture_memory.py [--side=7000] [--repeats=3]

The graph that servers run, on a picture of one colour, each time in a new process which has decoded
a small one before. Memory is what the process has at most meanwhile, less what it had before, by
the pixels of the picture.
"""

import argparse
import io
import json
import pathlib
import statistics
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # runs from a checkout

from benchmarks import new_processes  # noqa: E402
from official_coca.program import ArgumentParser, run_program  # noqa: E402

_IMAGE_SIZE = 224
_CASES = {
    "JPEG": ("RGB", {}),
    "PNG": ("RGB", {}),
    "GIF": ("P", {}),
    "BMP": ("RGB", {}),
    "WebP": ("RGB", {}),
    "JPEG, resampler=pillow": ("RGB", {"resampler": "pillow", "resize_mode": "crop"}),
}


def main(arguments):
    flags = _parse(arguments)
    if flags.case:
        print(json.dumps(_measure(flags.case, flags.side)))
        return
    commands = {name: [__file__, f"--case={name}", f"--side={flags.side}"] for name in _CASES}
    for name, turns in new_processes.in_turns(commands, flags.repeats).items():
        size, seconds = (
            statistics.median(turn[key] for turn in turns) for key in ("bytes_a_pixel", "seconds")
        )
        print(f"{name}: {size:.1f} bytes a pixel, {seconds:.2f} s")


def _measure(case, side):
    import tensorflow as tf

    from official_coca.preprocessing.image import ImageConverter
    from official_coca.preprocessing.safe_decode import SafeImageDecoder

    mode, options = _CASES[case]
    specs = [tf.TensorSpec([None], tf.string)]
    decoder = SafeImageDecoder(ImageConverter(_IMAGE_SIZE, **options), side * side)
    decode = tf.function(decoder, input_signature=specs, autograph=False)
    file_format = case.partition(",")[0]
    small, large = (_file(mode, size, file_format) for size in (300, side))
    decode(tf.constant([small]))
    pathlib.Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew: proc(5)
    before, started = _memory("VmRSS"), time.perf_counter()
    _, valid = decode(tf.constant([large]))
    if not valid.numpy().all():
        raise RuntimeError(f"{case} was not decoded")
    seconds = time.perf_counter() - started
    return {"bytes_a_pixel": (_memory("VmHWM") - before) / side**2, "seconds": seconds}


def _file(mode, side, file_format):
    from PIL import Image

    file = io.BytesIO()
    Image.new(mode, (side, side)).save(file, file_format)
    return file.getvalue()


def _memory(name):
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


def _parse(arguments):
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=7000, help="of the picture, in pixels")
    parser.add_argument("--repeats", type=int, default=3, help="turns")
    parser.add_argument("--case", choices=_CASES, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(run_program(main))
