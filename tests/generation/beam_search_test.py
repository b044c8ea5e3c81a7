"""Beam search against exhaustive search, greedy decoding and rescoring."""

import numpy as np
import pytest

from official_coca.generation.beam_search import BeamSearch
from official_coca.generation.generate import generate
from tests.generation.toy_captioner import (
    BOS,
    EOS,
    PAD,
    SPECIAL_TOKENS,
    MarkovCaptioner,
    ToyCaptioner,
    begin,
)

ALL = 120  # beams, enough to keep every open hypothesis of the toy vocabulary


def search(toy, prompt=None, rows=None, **options):
    options = {"max_length": 5, **SPECIAL_TOKENS, **options}
    sampler_options = {
        name: options.pop(name)
        for name in (
            "num_beams", "length_penalty", "num_return_sequences", "num_beam_groups",
            "diversity_penalty", "repetition_penalty",
        )
        if name in options
    }
    token_ids, mask = begin(len(toy.images if rows is None else rows)) if prompt is None else prompt
    result = generate(
        toy.decode_step, toy.cache(rows), token_ids, mask,
        sampler=BeamSearch(**sampler_options), **options,
    )
    return np.asarray(result["token_ids"]), np.asarray(result["scores"])


def exhaustive(toy, image, prompt, max_length, length_penalty=0.0, min_length=0):
    """Every caption with its penalised score, best first."""
    captions = toy.every_caption(image, prompt, max_length, min_length)
    scored = [
        (score / ((5 + length) / 6) ** length_penalty, sequence)
        for score, length, sequence in captions
    ]
    return sorted(scored, reverse=True)


@pytest.mark.parametrize("length_penalty", [0.0, 0.6, 1.0, 3.0])
@pytest.mark.parametrize("seed", range(3))
def test_wide_beam_equals_exhaustive_search(seed, length_penalty):
    toy = ToyCaptioner(seed=seed, end_bias=-1.0)
    token_ids, scores = search(
        toy, num_beams=ALL, length_penalty=length_penalty, num_return_sequences=4
    )
    for image in range(2):
        best = exhaustive(toy, image, [BOS], 5, length_penalty)[:4]
        assert token_ids[image].tolist() == [sequence for _, sequence in best]
        np.testing.assert_allclose(scores[image], [score for score, _ in best], atol=1e-5)


@pytest.mark.parametrize("end_bias", [-1.0, 3.0])
def test_prompts_of_different_lengths_equal_exhaustive_search(end_bias):
    toy = ToyCaptioner(seed=4, num_images=3, end_bias=end_bias)
    prompts = [[BOS, 4], [BOS, 5, 1, 4], [BOS, 4, 5]]
    padded = np.array([prompt + [PAD] * (4 - len(prompt)) for prompt in prompts])
    mask = np.arange(4) < np.array([[2], [4], [3]])
    token_ids, scores = search(
        toy, (padded, mask), num_beams=ALL, length_penalty=0.8, num_return_sequences=2, max_length=6
    )
    for image, prompt in enumerate(prompts):
        best = exhaustive(toy, image, prompt, 6, 0.8)[:2]
        assert token_ids[image].tolist() == [sequence for _, sequence in best]
        np.testing.assert_allclose(scores[image], [score for score, _ in best], atol=1e-5)


def test_min_length_equals_exhaustive_search():
    toy = ToyCaptioner(seed=5, end_bias=4.0)
    token_ids, _ = search(toy, num_beams=ALL, min_length=3, num_return_sequences=3)
    for image in range(2):
        best = exhaustive(toy, image, [BOS], 5, min_length=3)[:3]
        assert token_ids[image].tolist() == [sequence for _, sequence in best]
        assert exhaustive(toy, image, [BOS], 5)[0][1] != best[0][1]


@pytest.mark.parametrize("seed", range(6))
def test_one_beam_equals_greedy(seed):
    toy = ToyCaptioner(seed=seed, num_images=3, end_bias=-0.5)
    token_ids, scores = search(toy, num_beams=1, max_length=6)
    assert token_ids.tolist() == [toy.greedy(image, [BOS], 6) for image in range(3)]
    for image in range(3):
        expected = toy.log_probability(image, token_ids[image])
        assert scores[image] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("num_beams", [2, 3, 5])
