"""Tests of batching a data set through an encoder."""

import numpy as np
import pytest
import tensorflow as tf

from official_coca.errors import InvalidInputError
from official_coca.evaluation import embeddings
from tests.evaluation.stub_models import LookupDualEncoder, one_batch, picture


@pytest.mark.parametrize(
    "texts",
    [
        tf.ragged.constant([["één", "two"], ["three"]]),
        tf.constant([["één", "two"], ["three", ""]]),
        np.array([["één", "two"], ["three", ""]], dtype=object),
        [["één".encode(), b"two"], [b"three"]],
    ],
    ids=["ragged", "dense", "array", "bytes"],
)
def test_text_rows_become_lists_of_strings(texts):
    assert embeddings.text_rows(texts) == [["één", "two"], ["three"]]


def test_one_string_per_image_is_a_row_of_one():
    assert embeddings.text_rows(tf.constant(["a", "b"])) == [["a"], ["b"]]


def test_images_keep_their_order_over_batches_of_a_tf_dataset():
    colours = np.eye(3, dtype="float32")
    images = np.stack([picture(*colour) for colour in colours])
    texts = tf.ragged.constant([["red"], ["green", "lime"], ["blue"]])
    dataset = tf.data.Dataset.from_tensor_slices({"images": images, "texts": texts}).batch(2)
    vectors, rows = embeddings.embed_images(LookupDualEncoder({}), dataset)
    np.testing.assert_array_equal(vectors, colours)
    assert rows == [["red"], ["green", "lime"], ["blue"]]


def test_texts_are_embedded_in_batches_and_in_order():
    model = LookupDualEncoder({str(number): [number, 0] for number in range(5)})
    vectors = embeddings.embed_texts(model, list("01234"), batch_size=2)
    assert vectors[:, 0].tolist() == [0, 1, 2, 3, 4]
    assert [len(batch) for batch in model.text_batches] == [2, 2, 1]


def test_progress_is_printed_only_when_asked_for(capsys):
    dataset = one_batch([picture(1, 0, 0)], [["red"]])
    embeddings.embed_images(LookupDualEncoder({}), dataset)
    assert capsys.readouterr().out == ""
    embeddings.embed_images(LookupDualEncoder({}), dataset, verbose=True)
    assert capsys.readouterr().out != ""


def test_an_empty_dataset_is_reported():
    with pytest.raises(InvalidInputError, match="empty"):
        embeddings.embed_images(LookupDualEncoder({}), [])


def test_a_batch_with_more_texts_than_images_is_reported():
    dataset = one_batch([picture(1, 0, 0)], [["a"], ["b"]])
    with pytest.raises(InvalidInputError, match="1 images and 2 rows"):
        embeddings.embed_images(LookupDualEncoder({}), dataset)


def test_a_model_that_embeds_nothing_is_named():
    with pytest.raises(InvalidInputError, match="int has no encode_image"):
        embeddings.embed_images(3, [])
