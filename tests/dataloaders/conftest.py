"""Fixtures of the tests of the input pipeline."""

import io

import pytest
import sentencepiece

from official_coca.preprocessing.image import ImageConverter
from official_coca.preprocessing.preprocessor import ImageTextPreprocessor
from official_coca.preprocessing.tokenizer import SentencePieceTokenizer
from tests.dataloaders.numbered_shards import IMAGE_SIZE, NumberedShards


@pytest.fixture(scope="session")
def preprocessor():
    model = io.BytesIO()
    sentences = [f"{words} {n}" for n in range(200) for words in ("item", "photo of", "the", "a")]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences), model_writer=model, vocab_size=60,
        hard_vocab_limit=False, pad_id=0, unk_id=1, bos_id=2, eos_id=3, minloglevel=2,
    )  # fmt: skip
    tokenizer = SentencePieceTokenizer(model.getvalue())
    return ImageTextPreprocessor(
        tokenizer, ImageConverter(IMAGE_SIZE), max_length=16, length_buckets=(4, 8, 12)
    )


@pytest.fixture
def shards(tmp_path, preprocessor):
    return NumberedShards(tmp_path, preprocessor)
