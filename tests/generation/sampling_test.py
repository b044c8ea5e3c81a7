"""Greedy, top-k and top-p decoding against plain NumPy loops."""

import numpy as np
import pytest
import tensorflow as tf

from official_coca.generation.generate import generate, get_sampler
from official_coca.generation.sampling import (
    GreedySampler,
    StatelessSeed,
    TokenSampler,
    TopKSampler,
    TopPSampler,
)
from tests.generation.toy_captioner import BOS, EOS, PAD, SPECIAL_TOKENS, ToyCaptioner, begin


def decode(toy, prompt=None, rows=None, **options):
    token_ids, mask = begin(len(toy.images if rows is None else rows)) if prompt is None else prompt
    options = {"max_length": 6, **SPECIAL_TOKENS, **options}
    result = generate(toy.decode_step, toy.cache(rows), token_ids, mask, **options)
    return np.asarray(result["token_ids"]), np.asarray(result["scores"])


def draw(sampler, logits, times=2000):
    """Ids chosen from one row of logits with `times` different seeds, in one call."""
    logits = tf.constant(np.repeat(np.asarray([logits], "float32"), times, axis=0))
    return np.asarray(sampler.select(logits, StatelessSeed(7, 3)))


@pytest.mark.parametrize("seed", range(4))
def test_greedy_equals_argmax_loop(seed):
    toy = ToyCaptioner(seed=seed, num_images=4, end_bias=-1.0)
    token_ids, _ = decode(toy)
    assert token_ids.tolist() == [toy.greedy(image, [BOS], 6) for image in range(4)]


def test_prompts_of_different_lengths_are_kept_and_continued():
    toy = ToyCaptioner(seed=1, num_images=3, end_bias=-2.0)
    prompts = [[BOS], [BOS, 4, 5], [BOS, 5]]
    padded = np.array([prompt + [PAD] * (3 - len(prompt)) for prompt in prompts])
    mask = np.arange(3) < np.array([[1], [3], [2]])
    token_ids, scores = decode(toy, (padded, mask))
    for image, prompt in enumerate(prompts):
        assert token_ids[image].tolist() == toy.greedy(image, prompt, 6)
        expected = toy.log_probability(image, token_ids[image], len(prompt))
        assert scores[image] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("end_bias", [-1.0, 50.0])  # 50: every row ends before the prompt's width
def test_what_lies_under_the_mask_of_a_prompt_does_not_matter(end_bias):
    toy = ToyCaptioner(seed=1, end_bias=end_bias)
    mask = np.array([[True, False, False]] * 2)
    padded, _ = decode(toy, (np.array([[BOS, PAD, PAD]] * 2), mask))
    noisy, _ = decode(toy, (np.array([[BOS, EOS, 5]] * 2), mask))
    np.testing.assert_array_equal(padded, noisy)


def test_row_without_a_prompt_opens_with_bos():
    toy = ToyCaptioner(seed=1)
    token_ids, _ = decode(toy, (np.zeros((2, 1), int), np.zeros((2, 1), bool)))
    np.testing.assert_array_equal(token_ids, decode(toy)[0])


@pytest.mark.parametrize(
    "sampler", ["greedy", "top_k", "top_p", "beam", "open_clip_beam", "random", "contrastive"]
)
def test_pad_bos_and_foreign_ids_are_never_produced(sampler):
    toy = ToyCaptioner(vocabulary_size=9, num_images=4)
    toy.images[:, [PAD, BOS, 7, 8]] += 50.0
    toy.images[:, EOS] -= 500.0
    token_ids, _ = decode(toy, sampler=sampler, vocabulary_size=7, seed=1)
    assert not np.isin(token_ids[:, 1:], [PAD, BOS, 7, 8]).any()


@pytest.mark.parametrize("sampler", ["greedy", "top_k", "top_p", "beam", "random"])
def test_eos_comes_only_after_min_length_and_then_only_padding(sampler):
    toy = ToyCaptioner(num_images=4, end_bias=50.0)
    token_ids, scores = decode(toy, sampler=sampler, min_length=3, seed=1)
    assert (token_ids[:, 1:3] != EOS).all()
    np.testing.assert_array_equal(token_ids[:, 3:], [[EOS, PAD, PAD]] * 4)
    for image in range(4):
        expected = toy.log_probability(image, token_ids[image])
        assert scores[image] == pytest.approx(expected, abs=1e-4)


