"""Makes the embedded data set: coloured scenes of scikit-learn's handwritten digits.

    python data/make_digits.py --output_dir=runs/digits --shards=4 --seed=0

Two sources are written as shards, each with a train and a test split:
`labels` single digits, whose text is the label name ("three");
`scenes` one to three digits with captions such as "a red three to the left of a blue seven", which
         in training are noisy like alt-text, and clean and all different in testing.
No handwritten original is in both splits. `classes.txt` lists the label names and `captions.txt`
the cleaned training texts, one a line, to train a tokenizer on.

N images, K = 3 digits an image at most, S = 32 pixels, D = 14 pixels.
"""

import functools
import io
import itertools
import pathlib
import sys
import time

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))  # runs from a checkout

from official_coca.program import ArgumentParser, run_program  # noqa: E402  # before TensorFlow

from data.digit_captions import DIGIT_NAMES, canonical_caption, cleaned, noisy_caption  # noqa: E402
from official_coca.dataloaders.example_schema import make_example  # noqa: E402
from official_coca.dataloaders.shard_writer import ShardWriter  # noqa: E402
from official_coca.errors import InvalidInputError  # noqa: E402

# Geometry and look. Cells are numbered in reading order: 0 1 over 2 3.
CANVAS_SIZE = 32
CELL_SIZE = 16
DIGIT_SIZE = 14
JITTER = 0  # a digit stands up to so many pixels off the middle of its cell; 1 is learnt more slowly
BACKGROUND_LEVEL = 20  # background brightness below this, even noise in each channel
BRIGHTNESS_RANGE = (0.85, 1.0)  # of a digit's colour
COLOURS = {
    "red": (240, 50, 50),
    "green": (50, 210, 70),
    "blue": (70, 100, 255),
    "yellow": (245, 225, 50),
    "white": (245, 245, 245),
    "purple": (190, 60, 230),
}

# Contents.
COUNT_SHARES = (0.15, 0.70, 0.15)  # of scenes with one, two and three digits
ARRANGEMENTS = {  # cells taken, in reading order
    1: ((0,), (1,), (2,), (3,)),
    2: ((0, 1), (2, 3), (0, 2), (1, 3)),
    3: tuple(itertools.combinations(range(4), 3)),
}
VERTICAL_PAIRS = ((0, 2), (1, 3))
LABEL_TEMPLATES = ("a photo of the digit {}",)
TEST_SHARE = 0.2
SPLIT_SEED = 2022  # fixed, so that the held-out originals are the same under every `--seed`
SPLITS = ("train", "test")
_RENDER_CHUNK = 4096
_CENTRE = 4  # the place in the middle of the canvas, for labels only


def digit_labels(num, seed, split):
    """Draws images of single digits, all ten classes evenly.

    Args:
        num: number of images, N.
        seed: integer; the same seed gives the same images.
        split: `"train"` or `"test"`, which handwritten originals to use.

    Returns:
        images (N,S,S,3) uint8, and a list of N label names.
    """
    rng = np.random.default_rng([seed, SPLITS.index(split), 0])
    digits = rng.permutation(np.arange(num) % len(DIGIT_NAMES))
    originals = _draw_originals(digits[:, None], split, rng)
    colours = rng.integers(len(COLOURS), size=(num, 1))
    places = rng.integers(_CENTRE + 1, size=(num, 1))
    images = render(originals, colours, places, rng)
    return images, [DIGIT_NAMES[digit] for digit in digits]


def digit_scenes(num, seed, split):
    """Draws scenes of one to three digits with captions.

    Training scenes have noisy captions (a few are junk or empty); test scenes have two digits and
    clean captions that all differ.

    Args:
        num: number of images, N.
        seed: integer; the same seed gives the same images.
        split: `"train"` or `"test"`, which handwritten originals to use.

    Returns:
        images (N,S,S,3) uint8, and a list of N captions.
    """
    rng = np.random.default_rng([seed, SPLITS.index(split), 1])
    if split == "train":
        places, digits, colours = _draw_scenes(num, COUNT_SHARES, rng)
        captions = [noisy_caption(*scene, rng) for scene in _scenes(places, digits, colours)]
    else:
        places, digits, colours, captions = _draw_distinct_pairs(num, rng)
    images = render(_draw_originals(digits, split, rng), colours, places, rng)
    return images, captions


