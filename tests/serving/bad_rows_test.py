"""One bad input never fails the others, nor changes a bit of them."""

import concurrent.futures

import numpy as np
import pytest
import tensorflow as tf

from tests.preprocessing import pictures
from tests.tiny_models import random_captions, random_images

GOOD = list(pictures.good_pictures().values())
BAD = list(
    {**pictures.bad_pictures(), **pictures.unusual_pictures(), **pictures.bombs()}.values()
)
BAD_TEXTS = ["", "  ", b"\xff\xfe", b"a \xe2\x82"]


def mixed(good, bad):
    """Good rows between bad ones, and where they stand."""
    rows, places = [], []
    for index in range(max(len(good), len(bad))):
        if index < len(bad):
            rows.append(bad[index])
        if index < len(good):
            places.append(len(rows))
            rows.append(good[index])
    return rows, places


def assert_rows(function, good, bad, valid="valid", others=None):
    """Good rows are bit-equal to what they are alone, bad ones zero or empty."""
    others = {key: tf.constant(value) for key, value in (others or {}).items()}
    (name,) = set(function.structured_input_signature[1]) - set(others)
    rows, places = mixed(good, bad)
    outputs = function(**{name: tf.constant(rows)}, **others)
    outputs = {key: value.numpy() for key, value in outputs.items()}
    assert np.flatnonzero(outputs[valid]).tolist() == places
    per_row = [key for key, value in outputs.items() if len(value) == len(rows)]
    for place in range(len(rows)):
        if place in places[:6]:
            alone = function(**{name: tf.constant(rows[place : place + 1])}, **others)
            for key in per_row:
                np.testing.assert_array_equal(alone[key][0], outputs[key][place])
        elif place not in places:
            for key in per_row:
                assert not np.any(outputs[key][place]) or outputs[key][place] == b""


def test_pictures(served):
    assert_rows(served.signatures["encode_image"], GOOD, BAD)


@pytest.mark.parametrize("name", ["caption", "generate"])
def test_captioned_pictures(served, name):
    prompts = {"prompt": [""]} if name == "generate" else {}
    assert_rows(served.signatures[name], GOOD[:4], BAD[:4], others=prompts)


def test_classified_and_scored_pictures(served):
    labels = {"labels": ["cat", "dog"], "templates": ["a {}"]}
    assert_rows(served.signatures["classify"], GOOD[:6], BAD[:6], others=labels)
    texts = {"text": ["cat", "a dog", ""]}
    assert_rows(served.signatures["score"], GOOD[:6], BAD[:6], "image_valid", texts)


def test_texts(served):
    texts = ["a red cat", "the dog", "a", "the cat " * 99]
    assert_rows(served.signatures["encode_text"], texts, BAD_TEXTS)


def test_tensors(served):
    images = random_images(4)
    wrong = np.full_like(images, np.nan)
    wrong[1:] = 3e38  # finite, but not what is computed from it
    assert_rows(served.signatures["encode_image_tensor"], list(images), list(wrong))
    assert_rows(served.signatures["generate_token_ids"], list(images), list(wrong[:2]))
    token_ids = random_captions([3, 10, 6])
    wrong = [np.full(10, value, "int32") for value in (-1, 40, 2**31 - 1, 0)]
    assert_rows(served.signatures["encode_token_ids"], list(token_ids), wrong)


def test_bad_prompt_spoils_its_own_caption_only(served):
    generate = served.signatures["generate"]
    outputs = generate(
        image_bytes=tf.constant(GOOD[:3]), prompt=tf.constant(["a", b"\xff", "the red"])
    )
    assert outputs["valid"].numpy().tolist() == [True, False, True]
    assert outputs["caption"][1] == b"" and outputs["score"][1] == 0
    alone = generate(image_bytes=tf.constant(GOOD[2:3]), prompt=tf.constant(["the red"]))
    assert outputs["caption"][2] == alone["caption"][0]
    assert outputs["score"][2] == alone["score"][0]


def test_bad_label_has_no_probability_and_the_others_all(served):
    classify = served.signatures["classify"]
    images, templates = tf.constant(GOOD[:2]), tf.constant(["a {}"])
    labels = tf.constant(["cat", "", b"\xff", "dog"])
    mixed = classify(image_bytes=images, labels=labels, templates=templates)
    good = classify(image_bytes=images, labels=tf.constant(["cat", "dog"]), templates=templates)
    probabilities = mixed["probabilities"].numpy()
    assert not probabilities[:, 1:3].any()
    np.testing.assert_allclose(probabilities[:, ::3], good["probabilities"], atol=1e-6)
    none = classify(image_bytes=images, labels=tf.constant([""]), templates=templates)
    assert not none["valid"].numpy().any() and not none["probabilities"].numpy().any()


def test_request_that_makes_no_sense_is_refused_in_words(served):
    images = tf.constant(GOOD[:3])
    with pytest.raises(tf.errors.InvalidArgumentError, match="exactly one {}"):
        served.classify(images, tf.constant(["cat"]), tf.constant(["a photo"]))
    with pytest.raises(tf.errors.InvalidArgumentError, match="one string for each image"):
        served.generate(images, tf.constant(["a", "b"]))


def test_mutated_pictures_neither_crash_nor_touch_their_neighbours(served):
    rng = np.random.default_rng(0)
    function = served.signatures["encode_image"]
    expected = function(image_bytes=tf.constant(GOOD[:1]))["image_embedding"][0]
    for _ in range(6):
        mutated = [mutate(file, rng) for file in GOOD for _ in range(3)]
        rows, places = mixed(GOOD[:1], mutated)
        outputs = function(image_bytes=tf.constant(rows))
        embeddings, valid = outputs["image_embedding"].numpy(), outputs["valid"].numpy()
        np.testing.assert_array_equal(embeddings[places[0]], expected)
        assert np.isfinite(embeddings).all() and not embeddings[~valid].any()


def mutate(file, rng):
    """The file with some bytes changed, cut out, doubled or dropped."""
    content = bytearray(file)
    reach = len(content) if rng.random() < 0.5 else min(64, len(content))
    for _ in range(rng.integers(1, 8)):
        at = int(rng.integers(reach))
        match rng.integers(4):
            case 0:
                content[at : at + 1] = bytes([rng.integers(256)])
            case 1:
                del content[at : at + int(rng.integers(1, 9))]
            case 2:
                content[at:at] = content[at : at + int(rng.integers(1, 9))]
            case _:
                content[at : at + 2] = b"\xff\xff"
        reach = max(1, min(reach, len(content)))
    if rng.random() < 0.2:
        del content[rng.integers(1, len(content) + 1) :]
    return bytes(content)


def test_calls_from_many_threads_get_their_own_answers(served):
    function = served.signatures["encode_image"]
    expected = [function(image_bytes=tf.constant([file]))["image_embedding"] for file in GOOD]

    def ask(index):
        rows = tf.constant([BAD[index % len(BAD)], GOOD[index % len(GOOD)]])
        return function(image_bytes=rows)["image_embedding"][1]

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for index, embedding in enumerate(pool.map(ask, range(64))):
            np.testing.assert_array_equal(embedding, expected[index % len(GOOD)][0])
