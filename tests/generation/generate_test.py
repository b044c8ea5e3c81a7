"""The entry point: names, bad input, and the same captions on JAX."""

import json
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest

from official_coca.errors import InvalidInputError
from official_coca.generation.beam_search import BeamSearch
from official_coca.generation.generate import SAMPLER_NAMES, generate, get_sampler
from official_coca.generation.open_clip_beam import OpenClipBeamSearch
from official_coca.generation.sampling import GreedySampler, TopKSampler, TopPSampler
from tests.generation.toy_captioner import SPECIAL_TOKENS, ToyCaptioner, begin


def caption(**options):
    toy = ToyCaptioner()
    prompt = options.pop("prompt", begin())
    options = {"max_length": 6, **SPECIAL_TOKENS, **options}
    return generate(toy.decode_step, toy.cache(), *prompt, **options)


def captions_as_lists():
    """What the JAX process prints too: greedy and beam searches on the same toy weights."""
    toy = ToyCaptioner(vocabulary_size=12, num_images=3, seed=9, end_bias=-1.0)
    prompt = np.array([[2, 0, 0], [2, 4, 5], [2, 7, 0]]), np.arange(3) < np.array([[1], [3], [2]])
    results = []
    samplers = (
        GreedySampler(),
        GreedySampler(repetition_penalty=1.5),
        BeamSearch(4, 0.7, 3),
        BeamSearch(4, 0.7, 3, num_beam_groups=2),
        OpenClipBeamSearch(4, 2, repetition_penalty=1.2),
    )
    for sampler in samplers:
        result = generate(
            toy.decode_step, toy.cache(), *prompt, sampler=sampler, max_length=6, **SPECIAL_TOKENS
        )
        results.append(
            [keras.ops.convert_to_numpy(result[name]).tolist() for name in ("scores", "token_ids")]
        )
    for sampler in ("top_p", "random"):
        result = generate(
            toy.decode_step, toy.cache(), *prompt, sampler=sampler, max_length=6, seed=1,
            min_length=4, **SPECIAL_TOKENS,
        )
        token_ids = keras.ops.convert_to_numpy(result["token_ids"])
        results.append([(token_ids[:, :4] != 3).all().tolist(), token_ids[1, :3].tolist()])
    return results


@pytest.mark.slow
def test_jax_writes_the_same_captions():
    here = pathlib.Path(__file__).resolve()
    script = (
        f"import sys, json; sys.path.insert(0, {str(here.parents[2])!r})\n"
        "from tests.generation import generate_test; import keras\n"
        "assert keras.backend.backend() == 'jax'\n"
        "print(json.dumps(generate_test.captions_as_lists()))"
    )
    process = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    on_jax = json.loads(process.stdout.splitlines()[-1])
    on_this_backend = captions_as_lists()
    for (scores, token_ids), (jax_scores, jax_token_ids) in zip(on_this_backend[:5], on_jax[:5]):
        assert token_ids == jax_token_ids
        np.testing.assert_allclose(scores, jax_scores, atol=1e-5)
    assert on_this_backend[5:] == on_jax[5:]


def test_every_name_gives_a_sampler_that_captions():
    names = {"greedy", "beam", "open_clip_beam", "top_k", "top_p", "random", "contrastive"}
    assert names == set(SAMPLER_NAMES)
    for name in SAMPLER_NAMES:
        result = caption(sampler=name)
        assert result["token_ids"].shape == (2, 6) and result["scores"].shape == (2,)


@pytest.mark.parametrize("sampler", ["greedy", "top_p", "beam", "random"])
def test_scores_are_left_out_on_request_and_the_captions_stay(sampler):
    with_scores = caption(sampler=sampler, seed=4)
    without = caption(sampler=sampler, seed=4, return_scores=False)
    assert set(without) == {"token_ids"}
    np.testing.assert_array_equal(without["token_ids"], with_scores["token_ids"])


@pytest.mark.parametrize("sampler", ["greedy", "top_k"])
def test_a_last_token_that_can_only_be_the_end_is_neither_asked_for_nor_scored(sampler):
    toy = ToyCaptioner(end_bias=-20.0)  # captions that only their length ends
    result = generate(
        toy.decode_step, toy.cache(), *begin(), sampler=sampler, max_length=6,
        open_clip_rules=True, seed=0, **{**SPECIAL_TOKENS, "pad_token_id": 99},
    )  # fmt: skip
    token_ids = np.asarray(result["token_ids"])
    assert (token_ids[:, -1] == 3).all() and not (token_ids[:, :-1] == 3).any()
    assert toy.steps == 4
    scores = [toy.log_probability(image, row[:-1]) for image, row in enumerate(token_ids)]
    np.testing.assert_allclose(result["scores"], scores, rtol=1e-5)