def test_decoding_stops_when_every_row_has_ended():
    toy = ToyCaptioner(end_bias=50.0)
    decode(toy, min_length=2)
    assert toy.steps == 2


def test_max_length_counts_bos_and_cuts():
    toy = ToyCaptioner(end_bias=-50.0)
    token_ids, _ = decode(toy, max_length=4)
    assert token_ids.shape == (2, 4)
    assert (token_ids > EOS).any(axis=1).all() and (token_ids != PAD).all()
    assert decode(toy, max_length=1)[0].tolist() == [[BOS], [BOS]]


def test_top_k_draws_the_k_likeliest_in_their_proportion():
    logits = np.log([0.05, 0.4, 0.1, 0.3, 0.15])
    drawn = draw(TopKSampler(k=2), logits)
    assert set(drawn) == {1, 3}
    assert np.mean(drawn == 1) == pytest.approx(4 / 7, abs=0.05)


def test_top_p_draws_the_smallest_set_with_probability_p():
    logits = np.log([0.05, 0.4, 0.1, 0.3, 0.15])
    assert set(draw(TopPSampler(p=0.3), logits)) == {1}
    assert set(draw(TopPSampler(p=0.6), logits)) == {1, 3}
    assert set(draw(TopPSampler(p=0.75), logits)) == {1, 3, 4}
    assert set(draw(TopPSampler(p=1.0), logits)) == set(range(5))
    assert set(draw(TopPSampler(p=1.0, k=2), logits)) == {1, 3}


@pytest.mark.parametrize("p", [0.3, 0.9999])  # reached by the likeliest tokens, and not
def test_top_p_of_a_large_vocabulary_draws_from_the_same_set(p):
    logits = np.random.default_rng(0).normal(scale=4.0, size=1000)
    probabilities = np.exp(logits) / np.exp(logits).sum()
    order = np.argsort(-probabilities)
    needed = np.searchsorted(np.cumsum(probabilities[order]), p) + 1
    assert (needed <= 128) == (p < 0.9)
    drawn = draw(TopPSampler(p=p), logits)
    assert set(drawn) <= set(order[:needed])
    expected = probabilities[order[0]] / probabilities[order[:needed]].sum()
    assert np.mean(drawn == order[0]) == pytest.approx(expected, abs=0.05)


def test_temperature_sharpens_and_flattens():
    logits = np.log([0.4, 0.6])
    for kind in (TopKSampler, TopPSampler):
        options = {"p": 1.0} if kind is TopPSampler else {}
        assert np.mean(draw(kind(temperature=0.01, **options), logits) == 1) == 1.0
        flat = np.mean(draw(kind(temperature=100.0, **options), logits) == 1)
        assert flat == pytest.approx(0.5, abs=0.05)


def test_draws_differ_between_seeds_and_steps_only():
    sampler = TopPSampler(p=1.0)
    logits = tf.zeros((64, 50))
    first = np.asarray(sampler.select(logits, StatelessSeed(1, 2)))
    np.testing.assert_array_equal(first, sampler.select(logits, StatelessSeed(1, 2)))
    assert (first != np.asarray(sampler.select(logits, StatelessSeed(1, 3)))).any()
    assert (first != np.asarray(sampler.select(logits, StatelessSeed(2, 2)))).any()


def test_own_seed_repeats_and_no_seed_varies():
    toy = ToyCaptioner(vocabulary_size=40, num_images=8, end_bias=-9.0)
    seeded = [decode(toy, sampler=TopKSampler(k=30, seed=5))[0] for _ in range(2)]
    np.testing.assert_array_equal(*seeded)
    fresh = [decode(toy, sampler=TopKSampler(k=30))[0] for _ in range(2)]
    assert (fresh[0] != fresh[1]).any()


