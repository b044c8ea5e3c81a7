"""Our samplers against what open_clip's own decoding loops wrote for the same logits."""

import json

import numpy as np
import pytest
from keras import ops

from official_coca.generation.beam_search import BeamSearch
from official_coca.generation.decoding_rules import DecodingRules
from official_coca.generation.generate import generate, get_sampler
from official_coca.generation.repetition import penalise_repetition
from official_coca.generation.sampling import StatelessSeed
from tests.fixtures.make_open_clip_captions import FIXTURE, OLDER_KINDS, PAD, SOT, draw_tables

RECORDED = json.loads(FIXTURE.read_text())
CAPTIONS = RECORDED["captions"]


class TableCaptioner:
    """Logits from a case's tables; the token before the last is all that the cache holds."""

    def __init__(self, case):
        by_tokens, by_position, self.by_image = draw_tables(case)
        self.by_tokens = ops.convert_to_tensor(by_tokens)
        self.by_position = ops.convert_to_tensor(by_position)
        self.positions = case["seq_len"]
        self.row_counts = set()

    def cache(self):
        rows = len(self.by_image)
        return {
            "self_attention": (ops.zeros((rows, 2, 1, self.positions, 1), dtype="int32"),),
            "cross_attention": (ops.convert_to_tensor(self.by_image[:, None, None, None]),),
        }

    def decode_step(self, token_ids, cache, index):
        held, images = cache["self_attention"][0], cache["cross_attention"][0][:, 0, 0, 0]
        size = images.shape[-1]
        self.row_counts.add(held.shape[0])
        older, last = held[:, 0, 0, 0, 0], token_ids[:, 0]
        places = (older % OLDER_KINDS) * size + last
        logits = ops.take(ops.reshape(self.by_tokens, (-1, size)), places, axis=0)
        logits += self.by_position[index]
        grouped = ops.reshape(logits, (images.shape[0], -1, size)) + images[:, None]
        held = ops.zeros_like(held) + last[:, None, None, None, None]
        return ops.reshape(grouped, (-1, size)), {**cache, "self_attention": (held,)}


def sampler_of(case):
    options = {"repetition_penalty": case["repetition_penalty"]}
    if case["generation_type"] == "beam_search":
        names = ("num_beams", "num_beam_groups")
        return "open_clip_beam", {**options, **{name: case[name] for name in names}}
    options["temperature"] = case["temperature"]
    if case["generation_type"] == "top_k":
        return "top_k", {**options, "k": case["top_k"]}
    return "top_p", {**options, "p": case["top_p"]}


def write(case, sampler=None, **options):
    captioner = TableCaptioner(case)
    prompt = np.array(case.get("text", [[SOT]] * case["batch_size"]))
    name, sampler_options = sampler_of(case)
    result = generate(
        captioner.decode_step,
        captioner.cache(),
        prompt,
        np.ones_like(prompt, dtype=bool),
        sampler=sampler or get_sampler(name, **sampler_options),
        max_length=case["seq_len"],
        min_length=case["min_seq_len"],
        bos_token_id=SOT,
        eos_token_id=case["vocabulary_size"] - 1,
        pad_token_id=PAD,
        open_clip_rules=True,
        **options,
    )
    return np.asarray(result["token_ids"]), np.asarray(result["scores"])


def recorded_ids(case):
    """What open_clip wrote, padded as its `fixed_output_length=True` does."""
    token_ids = np.array(case["token_ids"])
    missing = case["seq_len"] - token_ids.shape[1]
    return np.pad(token_ids, ((0, 0), (0, missing)), constant_values=PAD)


FEW = 12  # of the cases take seconds, all of them minutes


def compare(cases):
    for case in cases:
        token_ids, scores = write(case, seed=1)
        np.testing.assert_array_equal(token_ids, recorded_ids(case), err_msg=str(case))
        if "scores" in case:
            np.testing.assert_allclose(scores, case["scores"], rtol=1e-5)


def test_token_ids_are_those_that_open_clip_wrote():
    kinds = {case["generation_type"] for case in CAPTIONS[:FEW]}
    assert kinds == {"top_k", "top_p", "beam_search"}
    compare(CAPTIONS[:FEW])


@pytest.mark.slow
def test_more_token_ids_are_those_that_open_clip_wrote():
    assert len(CAPTIONS) >= 100
    compare(CAPTIONS[FEW:])