def test_options_reach_the_sampler():
    assert get_sampler("beam", num_beams=3, length_penalty=1.0).length_penalty == 1.0
    assert get_sampler("top_k", k=7).k == 7
    sampler = TopPSampler(p=0.5)
    assert get_sampler(sampler) is sampler


@pytest.mark.parametrize(
    "options, message",
    [
        ({"sampler": "gredy"}, r"unknown sampler 'gredy'.*beam, contrastive, greedy.*top_p"),
        ({"sampler": 5}, r"sampler 5 is neither a name nor a sampler object"),
        ({"sampler": GreedySampler}, r"neither a name nor a sampler object"),
        (
            {"max_length": 2, "prompt": (np.full((2, 3), 2), np.ones((2, 3)))},
            r"max_length=2 is smaller than the prompt of 3 tokens",
        ),
        ({"max_length": 0}, r"max_length=0 is not a whole number from 1"),
        ({"max_length": 2.5}, r"max_length=2.5 is not a whole number"),
        ({"max_length": 8}, r"max_length=8 needs a cache of 7 positions.*lower max_length to 7"),
        ({"min_length": -1}, r"min_length=-1 is not a whole number"),
        ({"min_length": 7}, r"min_length=7 is greater than max_length=6"),
        ({"pad_token_id": 3}, r"pad_token_id and eos_token_id are both 3"),
    ],
)
def test_bad_call_is_one_clear_line(options, message):
    with pytest.raises(InvalidInputError, match=message) as error:
        caption(**options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: get_sampler("greedy", num_beams=3), r"'greedy' has no option 'num_beams'.*repet"),
        (lambda: get_sampler("beam", beams=3), r"'beam' has no option 'beams'.*num_beams"),
        (lambda: get_sampler(GreedySampler(), k=3), r"'k' belongs to the sampler's constructor"),
        (lambda: BeamSearch(0), r"num_beams=0"),
        (lambda: BeamSearch(2.0), r"num_beams=2.0"),
        (lambda: BeamSearch(3_000_000_000), r"num_beams=3000000000 is above 2147483647"),
        (lambda: BeamSearch(2, 0.0, 3), r"num_return_sequences=3 exceeds num_beams=2"),
        (lambda: BeamSearch(2, length_penalty=-0.1), r"length_penalty=-0.1"),
        (lambda: BeamSearch(6, num_beam_groups=4), r"num_beams=6 .*num_beam_groups=4.*multiple"),
        (lambda: BeamSearch(6, num_beam_groups=0), r"num_beam_groups=0"),
        (lambda: BeamSearch(6, diversity_penalty=0.5), r"penalty=0.5.*set num_beam_groups"),
        (
            lambda: BeamSearch(6, num_beam_groups=2, diversity_penalty=0),
            r"diversity_penalty=0 .*above 0",
        ),
        (lambda: OpenClipBeamSearch(6, 4), r"num_beams=6 .*num_beam_groups=4"),
        (lambda: OpenClipBeamSearch(1, 1), r"num_beams=1 .*greedy"),
        (lambda: OpenClipBeamSearch(repetition_penalty="1"), r"repetition_penalty='1'"),
        (lambda: get_sampler("greedy", repetition_penalty=0), r"repetition_penalty=0"),
        (lambda: BeamSearch(2, repetition_penalty=-1.0), r"repetition_penalty=-1.0"),
        (lambda: TopPSampler(repetition_penalty=float("nan")), r"repetition_penalty=nan"),
        (lambda: TopKSampler(k=0), r"k=0"),
        (lambda: TopKSampler(temperature=0), r"temperature=0.*greedy"),
        (lambda: TopKSampler(seed="x"), r"seed='x'"),
        (lambda: TopPSampler(p=0.0), r"p=0.0 .*\(0, 1\]"),
        (lambda: TopPSampler(p=1.5), r"p=1.5 .*\(0, 1\]"),
        (lambda: TopPSampler(p=float("nan")), r"p=nan"),
    ],
)
def test_bad_sampler_option_is_one_clear_line(make, message):
    with pytest.raises(InvalidInputError, match=message) as error:
        make()
    assert "\n" not in str(error.value)
