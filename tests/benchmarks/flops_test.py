"""Operations counted by hand."""

import pytest

from benchmarks.side_by_side import flops
from benchmarks.side_by_side.flops import CoCaFlops

# 4 patches of 2x2x3 values and a class token, width 4; 3 queries; text width 2, embedding 6.
SIZES = {
    "image_size": 4,
    "patch_size": 2,
    "use_class_token": True,
    "image_num_layers": 1,
    "image_hidden_dim": 4,
    "image_mlp_dim": 8,
    "pooler": "shared",
    "num_queries": 3,
    "project_image": True,
    "unimodal_num_layers": 2,
    "multimodal_num_layers": 1,
    "text_hidden_dim": 2,
    "text_mlp_dim": 4,
    "separate_cross_attention_mlp": True,
    "embedding_dim": 6,
    "vocabulary_size": 10,
}


def test_product_counts_a_multiplication_and_an_addition_each():
    assert flops.product(3, 4, 5) == 120


def test_image_by_hand():
    patches = 2 * 4 * 12 * 4  # 384
    projections = 2 * 5 * 4 * 16  # query, key, value and output of 5 features
    scores_and_sum = 2 * (2 * 5 * 5 * 4)
    mlp = 2 * (2 * 5 * 4 * 8)
    assert CoCaFlops(SIZES).image_encoder() == patches + projections + scores_and_sum + mlp == 2064


def test_shared_pooler_by_hand():
    queries_and_output = 2 * (2 * 3 * 6 * 6)
    keys_and_values = 2 * (2 * 5 * 4 * 6)
    scores_and_sum = 2 * (2 * 3 * 5 * 6)
    projection = 2 * 6 * 6
    expected = queries_and_output + keys_and_values + scores_and_sum + projection
    assert CoCaFlops(SIZES).poolers() == expected == 1344


def test_text_by_hand():
    # 3 tokens and the class token: projections 128, attention 128, MLP 128; projection to 6: 24.
    assert CoCaFlops(SIZES).text(3) == 2 * (128 + 128 + 128) + 24


def test_decoder_by_hand():
    # 3 tokens read 2 image tokens of width 6; two MLPs a layer.
    self_attention = 2 * 3 * 2 * 8 + 2 * (2 * 3 * 3 * 2)
    cross_attention = 2 * (2 * 3 * 2 * 2) + 2 * (2 * 2 * 6 * 2) + 2 * (2 * 3 * 2 * 2)
    mlps = 2 * (2 * (2 * 3 * 2 * 4))
    assert CoCaFlops(SIZES).decoder(3) == self_attention + cross_attention + mlps
    assert CoCaFlops(SIZES).vocabulary(3) == 2 * 3 * 2 * 10


def test_training_step_is_three_forward_passes():
    count = CoCaFlops(SIZES)
    forward = 2 * (count.image() + count.text(3) + count.decoder(2)) + count.vocabulary(4)
    similarities = 2 * 2 * 6 * 2
    assert count.training_step(2, 3, 2, predicted_tokens=4) == 3 * (forward + similarities)


def test_captions_cost_what_one_pass_over_their_tokens_costs_but_for_the_future():
    count = CoCaFlops(SIZES)
    one_pass = count.image() + count.text(4) + count.decoder(4) + count.vocabulary(4)
    class_token_and_projection = count.text(4) - 2 * (
        flops.self_attention(4, 2) + flops.mlp(4, 2, 4)
    )
    future = 3 * sum(flops.attention(1, 4 - seen, 2) for seen in (1, 2, 3, 4))
    assert count.captioning(1, 5) == one_pass - class_token_and_projection - future


def test_beams_share_the_image():
    count = CoCaFlops(SIZES)
    one, two, three = (count.captioning(2, 5, beams) for beams in (1, 2, 3))
    assert three - two == two - one < one


def test_dual_encoder_has_no_decoder_and_no_generative_pooler():
    sizes = {**SIZES, "pooler": "parallel", "project_image": False, "captioning_loss_weight": 0.0}
    count = CoCaFlops(sizes)
    assert count.poolers() == flops.cross_attention(1, 5, 6, 4)
    expected = 2 * (count.image() + count.text(3)) + flops.product(2, 6, 2)
    assert count.training_step(2, 3, 3, 6) == 3 * expected


@pytest.mark.parametrize("pooler, tokens", [("none", (4, 4)), ("cascade", (3, 2))])
def test_decoder_reads_what_the_pooler_leaves(pooler, tokens):
    assert CoCaFlops({**SIZES, "pooler": pooler}).image_tokens() == tokens
