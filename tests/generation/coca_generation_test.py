"""Decoding a tiny random CoCa: the cached path against the full forward pass."""

import keras
import keras_hub
import numpy as np
import pytest

from official_coca.generation.beam_search import BeamSearch
from official_coca.generation.generate import generate
from official_coca.models.coca import CoCa

PAD, BOS, EOS = 0, 2, 3
LENGTH = 9


@pytest.fixture(scope="module")
def coca():
    keras.utils.set_random_seed(3)
    model = CoCa(
        vocabulary_size=23, image_size=16, patch_size=8, image_num_layers=1, image_hidden_dim=32,
        image_num_heads=2, image_mlp_dim=48, num_queries=5,
        unimodal_num_layers=2, multimodal_num_layers=2, text_hidden_dim=32, text_num_heads=2,
        text_mlp_dim=48, max_length=LENGTH,
    )
    random = np.random.default_rng(0)
    for weight in model.trainable_variables:  # large enough for captions to differ by image
        weight.assign(random.normal(0.0, 0.4, weight.shape))
    return model


@pytest.fixture
def images():
    return np.random.default_rng(1).normal(size=(3, 16, 16, 3)).astype("float32")


def log_softmax(logits):
    logits = np.asarray(logits, "float64")
    return logits - np.log(np.sum(np.exp(logits), axis=-1, keepdims=True))


def full_logits(model, images, token_ids):
    return np.array(model({"images": images, "token_ids": np.asarray(token_ids)})["logits"])


def test_cached_decoding_equals_the_full_forward_pass(coca, images):
    token_ids = np.random.default_rng(2).integers(4, 23, (3, LENGTH))
    expected = full_logits(coca, images, token_ids)
    cache = coca.init_cache(images, LENGTH)
    for index in range(LENGTH):
        logits, cache = coca.decode_step(token_ids[:, index : index + 1], cache, index)
        np.testing.assert_allclose(logits, expected[:, index], atol=1e-5, rtol=1e-5)


def test_greedy_equals_an_argmax_loop_over_the_full_forward_pass(coca, images):
    expected = np.full((3, LENGTH), PAD)
    expected[:, 0] = BOS
    for index in range(1, LENGTH):
        logits = full_logits(coca, images, expected[:, :index])[:, -1]
        logits[:, [PAD, BOS]] = -np.inf
        if index < 3:
            logits[:, EOS] = -np.inf
        ended = (expected[:, :index] == EOS).any(axis=1)
        expected[:, index] = np.where(ended, PAD, logits.argmax(axis=1))
    captions = coca.generate(images, max_length=LENGTH, min_length=3)
    np.testing.assert_array_equal(captions, expected)
    assert len({tuple(caption) for caption in captions}) > 1


def test_beam_scores_equal_rescoring_with_the_full_forward_pass(coca, images):
    captions, scores = coca.generate(
        images, sampler="beam", num_beams=4, num_return_sequences=3, max_length=LENGTH,
        return_scores=True,
    )
    assert captions.shape == (3, 3, LENGTH)
    for place in range(3):
        chances = log_softmax(full_logits(coca, images, captions[:, place, :-1]))
        following = captions[:, place, 1:]
        chosen = np.take_along_axis(chances, following[..., None], axis=-1)[..., 0]
        expected = np.sum(chosen * (following != PAD), axis=1)
        np.testing.assert_allclose(scores[:, place], expected, atol=1e-4)
    assert (np.diff(scores, axis=1) <= 0).all()


def test_more_beams_find_no_worse_captions_and_one_is_greedy(coca, images):
    results = [
        coca.generate(
            images, sampler="beam", num_beams=num_beams, max_length=LENGTH, return_scores=True
        )
        for num_beams in (1, 20)
    ]
    greedy, greedy_scores = coca.generate(images, max_length=LENGTH, return_scores=True)
    np.testing.assert_array_equal(results[0][0], greedy)
    np.testing.assert_allclose(results[0][1], greedy_scores, atol=1e-5)
    assert (results[1][1] >= greedy_scores - 1e-5).all()


def test_beams_share_the_cross_attention_cache(coca, images):
    seen = set()

    def watched(token_ids, cache, index):
        parts = [part for layer in cache["cross_attention"] for part in layer]
        seen.add((token_ids.shape[0], *(part.shape[0] for part in parts)))
        return coca.decode_step(token_ids, cache, index)

    generate(
        watched, coca.init_cache(images, LENGTH), np.full((3, 1), BOS), np.ones((3, 1), bool),
        sampler=BeamSearch(4), max_length=LENGTH, eos_token_id=EOS, pad_token_id=PAD,
        bos_token_id=BOS,
    )
    assert seen == {(12, 3, 3, 3, 3)}  # keys and values of two layers


def test_keras_hub_greedy_writes_the_same_captions(coca, images):
    ours = coca.generate(images, max_length=LENGTH, min_length=2)
    theirs = coca.generate(
        images, sampler=keras_hub.samplers.GreedySampler(), max_length=LENGTH, min_length=2
    )
    np.testing.assert_array_equal(ours, theirs)


def test_a_prompt_is_continued_and_costs_nothing(coca, images):
    prompt = np.array([[BOS, 7, 9], [BOS, 7, PAD], [BOS, PAD, PAD]])
    captions, scores = coca.generate(images, prompt=prompt, max_length=LENGTH, return_scores=True)
    assert captions[0, :3].tolist() == [BOS, 7, 9] and captions[1, :2].tolist() == [BOS, 7]
    unprompted, unprompted_scores = coca.generate(images, max_length=LENGTH, return_scores=True)
    np.testing.assert_array_equal(captions[2], unprompted[2])
    assert scores[2] == pytest.approx(unprompted_scores[2], abs=1e-5)


def test_all_positions_of_the_model_can_be_used(coca, images):
    for sampler in ("greedy", "contrastive"):
        captions = coca.generate(images, sampler=sampler, max_length=LENGTH + 1, min_length=LENGTH)
        assert captions.shape == (3, LENGTH + 1)
        assert (captions[:, :-1] != PAD).all()


def test_generation_is_compiled_once_for_each_shape_and_sampler(coca, images):
    traces = []
    step = coca.decode_step
    coca.decode_step = lambda *arguments: traces.append(1) or step(*arguments)
    try:
        for _ in range(2):
            coca.generate(images, sampler="top_k", k=4, max_length=7, seed=1)
            coca.generate(images * 2, sampler="top_k", k=4, max_length=7, seed=2)
        once = len(traces)
        coca.generate(images[:2], sampler="top_k", k=4, max_length=7)
        coca.generate(images, sampler="top_k", k=5, max_length=7)
    finally:
        del coca.decode_step
    assert 0 < once <= 2  # a graph may trace the body of its loop twice
    assert len(traces) == 3 * once
