"""Tests of retrieval, mostly by matrices small enough to rank by eye."""

import numpy as np
import pytest

from official_coca.errors import InvalidInputError
from official_coca.evaluation import retrieval
from tests.evaluation.stub_models import LookupDualEncoder, one_batch, picture


def rank_matrix(scores, query_groups, candidate_groups, **arguments):
    """Ranks from a given score matrix: queries are its rows, candidates the unit vectors."""
    scores = np.asarray(scores, "float32")
    candidates = np.eye(scores.shape[1], dtype="float32")
    return retrieval.rank_candidates(
        scores, query_groups, candidates, candidate_groups, **arguments
    )


def test_image_to_text_counts_wrong_captions_before_the_best_right_one():
    # Two captions per image: 0, 1 belong to image 0, 2, 3 to image 1, 4, 5 to image 2.
    scores = [
        [0.1, 0.9, 0.8, 0.7, 0.6, 0.5],  # right one first
        [0.9, 0.8, 0.7, 0.1, 0.2, 0.3],  # two wrong ones before
        [0.9, 0.8, 0.7, 0.6, 0.5, 0.4],  # four wrong ones before
    ]
    ranks, top = rank_matrix(scores, [0, 1, 2], [0, 0, 1, 1, 2, 2], top_count=3)
    assert ranks.tolist() == [0, 2, 4]
    assert top.tolist() == [[1, 2, 3], [0, 1, 2], [0, 1, 2]]


def test_text_to_image_ranks_every_caption_on_its_own():
    # Rows are four captions, columns two images.
    scores = [[0.9, 0.1], [0.2, 0.3], [0.4, 0.8], [0.7, 0.6]]
    ranks, _ = rank_matrix(scores, [0, 0, 1, 1], [0, 1])
    assert ranks.tolist() == [0, 1, 0, 1]
    assert retrieval.recall(ranks, 1) == 0.5
    assert retrieval.recall(ranks, 2) == 1.0


def test_ties_count_against_the_model():
    ranks, _ = rank_matrix(np.full((3, 3), 0.5), [0, 1, 2], [0, 1, 2])
    assert ranks.tolist() == [2, 2, 2]


def test_a_tie_between_two_right_captions_is_a_hit():
    ranks, _ = rank_matrix([[0.5, 0.5, 0.4]], [0], [0, 0, 1])
    assert ranks.tolist() == [0]


def test_nan_embeddings_are_never_a_hit():
    ranks, _ = rank_matrix(np.full((2, 2), np.nan), [0, 1], [0, 1])
    assert ranks.tolist() == [1, 1]


def test_duplicates_tie_in_spite_of_rounding():
    generator = np.random.default_rng(0)
    vectors = generator.normal(size=(150, 96)).astype("float32")
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    rounding = 1e-8 * generator.normal(size=vectors.shape).astype("float32")
    doubled = np.concatenate([vectors, vectors + rounding])
    groups = np.arange(300)
    ranks, _ = retrieval.rank_candidates(doubled, groups, doubled, groups)
    assert ranks.tolist() == [1] * 300


def test_chunks_agree_with_a_full_sort():
    generator = np.random.default_rng(1)
    images = generator.normal(size=(23, 16)).astype("float32")
    texts = generator.normal(size=(23 * 5, 16)).astype("float32") + np.repeat(images, 5, axis=0)
    text_images = np.repeat(np.arange(23), 5)
    ranks, top = retrieval.rank_candidates(
        images, np.arange(23), texts, text_images, top_count=10, chunk_size=4
    )
    order = np.argsort(-images @ texts.T, axis=1)
    expected = [np.flatnonzero(text_images[order[i]] == i)[0] for i in range(23)]
    assert len(set(expected)) > 1
    assert ranks.tolist() == expected
    np.testing.assert_array_equal(top, order[:, :10])


def test_evaluator_scores_both_directions():
    pictures = [picture(1, 0, 0), picture(0, 1, 0)]
    texts = [["red", "crimson"], ["green"]]
    vectors = {"red": [1, 0, 0], "crimson": [0.3, 0.6, 0], "green": [0, 1, 0]}
    evaluator = retrieval.RetrievalEvaluator(one_batch(pictures, texts), recall_at=(1, 2))
    scores = evaluator(LookupDualEncoder(vectors))
    assert scores == {
        "i2t_r1": 1.0,
        "i2t_r2": 1.0,
        "t2i_r1": pytest.approx(2 / 3),
        "t2i_r2": 1.0,
    }
    details = evaluator.details
    assert details["texts"] == ["red", "crimson", "green"]
    assert details["text_image_index"].tolist() == [0, 0, 1]
    assert details["image_to_text_top"].tolist() == [[0, 1, 2], [2, 1, 0]]
    assert details["text_to_image_top"].tolist() == [[0, 1], [1, 0], [1, 0]]


def test_default_names_are_recall_at_1_5_and_10():
    evaluator = retrieval.RetrievalEvaluator(one_batch([picture(1, 0, 0)], [["red"]]))
    scores = evaluator(LookupDualEncoder({"red": [1, 0, 0]}))
    assert list(scores) == ["i2t_r1", "i2t_r5", "i2t_r10", "t2i_r1", "t2i_r5", "t2i_r10"]


def test_an_image_without_caption_is_named():
    with pytest.raises(InvalidInputError, match="image 1 .*no caption"):
        retrieval.flatten_captions([["a"], []])
