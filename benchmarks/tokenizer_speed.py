"""How many captions a second CLIP's tokenizer turns into ids in `tf.data`.

    python benchmarks/tokenizer_speed.py [--captions=FILE] [--batch_size=1024] [--workers=2]

The captions are the lines of a text file, or else made up here of frequent words and some rare
ones. The graph's speed is that of a running data set of batches of them; the time until its first
batch, which each new iterator takes, is given apart, as is the speed from Python strings, with all
of ftfy's cleaning. With `--peers-python=PYTHON`, an interpreter that has open_clip_torch, its
tokenizer takes the same captions in the same run, in one process. Printed are the medians of
`--repeats` runs, in turns.
"""

import argparse
import random
import statistics
import subprocess
import sys
import tempfile
import time

import tensorflow as tf

from official_coca.preprocessing.clip_tokenizer import CLIPTokenizer

_FREQUENT = (
    "a the of in on with and man woman two dog child is are red blue black white playing standing "
    "sitting street beach grass water large small little boy girl people front holding wearing"
).split()
_RARE = "surfboarder skateboarding unicyclist's well-groomed labradoodle 12th 2019 café".split()
_ORIGINAL = """
import sys, time, open_clip.tokenizer
captions = open(sys.argv[1], encoding="utf-8").read().splitlines()
encode = open_clip.tokenizer.SimpleTokenizer().encode
for line in sys.stdin:
    start = time.perf_counter()
    for caption in captions:
        encode(caption)
    print(len(captions) / (time.perf_counter() - start), flush=True)
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--captions", help="text file, one caption a line")
    parser.add_argument("--number", type=int, default=20000, help="captions to take")
    parser.add_argument("--batch_size", type=int, default=1024)
    parser.add_argument("--workers", type=int, default=2, help="batches in work at once")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--peers-python", help="interpreter with open_clip_torch")
    flags = parser.parse_args()
    captions = _captions(flags)
    tokenizer = CLIPTokenizer()
    dataset = tf.data.Dataset.from_tensor_slices(captions).batch(flags.batch_size)
    dataset = dataset.repeat().map(tokenizer.tokenize, num_parallel_calls=flags.workers)
    num_batches = -(-len(captions) // flags.batch_size)
    start = time.perf_counter()
    batches = iter(dataset)
    next(batches)
    start_up = time.perf_counter() - start
    runs = {
        "tf.data": lambda: [next(batches) for _ in range(num_batches)],
        "Python strings": lambda: tokenizer.tokenize(captions),
    }
    rates = {name: [] for name in runs}
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as file:
        file.write("\n".join(captions))
        file.flush()
        original = flags.peers_python and _start_original(flags.peers_python, file.name)
        for repeat in range(flags.repeats + 1):
            for name, run in runs.items():
                start = time.perf_counter()
                run()
                if repeat:
                    rates[name].append(len(captions) / (time.perf_counter() - start))
            if original:
                rate = _original_rate(original)
                if repeat:
                    rates.setdefault("open_clip", []).append(rate)
        if original:
            original.communicate()
    print(f"{len(captions)} captions, TensorFlow {tf.__version__}, Python {sys.version.split()[0]}")
    print(f"tf.data took {start_up:.2f} s to the first batch")
    for name, values in rates.items():
        print(f"{name:15} {statistics.median(values):9,.0f} captions a second")


def _captions(flags):
    if flags.captions:
        with open(flags.captions, encoding="utf-8") as file:
            return file.read().splitlines()[: flags.number]
    drawn = random.Random(0)
    captions = []
    for _ in range(flags.number):
        words = drawn.choices(_FREQUENT, k=drawn.randrange(6, 16))
        if drawn.random() < 0.3:
            words.append(drawn.choice(_RARE))
        captions.append(" ".join(words).capitalize() + drawn.choice((" .", ".", "")))
    return captions


def _start_original(python, path):
    return subprocess.Popen(
        [python, "-c", _ORIGINAL, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def _original_rate(process):
    process.stdin.write("\n")
    process.stdin.flush()
    return float(process.stdout.readline())


if __name__ == "__main__":
    main()