def render(originals, colours, places, rng):
    """Draws digits as the alpha masks of their colours on a dark, slightly noisy canvas.

    Args:
        originals: (N,K) int, indices of the handwritten originals.
        colours: (N,K) int, indices into `COLOURS`.
        places: (N,K) int, a cell 0-3 or 4 for the middle; -1 leaves the slot empty.
        rng: `numpy.random.Generator`.

    Returns:
        (N,S,S,3) uint8.
    """
    masks, _ = _handwritten_digits()
    palette = np.array(list(COLOURS.values()), np.float32)
    chunks = []
    for start in range(0, len(places), _RENDER_CHUNK):
        rows = slice(start, start + _RENDER_CHUNK)
        shape = (len(places[rows]), CANVAS_SIZE, CANVAS_SIZE, 3)
        canvas = rng.integers(BACKGROUND_LEVEL, size=shape, dtype=np.uint8).astype(np.float32)
        for slot in range(places.shape[1]):
            place = places[rows, slot]
            (used,) = np.nonzero(place >= 0)
            brightness = rng.uniform(*BRIGHTNESS_RANGE, size=(len(used), 1)).astype(np.float32)
            paint = (palette[colours[rows, slot][used]] * brightness)[:, None, None, :]
            alpha = masks[originals[rows, slot][used]][..., None]
            y, x = (
                (corner + rng.integers(-JITTER, JITTER + 1, size=len(used)))[:, None]
                + np.arange(DIGIT_SIZE)
                for corner in _corners(place[used])
            )
            window = (used[:, None, None], y[:, :, None], x[:, None, :])
            canvas[window] = canvas[window] * (1 - alpha) + paint * alpha
        chunks.append(np.round(canvas).astype(np.uint8))
    if not chunks:
        return np.zeros((0, CANVAS_SIZE, CANVAS_SIZE, 3), np.uint8)
    return np.concatenate(chunks)


def split_originals(split):
    """Returns the indices of the handwritten originals of a split, a list of ten int arrays."""
    _, classes = _handwritten_digits()
    rng = np.random.default_rng(SPLIT_SEED)
    originals = []
    for digit in range(len(DIGIT_NAMES)):
        indices = rng.permutation(np.flatnonzero(classes == digit))
        num_test = round(TEST_SHARE * len(indices))
        originals.append(indices[:num_test] if split == "test" else indices[num_test:])
    return originals


@functools.cache
def _handwritten_digits():
    """Returns alpha masks (1797,D,D) float32 in 0..1, and classes (1797,) int."""
    digits = load_digits()
    positions = (np.arange(DIGIT_SIZE) + 0.5) * digits.images.shape[1] / DIGIT_SIZE - 0.5
    distances = np.abs(np.arange(digits.images.shape[1])[None, :] - positions[:, None])
    weights = np.clip(1 - distances, 0, None)  # bilinear; outside the drawing there is nothing
    masks = weights @ (digits.images / digits.images.max()) @ weights.T
    return masks.astype(np.float32), digits.target


def _draw_originals(digits, split, rng):
    """Draws a handwritten original for each digit, (N,K) -> (N,K)."""
    draws = rng.random(digits.shape)
    originals = np.zeros(digits.shape, np.int64)
    for digit, candidates in enumerate(split_originals(split)):
        chosen = digits == digit
        originals[chosen] = candidates[(draws[chosen] * len(candidates)).astype(np.int64)]
    return originals


def _draw_scenes(num, count_shares, rng):
    """Draws places, digits and colours, each (N,K) int; a place is -1 where there is no digit."""
    counts = rng.choice([1, 2, 3], size=num, p=count_shares)
    arrangements = rng.integers(4, size=num)
    table = np.full((4, 4, 3), -1)
    for count, cells in ARRANGEMENTS.items():
        table[count, :, :count] = cells
    digits = rng.integers(len(DIGIT_NAMES), size=(num, 3))
    colours = rng.integers(len(COLOURS), size=(num, 3))
    return table[counts, arrangements], digits, colours