def test_recorded_cases_cover_what_can_happen():
    ends = [(case, len(row)) for case in CAPTIONS for row in case["token_ids"]]
    assert {case["batch_size"] for case, _ in ends} == {1, 2, 3, 4}
    assert {case.get("num_beam_groups") for case, _ in ends} == {None, 1, 2, 3, 4}
    lengths = [
        [row.index(case["vocabulary_size"] - 1) if case["vocabulary_size"] - 1 in row else 99
         for row in case["token_ids"]]
        for case in CAPTIONS
    ]  # fmt: skip
    assert sum(len(set(row)) > 1 for row in lengths) > 20  # rows that end at different times
    earliest = [max(1, case["min_seq_len"]) for case in CAPTIONS]
    assert sum(first in row for first, row in zip(earliest, lengths)) > 20  # at the first chance
    assert sum(any(PAD in row[: -1] for row in case["token_ids"]) for case in CAPTIONS) > 20


def test_one_group_is_searched_for_all():
    case = next(case for case in CAPTIONS if case.get("num_beam_groups") == 3)
    captioner = TableCaptioner(case)
    prompt = np.full((case["batch_size"], 1), SOT)
    generate(
        captioner.decode_step, captioner.cache(), prompt, np.ones_like(prompt, bool),
        sampler=get_sampler(
            "open_clip_beam", num_beams=case["num_beams"], num_beam_groups=3
        ),
        max_length=case["seq_len"], bos_token_id=SOT, pad_token_id=PAD,
        eos_token_id=case["vocabulary_size"] - 1, open_clip_rules=True,
    )  # fmt: skip
    assert captioner.row_counts == {case["batch_size"] * case["num_beams"] // 3}


def test_sampled_tokens_have_the_probabilities_of_open_clip():
    assert len(RECORDED["distributions"]) >= 20
    for case in RECORDED["distributions"]:
        expected = np.array(case["probabilities"])
        times = 3000
        logits = next_logits(case)
        name, options = sampler_of(case)
        sampler = get_sampler(name, **options)
        rules = DecodingRules(
            max_length=case["seq_len"], min_length=case["min_seq_len"], pad_token_id=PAD,
            bos_token_id=SOT, eos_token_id=case["vocabulary_size"] - 1, open_clip_rules=True,
        )  # fmt: skip
        text = np.array(case["text"])
        logits = penalise_repetition(
            logits, text, text.shape[1] - 1, sampler.repetition_penalty
        )
        logits = rules.allow(logits, text.shape[1])
        for row in range(case["batch_size"]):
            drawn = np.asarray(
                sampler.select_under(
                    rules, ops.repeat(logits[row : row + 1], times, axis=0), StatelessSeed(7, row)
                )
            )
            found = np.bincount(drawn, minlength=case["vocabulary_size"]) / times
            assert not found[expected[row] == 0].any(), case
            deviation = np.sqrt(expected[row] * (1 - expected[row]) / times)
            assert (np.abs(found - expected[row]) < 5 * deviation + 1e-3).all(), case


def next_logits(case):
    """(B, V) of the token after the prompt."""
    by_tokens, by_position, by_image = draw_tables(case)
    text = np.array(case["text"])
    last = by_tokens[text[:, -2] % OLDER_KINDS, text[:, -1]] + by_position[text.shape[1] - 1]
    return ops.convert_to_tensor(last + by_image)


def test_own_beam_search_finds_captions_that_are_no_less_likely():
    """Log-probabilities of the captions of both searches, under the model's own softmax."""
    better = worse = 0
    for case in [case for case in CAPTIONS if case["generation_type"] == "beam_search"][:5]:
        case = {**case, "repetition_penalty": 1.0}
        theirs, _ = write(case)
        _, ours = write(case, BeamSearch(case["num_beams"]))
        score = np.asarray(rescore(case, theirs))
        better += np.count_nonzero(ours > score + 1e-4)
        worse += np.count_nonzero(ours < score - 1e-4)
    assert better > 0 and worse == 0


def rescore(case, token_ids):
    """Sums of log-probabilities (B,) up to and including EOS."""
    by_tokens, by_position, by_image = draw_tables(case)
    scores = []
    for image, row in enumerate(token_ids):
        total, older = 0.0, 0
        for position, (last, following) in enumerate(zip(row[:-1], row[1:])):
            logits = by_tokens[older % OLDER_KINDS, last] + by_position[position] + by_image[image]
            logits = logits.astype("float64")
            total += logits[following] - np.log(np.exp(logits).sum())
            older = last
            if following == case["vocabulary_size"] - 1:
                break
        scores.append(total)
    return scores
