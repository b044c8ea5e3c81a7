"""SentencePiece in the graph: exact, robust to strange ids, and saved with the model."""

import keras
import numpy as np
import pytest
import sentencepiece
import tensorflow as tf

from official_coca.errors import InvalidInputError
from official_coca.preprocessing.tokenizer import SentencePieceTokenizer

TEXTS = ["a red cat", "the dog, left of 7 cats", "", "a  photo of the blue seven "]


@pytest.mark.parametrize(
    "overrides",
    [{}, {"model_type": "bpe"}, {"byte_fallback": True, "vocab_size": 290}],
    ids=["unigram", "bpe", "byte_fallback"],
)
def test_ids_equal_the_sentencepiece_library(train_proto, overrides):
    proto = train_proto(**overrides)
    expected = sentencepiece.SentencePieceProcessor(model_proto=proto).encode(TEXTS)
    tokenizer = SentencePieceTokenizer(proto)
    assert tokenizer.tokenize(TEXTS).to_list() == expected
    in_graph = tf.data.Dataset.from_tensor_slices(TEXTS).batch(4).map(tokenizer.tokenize)
    assert next(iter(in_graph)).to_list() == expected
    assert tokenizer.tokenize(TEXTS[0]).numpy().tolist() == expected[0]


def test_special_ids_are_read_from_the_model(train_proto):
    tokenizer = SentencePieceTokenizer(train_proto(pad_id=3, unk_id=0, bos_id=1, eos_id=2))
    ids = (tokenizer.pad_token_id, tokenizer.unk_token_id)
    assert ids == (3, 0)
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id) == (1, 2)
    assert tokenizer.vocabulary_size == 36


def test_detokenize_drops_bos_and_padding_and_ends_at_the_first_eos(tokenizer):
    cat, dog = tokenizer.tokenize(["cat", "dog"]).to_list()
    rows = [[2, *cat, 3, *dog, 3], [2, *dog, 0, 0]]
    token_ids = tf.ragged.constant(rows)
    expected = [b"cat", b"dog"]
    assert tokenizer.detokenize(token_ids).numpy().tolist() == expected
    assert tokenizer.detokenize(token_ids.to_tensor()).numpy().tolist() == expected
    assert tokenizer.detokenize(np.array(rows[0], np.int64)).numpy() == b"cat"
    assert tf.function(tokenizer.detokenize)(token_ids.to_tensor()).numpy().tolist() == expected


def test_ids_outside_the_vocabulary_read_as_unknown(tokenizer):
    cat = tokenizer.tokenize("cat").numpy().tolist()
    inside = tokenizer.detokenize([[*cat, tokenizer.unk_token_id, *cat]]).numpy()
    for strange in (tokenizer.vocabulary_size, 10**6, -1):
        assert tokenizer.detokenize([[*cat, strange, *cat]]).numpy() == inside
    assert inside[0].startswith(b"cat") and inside[0] != b"catcat"


def test_rows_without_a_token_become_empty_texts(tokenizer):
    assert tokenizer.detokenize([[0, 0], [2, 3]]).numpy().tolist() == [b"", b""]
    assert tokenizer.detokenize(np.zeros((0, 5), np.int32)).shape == (0,)
    assert tokenizer.detokenize(np.zeros((2, 0), np.int32)).numpy().tolist() == [b"", b""]


def test_config_path_and_assets_give_the_same_tokenizer(tokenizer, tmp_path):
    tokenizer.save_assets(tmp_path / "tokenizer")
    path = tmp_path / "tokenizer" / "vocabulary.spm"
    copies = [
        SentencePieceTokenizer.from_config(tokenizer.get_config()),
        SentencePieceTokenizer.from_assets(tmp_path / "tokenizer"),
        SentencePieceTokenizer(path),
        SentencePieceTokenizer(str(path)),
        keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(tokenizer)),
    ]
    for copy in copies:
        assert copy.tokenize(TEXTS).to_list() == tokenizer.tokenize(TEXTS).to_list()
        assert copy.get_config() == tokenizer.get_config()


def test_tokenizer_outlives_clear_session(tokenizer):
    before = tokenizer.tokenize(TEXTS).to_list()
    keras.utils.clear_session()
    assert tokenizer.tokenize(TEXTS).to_list() == before
    keras.utils.clear_session()
    dataset = tf.data.Dataset.from_tensors(TEXTS).map(tokenizer.tokenize)
    assert next(iter(dataset)).to_list() == before


def test_saved_model_carries_the_vocabulary(tokenizer, tmp_path):
    module = tf.Module()
    module.tokenizer = tokenizer
    module.serve = tf.function(
        lambda texts: module.tokenizer.detokenize(module.tokenizer.tokenize(texts)),
        input_signature=[tf.TensorSpec([None], tf.string)],
    )
    tf.saved_model.save(module, str(tmp_path))
    module = None
    keras.utils.clear_session()  # drops every SentencePiece resource of this process
    loaded = tf.saved_model.load(str(tmp_path))
    assert loaded.serve(tf.constant(["a red cat", ""])).numpy().tolist() == [b"a red cat", b""]


@pytest.mark.parametrize("missing", ["pad_id", "bos_id", "eos_id"])
def test_model_without_a_special_token_is_refused(train_proto, missing, tmp_path):
    path = tmp_path / "old.model"
    path.write_bytes(train_proto(**{missing: -1}))
    with pytest.raises(InvalidInputError, match=f"old.model.*no {missing[:3]} token.*train_sent"):
        SentencePieceTokenizer(path)


def test_missing_damaged_and_empty_files_are_refused_in_one_line(train_proto, tmp_path):
    damaged = tmp_path / "damaged.model"
    damaged.write_bytes(train_proto()[:1000])
    empty = tmp_path / "empty.model"
    empty.touch()
    cases = {
        str(tmp_path / "absent.model"): "does not exist",
        "absent": "does not exist",
        str(damaged): "damaged",
        str(empty): "damaged",
        str(tmp_path): "is a directory",
        "QUJD" * 1000: "is damaged",
        b"no model": "damaged",
    }
    for proto, words in cases.items():
        with pytest.raises(InvalidInputError, match=words) as caught:
            SentencePieceTokenizer(proto)
        assert "\n" not in str(caught.value)