def _draw_distinct_pairs(num, rng):
    """Draws `num` two-digit scenes whose canonical captions all differ, and those captions."""
    possible = 2 * (len(DIGIT_NAMES) * len(COLOURS)) ** 2
    if num > possible:
        raise InvalidInputError(
            f"{num} test scenes are asked for; there are only {possible} different captions"
        )
    kept, captions = [], {}
    while len(captions) < num:
        batch = _draw_scenes(num, (0, 1, 0), rng)
        for row, scene in zip(zip(*batch), _scenes(*batch)):
            caption = canonical_caption(*scene)
            if caption not in captions and len(captions) < num:
                captions[caption] = None
                kept.append(row)
    places, digits, colours = np.moveaxis(np.array(kept, np.int64).reshape(-1, 3, 3), 1, 0)
    return places, digits, colours, list(captions)


def _scenes(places, digits, colours):
    """Yields `(things, vertical)` of each row for the caption functions."""
    colour_names = tuple(COLOURS)
    for row_places, row_digits, row_colours in zip(
        places.tolist(), digits.tolist(), colours.tolist()
    ):
        cells = tuple(place for place in row_places if place >= 0)
        things = [
            (colour_names[colour], DIGIT_NAMES[digit])
            for colour, digit in zip(row_colours[: len(cells)], row_digits)
        ]
        yield things, cells in VERTICAL_PAIRS


def _corners(places):
    """Returns top and left pixel, each (n,), of an unjittered digit at each place."""
    margin = (CELL_SIZE - DIGIT_SIZE) // 2
    middle = (CANVAS_SIZE - DIGIT_SIZE) // 2
    top = np.where(places == _CENTRE, middle, places // 2 * CELL_SIZE + margin)
    left = np.where(places == _CENTRE, middle, places % 2 * CELL_SIZE + margin)
    return top, left


def _write(images, texts, source, split, output_dir, shards):
    started = time.monotonic()
    with ShardWriter(output_dir, source, split, shards) as writer:
        for image, text in zip(images, texts):
            buffer = io.BytesIO()
            Image.fromarray(image).save(buffer, "PNG", compress_level=1)
            writer.write(make_example(buffer.getvalue(), [text], source))
    seconds = time.monotonic() - started
    print(f"{source}-{split}: {len(texts):,} images, {shards} shard(s), {seconds:.1f} s")


def make_digits(output_dir, shards, seed, train_labels, train_scenes, test_labels, test_scenes):
    """Writes the whole data set; the arguments are the program's flags."""
    output_dir = pathlib.Path(output_dir)
    for split, num_labels, num_scenes, split_shards in (
        ("train", train_labels, train_scenes, shards),
        ("test", test_labels, test_scenes, 1),
    ):
        images, names = digit_labels(num_labels, seed, split)
        _write(images, names, "labels", split, output_dir, split_shards)
        images, captions = digit_scenes(num_scenes, seed, split)
        _write(images, captions, "scenes", split, output_dir, split_shards)
        if split == "train":
            sentences = [
                LABEL_TEMPLATES[index % len(LABEL_TEMPLATES)].format(name)
                for index, name in enumerate(names)
            ]
            texts = [text for text in map(cleaned, captions) if text] + sentences
            (output_dir / "captions.txt").write_text("\n".join(texts) + "\n", encoding="utf-8")
    (output_dir / "classes.txt").write_text("\n".join(DIGIT_NAMES) + "\n", encoding="utf-8")
    print(f"the data set is in {output_dir}", flush=True)


def main(arguments):
    """Runs the command line."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--output_dir", required=True, help="folder for the shards")
    parser.add_argument("--shards", type=int, default=4, help="shards of each training source")
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same bytes")
    parser.add_argument("--train_labels", type=int, default=20_000, help="images to train on")
    parser.add_argument("--train_scenes", type=int, default=20_000, help="images to train on")
    parser.add_argument("--test_labels", type=int, default=1_000, help="images to test on")
    parser.add_argument("--test_scenes", type=int, default=200, help="images to test on")
    flags = vars(parser.parse_args(arguments))
    for flag, value in flags.items():
        if flag != "output_dir" and value < 0:
            raise InvalidInputError(f"--{flag}={value} is negative; give 0 or more")
    make_digits(**flags)


if __name__ == "__main__":
    sys.exit(run_program(main))
