"""A small vocabulary for the tests of this folder."""

import io
import itertools

import pytest
import sentencepiece

WORDS = "a the red blue green three seven cat dog photo of left right above".split()


@pytest.fixture(scope="session")
def train_proto():
    """Trains a small model; keyword arguments change the trainer's."""

    def train(**overrides):
        sentences = [" ".join(words) for words in itertools.permutations(WORDS, 2)]
        model = io.BytesIO()
        arguments = {
            "vocab_size": 36, "pad_id": 0, "unk_id": 1, "bos_id": 2, "eos_id": 3, "minloglevel": 2
        }  # fmt: skip
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(sentences), model_writer=model, **{**arguments, **overrides}
        )
        return model.getvalue()

    return train


@pytest.fixture(scope="session")
def tokenizer(train_proto):
    from official_coca.preprocessing.tokenizer import SentencePieceTokenizer

    return SentencePieceTokenizer(train_proto())