@pytest.mark.parametrize(
    "name, options",
    [
        ("greedy", {"repetition_penalty": 1.5}),
        ("top_k", {}),
        ("top_p", {}),
        ("beam", {}),
        ("beam", {"num_beams": 4, "num_beam_groups": 2, "repetition_penalty": 1.5}),
        ("open_clip_beam", {"repetition_penalty": 1.5}),
        ("random", {}),
        ("contrastive", {}),
    ],
)
@pytest.mark.parametrize("jit_compile", [False, True])
def test_compiled_decoding_equals_eager(name, options, jit_compile):
    toy = ToyCaptioner(seed=2, num_images=3, end_bias=-1.0)
    sampler = get_sampler(name, **options)

    @tf.function(jit_compile=jit_compile)
    def compiled(token_ids, mask, seed):
        return generate(
            toy.decode_step, toy.cache(), token_ids, mask, sampler=sampler, max_length=6,
            seed=seed, **SPECIAL_TOKENS,
        )

    token_ids, mask = begin(3)
    draws = name in ("top_k", "top_p", "random")
    if not draws or not jit_compile:  # XLA draws other numbers
        expected, scores = decode(toy, sampler=sampler, seed=3)
        result = compiled(token_ids, mask, tf.constant(3))
        np.testing.assert_array_equal(result["token_ids"], expected)
        np.testing.assert_allclose(result["scores"], scores, atol=1e-5)
    else:
        first = compiled(token_ids, mask, tf.constant(3))["token_ids"]
        np.testing.assert_array_equal(first, compiled(token_ids, mask, tf.constant(3))["token_ids"])
        others = [compiled(token_ids, mask, tf.constant(seed))["token_ids"] for seed in range(9)]
        assert any((np.asarray(other) != np.asarray(first)).any() for other in others)


@pytest.mark.parametrize("name", ["greedy", "top_p", "beam", "open_clip_beam", "random"])
def test_one_graph_serves_every_batch_size(name):
    toy = ToyCaptioner(seed=2, num_images=4, end_bias=-1.0)
    sampler = get_sampler(name)

    @tf.function(input_signature=[tf.TensorSpec((None, 6)), tf.TensorSpec((None, None), tf.int32)])
    def caption(images, token_ids):
        token_ids = tf.ensure_shape(token_ids, (None, 1))
        history = tf.zeros((tf.shape(images)[0], 2, 1, 6, 6))
        cache = {
            "self_attention": (history,),
            "cross_attention": (tf.repeat(images[:, None, None, None], 2, axis=1),),
        }
        return generate(
            toy.decode_step, cache, token_ids, tf.ones_like(token_ids, tf.bool), sampler=sampler,
            max_length=6, seed=3, **SPECIAL_TOKENS,
        )

    for count in (1, 4):
        result = caption(toy.images[:count], begin(count)[0])
        expected, _ = decode(toy, rows=slice(count), prompt=begin(count), sampler=sampler, seed=3)
        np.testing.assert_array_equal(result["token_ids"], expected)


def test_a_sampler_of_ones_own_needs_select_only():
    class SecondBest(TokenSampler):
        def select(self, logits, step_seed):
            return tf.math.top_k(logits, 2).indices[:, 1]

    toy = ToyCaptioner(end_bias=-50.0)
    token_ids, _ = decode(toy, sampler=SecondBest())
    scores = toy.log_probabilities(0, [BOS])
    scores[[PAD, BOS]] = -np.inf
    assert token_ids[0, 1] == np.argsort(scores)[-2]


def test_equal_samplers_share_a_signature_and_others_do_not():
    assert TopKSampler(k=3, seed=1).signature == TopKSampler(k=3, seed=2).signature
    signatures = {
        GreedySampler().signature,
        TopKSampler(k=3).signature,
        TopKSampler(k=4).signature,
        TopKSampler(k=3, temperature=2.0).signature,
        TopKSampler(k=3, repetition_penalty=2.0).signature,
        GreedySampler(repetition_penalty=2.0).signature,
        TopPSampler(p=0.5).signature,
        TopPSampler(p=0.5, k=3).signature,
    }
    assert len(signatures) == 8