def test_scores_are_sorted_and_equal_rescoring(num_beams):
    toy = ToyCaptioner(vocabulary_size=12, num_images=4, seed=num_beams, end_bias=-1.0)
    token_ids, scores = search(
        toy, num_beams=num_beams, num_return_sequences=num_beams, length_penalty=0.7, max_length=6
    )
    assert (np.diff(scores, axis=1) <= 0).all()
    for image in range(4):
        assert len({tuple(sequence) for sequence in token_ids[image]}) == num_beams
        for sequence, score in zip(token_ids[image], scores[image]):
            generated = np.count_nonzero(sequence != PAD) - 1
            expected = toy.log_probability(image, sequence) / ((5 + generated) / 6) ** 0.7
            assert score == pytest.approx(expected, abs=1e-5)


def test_finished_beam_keeps_its_score():
    # The best caption ends at once (0.5); another leads to a long one of 0.4 that costs nothing
    # more; a third has p = 0.05 and comes first where finished beams pay for what follows EOS.
    first, second, third = 4, 5, 6
    toy = MarkovCaptioner(
        {
            BOS: {EOS: 0.5, first: 0.4, second: 0.1},
            first: {third: 1.0},
            third: {EOS: 1.0},
            second: {second: 0.5, EOS: 0.5},
            EOS: {1: 0.2, 4: 0.2, 5: 0.2, 6: 0.2, 3: 0.2},
        },
        vocabulary_size=7,
    )
    token_ids, mask = begin(1)
    result = generate(
        toy.decode_step, toy.cache(), token_ids, mask,
        sampler=BeamSearch(3, num_return_sequences=3), max_length=6, **SPECIAL_TOKENS,
    )
    np.testing.assert_array_equal(
        np.asarray(result["token_ids"])[0],
        [
            [BOS, EOS, PAD, PAD, PAD, PAD],
            [BOS, first, third, EOS, PAD, PAD],
            [BOS, second, EOS, PAD, PAD, PAD],
        ],
    )
    np.testing.assert_allclose(np.exp(result["scores"])[0], [0.5, 0.4, 0.05], rtol=1e-3)


def test_length_penalty_prefers_the_longer_caption():
    toy = MarkovCaptioner({BOS: {EOS: 0.5, 4: 0.5}, 4: {5: 0.99}, 5: {EOS: 0.9}}, 6)
    token_ids, mask = begin(1)
    lengths = []
    for length_penalty in (0.0, 2.0):
        result = generate(
            toy.decode_step, toy.cache(), token_ids, mask,
            sampler=BeamSearch(2, length_penalty), max_length=6, **SPECIAL_TOKENS,
        )
        lengths.append(np.count_nonzero(np.asarray(result["token_ids"]) != PAD))
    assert lengths == [2, 4]


def test_search_stops_when_nothing_better_can_come():
    toy = MarkovCaptioner({BOS: {EOS: 0.6, 4: 0.4}, 4: {4: 0.9, EOS: 0.1}}, 5)
    token_ids, mask = begin(1)
    for length_penalty, num_return_sequences, steps in ((0.0, 1, 1), (3.0, 1, 7), (0.0, 2, 7)):
        toy.steps = 0
        generate(
            toy.decode_step, toy.cache(), token_ids, mask,
            sampler=BeamSearch(2, length_penalty, num_return_sequences), max_length=8,
            **SPECIAL_TOKENS,
        )
        assert toy.steps == steps


def test_beams_share_the_cross_attention_cache_and_a_common_prompt_is_fed_once():
    toy = ToyCaptioner(seed=1, num_images=2, end_bias=-9.0)
    prompt = np.array([[BOS, 4, 5]] * 2), np.ones((2, 3), bool)
    search(toy, prompt, num_beams=3)
    assert toy.row_counts == {(2, 2), (6, 2)}
    assert toy.steps == 4  # of which two with one row per image


def test_a_row_does_not_depend_on_its_neighbours():
    toy = ToyCaptioner(seed=6, num_images=4, end_bias=-1.0)
    toy.images[0, EOS] += 9.0  # decided at once, while the others go on
    options = {"num_beams": 3, "num_return_sequences": 2, "length_penalty": 0.5}
    together, scores = search(toy, **options)
    for image in range(4):
        alone, score = search(toy, begin(1), rows=[image], **options)
        np.testing.assert_array_equal(together[image], alone[0])
        np.testing.assert_allclose(scores[image], score[0], atol=1e-5)


