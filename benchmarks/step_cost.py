"""What captioning adds to a contrastive training step (the paper's Table 8b says 1.18x).

    python benchmarks/step_cost.py [--preset=coca_tiny] [--batch_size=64] [--repeats=7]

The same model takes the full step and the step without captioning (`captioning_loss_weight=0`, which
leaves out the multimodal decoder and the vocabulary projection) in turns, so that a machine whose
speed wanders slows both. Printed are the medians, the time that the first round took beyond its steps,
and the ratio.
"""

import argparse
import statistics
import sys
import time

import keras
import numpy as np
import tensorflow as tf

from official_coca.models.coca import CoCa


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--preset", default="coca_tiny")
    parser.add_argument("--batch_size", type=int, default=64)
    parser.add_argument("--decoder_layers", type=int, help="layers of each decoder half")
    parser.add_argument("--length", type=int, default=16, help="tokens of a caption")
    parser.add_argument("--steps", type=int, default=10, help="steps of one measurement")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--jit_compile", action="store_true")
    flags = parser.parse_args()
    layers = {}
    if flags.decoder_layers:
        layers = {
            "unimodal_num_layers": flags.decoder_layers,
            "multimodal_num_layers": flags.decoder_layers,
        }
    steps = {
        "contrastive and captioning": _step(flags, layers),
        "contrastive only": _step(flags, {**layers, "captioning_loss_weight": 0.0}),
    }
    seconds, first_round = {name: [] for name in steps}, {}
    for repeat in range(flags.repeats + 1):
        for name, step in steps.items():
            start = time.perf_counter()
            for _ in range(flags.steps):
                step()
            if not repeat:
                first_round[name] = time.perf_counter() - start
            else:
                seconds[name].append((time.perf_counter() - start) / flags.steps)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    for name, median in medians.items():
        spread = (max(seconds[name]) - min(seconds[name])) / median
        compiling = first_round[name] - flags.steps * median
        print(
            f"{name:<28} {1000 * median:9.1f} ms a step   spread {spread:.0%}   "
            f"tracing and compiling {compiling:.1f} s"
        )
    both, contrastive = medians.values()
    print(f"{'ratio':<28} {both / contrastive:9.2f}      (paper, Table 8b: 1.18)")
    return 0


def _step(flags, overrides):
    """A function that takes one training step on a fixed batch without padding."""
    model = CoCa.from_preset(flags.preset, load_weights=False, **overrides)
    model.compile(keras.optimizers.AdamW(1e-4), jit_compile=flags.jit_compile)
    rng = np.random.default_rng(0)
    shape = (flags.batch_size, flags.length)
    token_ids = rng.integers(4, model.vocabulary_size, size=shape).astype("int32")
    images = rng.normal(size=(flags.batch_size, *model.image_size, 3)).astype("float32")
    batch = ({"images": images, "token_ids": token_ids}, token_ids, np.ones(shape, "float32"))
    model.make_train_function()
    batches = iter(tf.data.Dataset.from_tensors(batch).cache().repeat())
    return lambda: float(model.train_function(batches)["loss"])


if __name__ == "__main__":
    sys.exit(main())
