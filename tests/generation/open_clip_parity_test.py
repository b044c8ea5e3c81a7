"""Our samplers against what open_clip's own decoding loops wrote for the same logits."""

import json

import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from official_coca.generation.generate import generate, get_sampler
from official_coca.generation.repetition import penalise_repetition
from official_coca.generation.sampling import TokenSampler
from tests.fixtures.make_open_clip_captions import (
    FIXTURE,
    OLDER_KINDS,
    PAD,
    SOT,
    draw_tables,
)

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


@pytest.mark.parametrize("kind", ["top_k", "top_p", "beam_search"])
def test_token_ids_are_those_that_open_clip_wrote(kind):
    cases = [case for case in CAPTIONS if case["generation_type"] == kind]
    assert len(cases) >= 30
    for case in cases:
        token_ids, scores = write(case, seed=1)
        np.testing.assert_array_equal(token_ids, recorded_ids(case), err_msg=str(case))
        if kind == "beam_search":
            np.testing.assert_allclose(scores, case["scores"], rtol=1e-5)
