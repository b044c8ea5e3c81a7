"""keras_hub's samplers decode the same captioners, with their habits after EOS corrected."""

import keras_hub
import numpy as np
import pytest
import tensorflow as tf

from official_coca.errors import InvalidInputError
from official_coca.generation.beam_search import BeamSearch
from official_coca.generation.generate import generate, get_sampler
from tests.generation.toy_captioner import (
    BOS,
    EOS,
    PAD,
    SPECIAL_TOKENS,
    MarkovCaptioner,
    ToyCaptioner,
    begin,
)


def decode(toy, sampler, prompt=None, **options):
    token_ids, mask = begin(len(toy.images)) if prompt is None else prompt
    options = {"max_length": 6, **SPECIAL_TOKENS, **options}
    result = generate(toy.decode_step, toy.cache(), token_ids, mask, sampler=sampler, **options)
    return np.asarray(result["token_ids"]), np.asarray(result["scores"])


def prompts_of_different_lengths():
    return np.array([[BOS, PAD, PAD], [BOS, 4, 5], [BOS, 5, PAD]]), np.arange(3) < np.array(
        [[1], [3], [2]]
    )


@pytest.mark.parametrize("end_bias", [-2.0, 0.0])
@pytest.mark.parametrize("min_length", [0, 4])
def test_keras_hub_greedy_equals_ours(end_bias, min_length):
    toy = ToyCaptioner(seed=1, num_images=3, end_bias=end_bias)
    theirs = decode(
        toy, keras_hub.samplers.GreedySampler(), prompts_of_different_lengths(),
        min_length=min_length,
    )
    ours = decode(toy, "greedy", prompts_of_different_lengths(), min_length=min_length)
    np.testing.assert_array_equal(theirs[0], ours[0])
    np.testing.assert_allclose(theirs[1], ours[1], atol=1e-5)


def test_keras_hub_beam_keeps_the_score_of_a_finished_beam():
    toy = MarkovCaptioner(
        {
            BOS: {EOS: 0.5, 4: 0.4, 5: 0.1},
            4: {6: 1.0},
            6: {EOS: 1.0},
            5: {5: 0.5, EOS: 0.5},
            EOS: {1: 0.2, 4: 0.2, 5: 0.2, 6: 0.2, 3: 0.2},
        },
        vocabulary_size=7,
    )
    toy.images = np.zeros((1, 1))
    sampler = keras_hub.samplers.BeamSampler(num_beams=3, return_all_beams=True)
    token_ids, scores = decode(toy, sampler)
    assert token_ids[0, :2].tolist() == [[BOS, EOS, PAD, PAD, PAD, PAD], [BOS, 4, 6, EOS, PAD, PAD]]
    np.testing.assert_allclose(np.exp(scores[0, :2]), [0.5, 0.4], rtol=1e-3)


def test_keras_hub_beam_equals_ours_where_both_keep_everything():
    toy = ToyCaptioner(seed=3, num_images=3, end_bias=-1.0)
    toy.images[:, [PAD, BOS]] -= 30.0  # theirs share out the probability of what is forbidden
    theirs = decode(toy, keras_hub.samplers.BeamSampler(150), prompts_of_different_lengths())
    ours = decode(toy, BeamSearch(150), prompts_of_different_lengths())
    np.testing.assert_array_equal(theirs[0], ours[0])
    np.testing.assert_allclose(theirs[1], ours[1], atol=1e-5)


def test_contrastive_without_its_penalty_is_greedy_and_with_it_is_not():
    toy = ToyCaptioner(vocabulary_size=9, seed=2, num_images=3, end_bias=-9.0)
    prompt = prompts_of_different_lengths()
    greedy, _ = decode(toy, "greedy", prompt)
    unpenalised, _ = decode(toy, get_sampler("contrastive", alpha=0.0), prompt)
    np.testing.assert_array_equal(unpenalised, greedy)
    contrastive, _ = decode(toy, get_sampler("contrastive", alpha=0.9), prompt)
    assert (contrastive != greedy).any()
    assert contrastive[1, :3].tolist() == [BOS, 4, 5]


def test_keras_hub_beams_do_not_fork_within_a_prompt():
    toy = ToyCaptioner(seed=3, num_images=3, end_bias=-1.0)
    sampler = keras_hub.samplers.BeamSampler(3, return_all_beams=True)
    token_ids, _ = decode(toy, sampler, prompts_of_different_lengths())
    assert all(len({tuple(beam) for beam in beams}) == 3 for beams in token_ids)


def test_contrastive_writes_nothing_after_eos():
    toy = ToyCaptioner(seed=2, num_images=8, end_bias=1.5)
    token_ids, _ = decode(toy, get_sampler("contrastive", alpha=0.6))
    ended = np.cumsum(token_ids == EOS, axis=1) - (token_ids == EOS) > 0
    assert ended.any() and (token_ids[ended] == PAD).all()


def test_a_seed_repeats_random_captions_and_steps_differ():
    toy = ToyCaptioner(vocabulary_size=50, num_images=2)
    toy.table *= 0.0
    toy.images *= 0.0
    toy.images[:, EOS] = -99.0
    sampler = get_sampler("random", temperature=2.0)
    first, again, other = (decode(toy, sampler, seed=seed)[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert len(set(first[0, 1:])) > 1
    own = get_sampler("random", seed=4)
    np.testing.assert_array_equal(decode(toy, own)[0], decode(toy, own)[0])


def test_compiled_random_sampling_takes_the_seed_as_an_argument():
    toy = ToyCaptioner(vocabulary_size=50, end_bias=-99.0)
    sampler = get_sampler("random")

    @tf.function
    def caption(seed):
        return generate(
            toy.decode_step, toy.cache(), *begin(), sampler=sampler, max_length=6, seed=seed,
            **SPECIAL_TOKENS,
        )["token_ids"]

    for seed in (1, 2):
        expected, _ = decode(toy, sampler, seed=seed)
        np.testing.assert_array_equal(caption(tf.constant(seed)), expected)


def test_unknown_option_is_named():
    with pytest.raises(InvalidInputError, match=r"'random' has no option 'num_beams'.*temperature"):
        get_sampler("random", num_beams=3)


def test_samplers_by_equal_names_and_options_share_a_signature():
    assert get_sampler("random").signature == get_sampler("random").signature
    assert get_sampler("random").signature != get_sampler("random", temperature=2.0).signature
    sampler = keras_hub.samplers.GreedySampler()
    assert get_sampler(sampler).signature == get_sampler(sampler).signature
    other = keras_hub.samplers.GreedySampler()
    assert get_sampler(sampler).signature != get_sampler(other).signature