def test_fewer_captions_than_asked_for_leave_padding_with_no_score():
    toy = MarkovCaptioner({BOS: {EOS: 0.9, 1: 0.1}}, vocabulary_size=4)
    token_ids, mask = begin(1)
    result = generate(
        toy.decode_step, toy.cache(), token_ids, mask,
        sampler=BeamSearch(4, num_return_sequences=4), max_length=2, **SPECIAL_TOKENS,
    )
    expected = [[BOS, EOS], [BOS, 1], [PAD, PAD], [PAD, PAD]]
    assert np.asarray(result["token_ids"])[0].tolist() == expected
    assert np.isneginf(np.asarray(result["scores"])[0, 2:]).all()


def test_groups_differ_by_the_penalty_and_scores_stay_log_probabilities():
    toy = ToyCaptioner(vocabulary_size=12, num_images=3, seed=2, end_bias=-4.0)
    options = {"num_beams": 6, "num_beam_groups": 3, "num_return_sequences": 3, "max_length": 6}
    alike, _ = search(toy, diversity_penalty=1e-9, **options)
    apart, scores = search(toy, diversity_penalty=100.0, **options)
    for image in range(3):
        assert len({tuple(sequence) for sequence in alike[image]}) == 1
        assert len(set(apart[image, :, 1])) == 3  # each group begins with another word
        for sequence, score in zip(apart[image], scores[image]):
            expected = toy.log_probability(image, sequence)
            assert score == pytest.approx(expected, abs=1e-5)
    assert (np.diff(scores, axis=1) <= 0).all()


@pytest.mark.parametrize("num_beams, groups", [(2, 2), (4, 2), (6, 3)])
def test_groups_equal_a_plain_numpy_search(num_beams, groups):
    toy = ToyCaptioner(vocabulary_size=11, num_images=4, seed=groups, end_bias=-60.0)
    token_ids, scores = search(
        toy, num_beams=num_beams, num_beam_groups=groups, num_return_sequences=groups,
        diversity_penalty=0.7, max_length=6,
    )
    for image in range(4):
        best = diverse_search(toy, image, num_beams // groups, groups, 0.7, 6)
        np.testing.assert_allclose(scores[image], [score for score, _ in best], atol=1e-5)
        assert token_ids[image].tolist() == [sequence for _, sequence in best]


def diverse_search(toy, image, size, groups, penalty, max_length):
    """The best of each group, best first, where no hypothesis ends before `max_length`."""
    beams = [[(0.0, [BOS])] for _ in range(groups)]
    for _ in range(max_length - 1):
        taken = []
        for group in range(groups):
            continuations = []
            for score, sequence in beams[group]:
                chances = toy.log_probabilities(image, sequence)
                for token in (t for t in range(len(chances)) if t not in (PAD, BOS, EOS)):
                    total = score + chances[token]
                    steered = total - penalty * taken.count(token)
                    continuations.append((steered, total, [*sequence, token]))
            best = sorted(continuations, reverse=True)[:size]
            beams[group] = [(total, sequence) for _, total, sequence in best]
            taken += [sequence[-1] for _, sequence in beams[group]]
    return sorted((max(group) for group in beams), reverse=True)


def test_repetition_penalty_is_part_of_the_log_probability():
    toy = MarkovCaptioner({BOS: {4: 0.9, 5: 0.1}, 4: {4: 0.6, 5: 0.4}, 5: {EOS: 1.0}}, 6)
    token_ids, mask = begin(1)
    captions = []
    for penalty in (1.0, 2.0):
        result = generate(
            toy.decode_step, toy.cache(), token_ids, mask,
            sampler=BeamSearch(3, repetition_penalty=penalty), max_length=3, **SPECIAL_TOKENS,
        )
        captions.append(np.asarray(result["token_ids"])[0].tolist())
    assert captions == [[BOS, 4, 4], [BOS, 4, 5]]
    # Of the second token: BOS and 4 stand already, so their logits (log 0.6 = -0.51) are doubled.
    first, second = toy.table[BOS].copy(), toy.table[4].copy()
    first[BOS] *= 2.0
    second[[BOS, 4]] *= 2.0
    expected = first[4] - np.log(np.exp(first).sum()) + second[5] - np.log(np.exp(second).sum())
    assert float(result["scores"][0]) == pytest.approx(float(expected), abs=1e-5)


def test_signature_tells_samplers_apart():
    options = ((2,), (3,), (3, 0.5), (3, 0.5, 2), (2, 0.0, 1, 2), (2, 0.0, 1, 2, 0.7))
    signatures = {BeamSearch(*option).signature for option in options}
    signatures.add(BeamSearch(2, repetition_penalty=1.2).signature)
    assert len(signatures) == 7
    assert BeamSearch(2).signature == BeamSearch(num_beams=2).signature
