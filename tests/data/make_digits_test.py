"""Behaviour of the digits data set."""

import filecmp
import re

import numpy as np
import pytest
import tensorflow as tf

from data import make_digits
from data.digit_captions import DIGIT_NAMES, canonical_caption, cleaned, noisy_caption, noun_phrase
from official_coca.dataloaders.example_schema import parse_example
from official_coca.errors import InvalidInputError
from official_coca.program import run_program

CANONICAL_PAIR = re.compile(r"a (\w+) (\w+) (?:to the left of|above) a (\w+) (\w+)")
SIZES = {"shards": 2, "train_labels": 30, "train_scenes": 40, "test_labels": 20, "test_scenes": 9}
FLAGS = [f"--{name}={size}" for name, size in SIZES.items()]


def test_no_handwritten_original_is_in_both_splits():
    train, test = (make_digits.split_originals(split) for split in ("train", "test"))
    for digit in range(10):
        assert not set(train[digit]) & set(test[digit])
        share = len(test[digit]) / (len(train[digit]) + len(test[digit]))
        assert abs(share - make_digits.TEST_SHARE) < 0.01
    assert sum(map(len, train)) + sum(map(len, test)) == 1797


@pytest.mark.parametrize("split", ["train", "test"])
def test_pictures_are_drawn_from_the_originals_of_their_split(split, monkeypatch):
    drawn = []
    render = make_digits.render

    def recording_render(originals, *rest):
        drawn.append(originals)
        return render(originals, *rest)

    monkeypatch.setattr(make_digits, "render", recording_render)
    make_digits.digit_labels(200, 0, split)
    make_digits.digit_scenes(200, 0, split)
    allowed = set(np.concatenate(make_digits.split_originals(split)))
    assert len(drawn) == 2 and all(set(originals.ravel()) <= allowed for originals in drawn)


def test_labels_are_even_and_the_seed_decides():
    images, names = make_digits.digit_labels(50, 1, "train")
    assert images.shape == (50, 32, 32, 3) and images.dtype == np.uint8
    assert sorted(names) == sorted(DIGIT_NAMES * 5)
    again, _ = make_digits.digit_labels(50, 1, "train")
    other, _ = make_digits.digit_labels(50, 2, "train")
    np.testing.assert_array_equal(images, again)
    assert (images != other).any()


def test_test_scenes_have_distinct_canonical_captions_of_two_digits():
    _, captions = make_digits.digit_scenes(200, 0, "test")
    assert len(set(captions)) == 200
    for caption in captions:
        first_colour, first, second_colour, second = CANONICAL_PAIR.fullmatch(caption).groups()
        assert {first, second} <= set(DIGIT_NAMES)
        assert {first_colour, second_colour} <= set(make_digits.COLOURS)


def test_more_test_scenes_than_captions_are_refused():
    with pytest.raises(InvalidInputError, match="7201.*7200"):
        make_digits.digit_scenes(7201, 0, "test")


def test_caption_tells_colours_and_places_of_the_picture():
    images, captions = make_digits.digit_scenes(100, 0, "test")
    for image, caption in zip(images, captions):
        first, _, second, _ = CANONICAL_PAIR.fullmatch(caption).groups()
        brightest = [
            image[y : y + 16, x : x + 16].reshape(-1, 3) for y in (0, 16) for x in (0, 16)
        ]
        cells = [cell[cell.sum(axis=1).argmax()] for cell in brightest]
        used = [index for index, pixel in enumerate(cells) if pixel.max() > 100]
        assert used in ([[0, 2], [1, 3]] if "above" in caption else [[0, 1], [2, 3]])
        names = list(make_digits.COLOURS)
        for index, expected in zip(used, (first, second)):
            direction = cells[index] / np.linalg.norm(cells[index])
            palette = np.array(list(make_digits.COLOURS.values()), float)
            palette /= np.linalg.norm(palette, axis=1, keepdims=True)
            assert names[(palette @ direction).argmax()] == expected


def test_canonical_captions():
    three, seven, one = ("red", "three"), ("blue", "seven"), ("green", "one")
    assert canonical_caption([three]) == "a red three"
    assert canonical_caption([three, seven]) == "a red three to the left of a blue seven"
    assert canonical_caption([three, seven], vertical=True) == "a red three above a blue seven"
    assert canonical_caption([three, seven, one]) == "a red three, a blue seven and a green one"
    assert noun_phrase("", "eight") == "an eight" and noun_phrase("", "one") == "a one"
    assert cleaned(" a&nbsp;red \n three &amp;  ") == "a red three &"


def test_training_captions_are_mostly_canonical_with_some_noise_and_little_junk():
    rng = np.random.default_rng(0)
    things = [("red", "three"), ("blue", "seven")]
    captions = [noisy_caption(things, False, rng) for _ in range(4000)]
    canonical = np.mean([caption == canonical_caption(things) for caption in captions])
    empty = np.mean([not caption.strip() for caption in captions])
    junk = np.mean([not re.search("(?i)three|^ *$", caption) for caption in captions])
    assert 0.67 < canonical < 0.73 and 0.01 < empty < 0.03 and 0.02 < junk < 0.05
    assert "a blue seven to the right of a red three" in captions
    assert "a red three and a blue seven" in captions
    assert any("&amp;" in caption for caption in captions)
    assert "a three to the left of a seven" in captions


def test_shards_are_equal_byte_for_byte_under_a_seed(tmp_path):
    for folder in ("one", "two"):
        assert run_program(make_digits.main, [f"--output_dir={tmp_path / folder}", *FLAGS]) == 0
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert names == [
        "captions.txt",
        "classes.txt",
        "labels-test-00000-of-00001.tfrecord",
        "labels-train-00000-of-00002.tfrecord",
        "labels-train-00001-of-00002.tfrecord",
        "scenes-test-00000-of-00001.tfrecord",
        "scenes-train-00000-of-00002.tfrecord",
        "scenes-train-00001-of-00002.tfrecord",
    ]
    same, _, _ = filecmp.cmpfiles(tmp_path / "one", tmp_path / "two", names, shallow=False)
    assert same == names
    assert (tmp_path / "one" / "classes.txt").read_text().split() == list(DIGIT_NAMES)
    texts = (tmp_path / "one" / "captions.txt").read_text().splitlines()
    assert 60 < len(texts) <= 70 and all(text == cleaned(text) != "" for text in texts)
    record = next(iter(tf.data.TFRecordDataset(str(tmp_path / "one" / names[2]))))
    example = parse_example(record)
    assert example["source"].numpy() == b"labels"
    assert example["texts"].numpy()[0].decode() in DIGIT_NAMES
    assert tf.io.decode_png(example["image"]).shape == (32, 32, 3)


def test_negative_size_is_refused_in_one_line(tmp_path, capsys):
    flags = [f"--output_dir={tmp_path}", "--train_labels=-1"]
    assert run_program(make_digits.main, flags) == 2
    assert capsys.readouterr().err.strip() == "error: --train_labels=-1 is negative; give 0 or more"
