"""The two losses against plain NumPy."""

import numpy as np

from official_coca.losses.captioning import mean_over_tokens, token_cross_entropy
from official_coca.losses.contrastive import contrastive_loss, text_fingerprints


def _unit_rows(seed, rows=6, width=5):
    values = np.random.default_rng(seed).normal(size=(rows, width)).astype("float32")
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def _log_softmax(x, axis):
    return x - np.log(np.exp(x).sum(axis=axis, keepdims=True))


def test_pair_positives_give_the_sum_of_both_softmax_directions():
    images, texts = _unit_rows(0), _unit_rows(1)
    similarities = images @ texts.T / 0.07
    expected = -np.diag(_log_softmax(similarities, 1)) - np.diag(_log_softmax(similarities, 0))
    losses, image_hits, text_hits = contrastive_loss(images, texts, 0.07, np.arange(6)[:, None])
    np.testing.assert_allclose(losses, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(image_hits, similarities.argmax(1) == np.arange(6))
    np.testing.assert_array_equal(text_hits, similarities.argmax(0) == np.arange(6))


def test_equal_keys_are_positives_of_each_other():
    images, texts = _unit_rows(0), _unit_rows(1)
    labels = np.array([0, 1, 0, 2, 1, 0])
    similarities = images @ texts.T / 0.5
    image_log, text_log = _log_softmax(similarities, 1), _log_softmax(similarities, 0)
    expected = [
        -image_log[i, labels == labels[i]].mean() - text_log[labels == labels[i], i].mean()
        for i in range(6)
    ]
    losses, image_hits, _ = contrastive_loss(images, texts, 0.5, labels[:, None])
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    np.testing.assert_array_equal(image_hits, labels[similarities.argmax(1)] == labels)


def test_equal_texts_have_equal_fingerprints_whatever_their_padding():
    short = np.array([[2, 5, 6], [2, 6, 5], [2, 5, 0]])
    long = np.array([[2, 5, 6, 0, 0], [2, 5, 6, 7, 0], [2, 5, 0, 0, 0]])
    short, long = (np.asarray(text_fingerprints(ids, ids != 0)) for ids in (short, long))
    np.testing.assert_array_equal(short[0], long[0])
    np.testing.assert_array_equal(short[2], long[2])
    distinct = {tuple(row) for row in np.concatenate([short, long])}
    assert len(distinct) == 4


def test_fingerprints_of_many_different_texts_differ():
    rng = np.random.default_rng(0)
    texts = np.unique(rng.integers(4, 12, size=(50_000, 8)), axis=0)
    fingerprints = np.asarray(text_fingerprints(texts, np.ones_like(texts, bool)))
    assert len(np.unique(fingerprints, axis=0)) == len(texts)


def test_token_cross_entropy_equals_numpy():
    logits = np.random.default_rng(0).normal(size=(4, 7)).astype("float32")
    targets = np.array([3, 0, 6, 2])
    losses, hits = token_cross_entropy(logits, targets)
    np.testing.assert_allclose(losses, -_log_softmax(logits, 1)[np.arange(4), targets], rtol=1e-5)
    np.testing.assert_array_equal(hits, logits.argmax(1) == targets)


def test_padding_takes_no_part_in_the_captioning_loss():
    losses = np.array([1.0, 2.0, 100.0, 3.0], "float32")
    weights = np.array([1.0, 1.0, 0.0, 1.0], "float32")
    assert float(mean_over_tokens(losses, weights)) == 2.0


def test_batch_without_a_single_token_has_zero_captioning_loss():
    assert float(mean_over_tokens(np.ones(3, "float32"), np.zeros(3, "float32"))) == 0.0
