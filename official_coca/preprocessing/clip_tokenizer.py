"""CLIP's byte-pair encoding inside the TensorFlow graph.

Shapes: B texts or rows, L tokens.
"""

import os

import keras
import numpy as np
import tensorflow as tf

from official_coca.errors import InvalidInputError
from official_coca.preprocessing import clip_cleaning, clip_words
from official_coca.preprocessing.byte_pair_merging import BytePairMerger
from official_coca.preprocessing.clip_vocabulary import (
    NUM_BYTES,
    VOCABULARY_FILE,
    CLIPVocabulary,
    default_merges,
    read_vocabulary,
)
from official_coca.preprocessing.constant_table import ConstantTable, constant

_REPLACEMENT_CHARACTER = "\N{REPLACEMENT CHARACTER}"


@keras.saving.register_keras_serializable(package="official_coca")
class CLIPTokenizer(tf.Module):
    """Turns strings into CLIP's token ids and back, in Python, `tf.data` and SavedModels.

    The ids of Python strings (str, bytes, lists or NumPy arrays of them) equal those of
    open_clip's `SimpleTokenizer`. Strings in tensors are cleaned by core TensorFlow operations,
    which leave out parts of ftfy's repairs: see `clip_cleaning`. Only core operations and
    constants are used, so an exported graph needs neither another library nor a file beside it.

    As in the original, `<start_of_text>` and `<end_of_text>` written in a text become BOS and EOS.
    Padding has the id 0, which is also the token "!" inside a word.

    Args:
        merges: the merges in their order, one `first second` a line; None for OpenAI's, which
            ship with this package. To read them from files, use `from_checkpoint`.

    Example:
        tokenizer = CLIPTokenizer()
        tokenizer.detokenize(tokenizer.tokenize(["a photo of the cat"]))
    """

    def __init__(self, merges=None):
        super().__init__(name="clip_tokenizer")
        built_in = default_merges()
        vocabulary = CLIPVocabulary(built_in if merges is None else merges, "merges")
        self._vocabulary = vocabulary
        self._has_own_merges = vocabulary.merges != built_in
        first_merged_id = 2 * NUM_BYTES
        self.bos_token_id = first_merged_id + len(vocabulary.pairs)
        self.eos_token_id = self.bos_token_id + 1
        self.vocabulary_size = self.eos_token_id + 1
        self.pad_token_id = 0
        longest = max(map(len, vocabulary.token_bytes))
        self._merger = BytePairMerger(vocabulary.pairs, first_merged_id, longest)
        self._byte_ids = constant(vocabulary.byte_ids())
        self._single_tokens = self._find_single_tokens()
        outside = [b"", b"", _REPLACEMENT_CHARACTER.encode()]  # BOS, EOS, no id
        self._token_bytes = constant(vocabulary.token_bytes + outside)
        strings = tf.TensorSpec([None], tf.string)
        # Made once, so that the tables are too when called from Python.
        self._clean_and_encode = tf.function(
            lambda texts: self._encode(clip_cleaning.clean_texts(texts)), [strings], autograph=False
        )
        encode = tf.function(self._encode, [strings], autograph=False)
        # Not the function itself, which a SavedModel of the tokenizer would keep for nothing.
        self._encode_clean = lambda texts: encode(texts)

    def tokenize(self, texts):
        """Returns the ids without BOS and EOS: a ragged (B, None) int32, or (L,) for a scalar.

        Args:
            texts: strings, (B,), ragged or scalar.
        """
        cleaned = clip_cleaning.clean_python_texts(texts)
        encode = self._clean_and_encode if cleaned is None else self._encode_clean
        texts = texts if cleaned is None else cleaned
        if isinstance(texts, tf.RaggedTensor):
            return texts.with_flat_values(encode(texts.flat_values))
        texts = tf.convert_to_tensor(texts, tf.string)
        if texts.shape.rank == 0:
            return encode(texts[tf.newaxis])[0]
        if texts.shape.rank == 1:
            return encode(texts)
        texts = tf.RaggedTensor.from_tensor(texts, ragged_rank=texts.shape.rank - 1)
        return texts.with_flat_values(encode(texts.flat_values))

    def detokenize(self, token_ids):
        """Returns the texts (B,) of ids (B, L), or the one text of (L,).

        A row ends at its first EOS; BOS is dropped, and so is padding at the end of the row: an id
        0 before other tokens is a "!". Bytes that are no UTF-8 and ids outside the vocabulary read
        as U+FFFD.

        Args:
            token_ids: integers, dense (..., L) or ragged (B, None).
        """
        if isinstance(token_ids, tf.RaggedTensor):
            token_ids = token_ids.to_tensor(self.pad_token_id)
        token_ids = tf.cast(tf.convert_to_tensor(token_ids), tf.int32)
        outer_shape = tf.shape(token_ids)[:-1]
        rows = tf.reshape(token_ids, [tf.reduce_prod(outer_shape), tf.shape(token_ids)[-1]])
        ended = tf.cumsum(tf.cast(rows == self.eos_token_id, tf.int32), axis=1) > 0
        is_text = ~ended & (rows != self.pad_token_id) & (rows != self.bos_token_id)
        texts_after = tf.cumsum(tf.cast(is_text, tf.int32), axis=1, reverse=True)
        rows = tf.where(texts_after > 0, rows, self.bos_token_id)  # which reads as nothing
        known = (rows >= 0) & (rows < self.vocabulary_size)
        pieces = tf.gather(self._token_bytes, tf.where(known, rows, self.vocabulary_size))
        texts = tf.strings.reduce_join(pieces, axis=1)
        texts = tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8")
        texts = tf.strings.strip(tf.strings.regex_replace(texts, "</w>", " "))
        return tf.ensure_shape(tf.reshape(texts, outer_shape), token_ids.shape[:-1])

    def save_assets(self, directory):
        """Writes `vocab.json` and `merges.txt`, as Hugging Face's CLIP tokenizers have them."""
        self._vocabulary.write(directory)

    @classmethod
    def from_assets(cls, directory):
        """Returns the tokenizer of the files in `directory`: see `from_checkpoint`.

        Raises:
            InvalidInputError: if there are none, or none that fit.
        """
        vocabulary = read_vocabulary(directory)
        if vocabulary is None:
            path = os.path.join(directory, VOCABULARY_FILE)
            raise InvalidInputError(
                f"tokenizer file {path!r} does not exist; give a directory with the vocab.json and "
                "merges.txt of a CLIP tokenizer"
            )
        return cls(vocabulary.merges)

    @classmethod
    def from_checkpoint(cls, directory):
        """Returns the tokenizer of a checkpoint, which is OpenAI's if it has no tokenizer files.

        Args:
            directory: where `vocab.json` and `merges.txt`, or `tokenizer.json`, or
                `bpe_simple_vocab_16e6.txt.gz` may lie.

        Raises:
            InvalidInputError: if a file is missing from a set, is damaged or is not CLIP's.
        """
        vocabulary = read_vocabulary(directory)
        return cls(None if vocabulary is None else vocabulary.merges)

    def get_config(self):
        return {"merges": self._vocabulary.merges if self._has_own_merges else None}

    @classmethod
    def from_config(cls, config):
        return cls(**config)

    def _encode(self, texts):
        """Returns the ids of clean texts (B,), ragged (B, None) int32."""
        with tf.device("CPU:0"):  # where strings are
            words = clip_words.split_words(texts)
            distinct, index = tf.unique(words.flat_values)
            is_single, single_ids = self._single_tokens(distinct)
            rest = self._merge_bytes(tf.where(is_single, "", distinct))
            single = tf.RaggedTensor.from_row_lengths(
                tf.boolean_mask(single_ids, is_single), tf.cast(is_single, tf.int64)
            )
            tokens = tf.gather(tf.concat([single, rest], axis=1), index)
            row_splits = tf.gather(tokens.row_splits, words.row_splits)
            return tf.RaggedTensor.from_row_splits(tokens.values, row_splits, validate=False)

    def _merge_bytes(self, words):
        """Returns the ids of words (W,), ragged (W, None) int32."""
        lengths = tf.strings.length(words)
        numbers = tf.repeat(tf.range(tf.size(words)), lengths)
        is_last = tf.concat([numbers[1:] != numbers[:-1], [True]], axis=0)[: tf.size(numbers)]
        values = tf.io.decode_raw(tf.strings.reduce_join(words), tf.uint8)
        token_ids = tf.gather(self._byte_ids, tf.cast(values, tf.int32))
        token_ids += tf.where(is_last, NUM_BYTES, 0)
        token_ids, numbers = self._merger(token_ids, numbers)
        return tf.RaggedTensor.from_value_rowids(
            token_ids, tf.cast(numbers, tf.int64), tf.size(words, tf.int64), validate=False
        )

    def _find_single_tokens(self):
        """Returns the table of the words that merge into one token, with its id.

        They are most words of a text, and looking them up spares their merges.
        """
        words, ids = self._vocabulary.whole_words()
        if self._has_own_merges:
            is_single = self._merge_into(words, ids)
            words = [word for word, single in zip(words, is_single) if single]
            ids = ids[is_single]
        words += [clip_words.START_OF_TEXT.encode(), clip_words.END_OF_TEXT.encode()]
        ids = [*ids, self.bos_token_id, self.eos_token_id]
        return ConstantTable(words, np.array(ids, np.int32))

    def _merge_into(self, words, ids):
        """Returns (N,) bool: whether words (N,) merge into the one token of their ids (N,).

        Of the built-in vocabulary all do, and merging them would take most of the time that making
        a tokenizer takes.
        """
        merged = tf.function(self._merge_bytes, autograph=False)(tf.constant(words))
        first = merged[:, :1].values.numpy()
        return (merged.row_lengths().numpy() == 1) & (first == ids)
