"""A bad text costs its own row and nothing else."""

import numpy as np
import pytest
import tensorflow as tf

from official_coca.preprocessing.image import ImageConverter
from official_coca.preprocessing.preprocessor import ImageTextPreprocessor
from official_coca.preprocessing.safe_texts import safe_token_ids

BAD = ["", " ", "\u00a0", b"\xff\xfe", b"a \xe2\x82", b"\xed\xa0\x80 cat", b"cat\xc0\xaf"]
# Runs that become few tokens, or none, before words that count.
LONG_RUNS = [" " * 5000 + "a red cat", "a" + "\n" * 5000 + "red cat", "\u6f22" * 5000 + " a cat"]
GOOD = ["a red cat", "the dog", "\U0001f600", "caf\u00e9", "a\x00b", "\ufffd x", "the cat " * 500]
GOOD += LONG_RUNS


@pytest.fixture
def preprocessor(tokenizer):
    return ImageTextPreprocessor(tokenizer, ImageConverter(8), max_length=10, length_buckets=(4,))


def test_bad_texts_become_bos_and_good_ones_their_tokens(preprocessor):
    function = tf.function(
        lambda texts: safe_token_ids(preprocessor, texts),
        input_signature=[tf.TensorSpec([None], tf.string)],
    )
    token_ids, valid = function(tf.constant([*BAD, *GOOD]))
    assert valid.numpy().tolist() == [False] * len(BAD) + [True] * len(GOOD)
    assert (token_ids[: len(BAD), 0] == 2).numpy().all()
    assert not token_ids[: len(BAD), 1:].numpy().any()
    np.testing.assert_array_equal(
        token_ids[len(BAD) :], preprocessor.token_ids(tf.constant(GOOD))
    )
    assert function(tf.constant([], tf.string))[0].shape == (0, 10)


def test_width_does_not_depend_on_the_other_texts(preprocessor):
    for texts in (["a"], ["a", "the red cat of the dog"]):
        assert safe_token_ids(preprocessor, tf.constant(texts))[0].shape[1] == 10
