"""Captions written in groups are bit-equal to what they are alone."""

import numpy as np
import pytest
import tensorflow as tf

from official_coca.generation.generate import get_sampler
from official_coca.layers.alike_rows import GROUP_SIZE
from official_coca.serving.export_module import ExportModule
from official_coca.serving.row_groups import can_write_in_groups
from tests.tiny_models import random_images, tiny_coca, tiny_preprocessor

PROMPTS = ["", "the red cat", b"\xff", "a", "photo of"]
ROWS = 2 * GROUP_SIZE + 1
# A random model of these writes captions of different lengths.
SIZES = {"text_hidden_dim": 32, "text_num_heads": 4, "seed": 3}


@pytest.fixture(scope="module")
def model():
    return tiny_coca(preprocessor=tiny_preprocessor(), **SIZES)


@pytest.fixture(scope="module")
def pictures():
    pixels = np.random.default_rng(0).integers(0, 256, size=(ROWS, 8, 12, 3), dtype=np.uint8)
    return np.array([tf.io.encode_png(picture).numpy() for picture in pixels], object)


@pytest.fixture(scope="module")
def prompts():
    return np.array([PROMPTS[index % len(PROMPTS)] for index in range(ROWS)], object)


@pytest.fixture(scope="module")
def module(model):
    return ExportModule(model, signatures=["generate", "generate_token_ids"])


def generate(module, pictures, prompts):
    outputs = module.generate(tf.constant(list(pictures)), tf.constant(list(prompts)))
    return {name: output.numpy() for name, output in outputs.items()}


@pytest.mark.parametrize("options", [{}, {"repetition_penalty": 1.3}])
def test_captions_of_any_number_at_any_place_have_the_bits_they_have_alone(
    model, pictures, prompts, options
):
    module = ExportModule(model, signatures=["generate"], **options)
    alone = [generate(module, pictures[[row]], prompts[[row]]) for row in range(ROWS)]
    lengths = {len(outputs["caption"][0].split()) for outputs in alone}
    assert len(lengths) > 2, "rows should end at different steps"
    rng = np.random.default_rng(1)
    for count in [*range(1, ROWS + 1), 3 * GROUP_SIZE]:
        rows = rng.integers(0, ROWS, count)
        together = generate(module, pictures[rows], prompts[rows])
        for name, values in together.items():
            wanted = np.concatenate([alone[row][name] for row in rows])
            np.testing.assert_array_equal(values, wanted)


def test_numbers_that_are_none_do_not_touch_the_others(module):
    images = random_images(GROUP_SIZE)
    alone = module.generate_token_ids(tf.constant(images[:1]))
    images[1:] = np.nan, np.inf, 3e38
    together = module.generate_token_ids(tf.constant(images))
    assert together["valid"].numpy().tolist() == [True, False, False, False]
    for name in alone:
        np.testing.assert_array_equal(alone[name][0], together[name][0])


def test_captions_and_scores_equal_python(model, module, pictures):
    outputs = generate(module, pictures, [""])
    captions, scores = model.generate(list(pictures), return_scores=True)
    assert [caption.decode() for caption in outputs["caption"]] == captions
    np.testing.assert_allclose(outputs["score"], scores, atol=1e-5)


def test_no_pictures_have_no_captions(module):
    outputs = module.generate(tf.zeros([0], tf.string), tf.zeros([0], tf.string))
    assert [output.shape[0] for output in outputs.values()] == [0, 0, 0]


def test_greedy_captions_are_written_in_groups(model):
    assert can_write_in_groups(model, get_sampler("greedy"))


@pytest.mark.parametrize(
    ("overrides", "sampler"),
    [
        ({}, "beam"),
        ({}, "top_k"),
        ({}, "top_p"),
        ({}, "contrastive"),
        ({"vocabulary_size": 43}, "greedy"),
        ({"text_mlp_dim": 30}, "greedy"),
        ({"text_hidden_dim": 48, "text_num_heads": 3}, "greedy"),
        ({"multimodal_num_heads": 8, "multimodal_mlp_dim": 33}, "greedy"),
        ({"dtype": "bfloat16"}, "greedy"),
    ],
)
def test_others_are_written_row_by_row(overrides, sampler):
    assert not can_write_in_groups(tiny_coca(**{**SIZES, **overrides}), get_sampler(sampler))


def test_a_captioner_that_encodes_no_images_apart_writes_row_by_row(model):
    class Other:
        generate = init_cache = decode_step = generate_token_ids = None
        compute_dtype, decoding_widths = "float32", (4,)

    assert not can_write_in_groups(Other(), get_sampler("greedy"))
