"""SentencePiece inside the TensorFlow graph.

Shapes: B texts or rows, L tokens.
"""

import base64
import binascii
import os

import keras
import sentencepiece
import tensorflow as tf
import tensorflow_text

from official_coca.errors import InvalidInputError

VOCABULARY_FILE = "vocabulary.spm"

_TRAIN_HINT = (
    "train one with data/train_sentencepiece.py (pad_id=0 unk_id=1 bos_id=2 eos_id=3)"
)
_LONGEST_PATH = 1024


@keras.saving.register_keras_serializable(package="official_coca")
class SentencePieceTokenizer(tf.Module):
    """Turns strings into SentencePiece ids and back, in Python, `tf.data` and SavedModels.

    `tensorflow_text.SentencepieceTokenizer` is used; its `Fast` sibling returns wrong ids for BPE
    models and for byte fallback. The model is part of every exported graph, and of `get_config`,
    so a saved file needs nothing beside it.

    Args:
        proto: the trained model: its bytes, the path of its file, or its bytes in base64. It must
            define the pad, bos and eos tokens.

    Example:
        tokenizer = SentencePieceTokenizer("assets/tokenizer/vocabulary.spm")
        tokenizer.detokenize(tokenizer.tokenize(["a photo of the cat"]))
    """

    def __init__(self, proto):
        super().__init__(name="sentence_piece_tokenizer")
        self._proto, origin = _read_proto(proto)
        vocabulary = _parse_proto(self._proto, origin)
        self.vocabulary_size = vocabulary.get_piece_size()
        self.pad_token_id = vocabulary.pad_id()
        self.bos_token_id = vocabulary.bos_id()
        self.eos_token_id = vocabulary.eos_id()
        self.unk_token_id = vocabulary.unk_id()
        self._processor = tensorflow_text.SentencepieceTokenizer(self._proto)

    def tokenize(self, texts):
        """Returns the ids without BOS and EOS: a ragged (B, None) int32, or (L,) for a scalar.

        Args:
            texts: strings, (B,), ragged or scalar.
        """
        if not isinstance(texts, tf.RaggedTensor):
            texts = tf.convert_to_tensor(texts, tf.string)
        return self._living_processor().tokenize(texts)

    def detokenize(self, token_ids):
        """Returns the texts (B,) of ids (B, L), or the one text of (L,).

        A row ends at its first EOS; BOS and PAD are dropped. Ids outside the vocabulary, which a
        model with a padded vocabulary can emit, read as the unknown token.

        Args:
            token_ids: integers, dense (..., L) or ragged (B, None).
        """
        if isinstance(token_ids, tf.RaggedTensor):
            token_ids = token_ids.to_tensor(self.pad_token_id)
        token_ids = tf.cast(tf.convert_to_tensor(token_ids), tf.int32)
        outer_shape = tf.shape(token_ids)[:-1]
        rows = tf.reshape(token_ids, [tf.reduce_prod(outer_shape), tf.shape(token_ids)[-1]])
        ended = tf.cumsum(tf.cast(rows == self.eos_token_id, tf.int32), axis=1) > 0
        keep = ~ended & (rows != self.bos_token_id) & (rows != self.pad_token_id)
        known = (rows >= 0) & (rows < self.vocabulary_size)
        rows = tf.where(known, rows, self.unk_token_id)
        texts = self._living_processor().detokenize(tf.ragged.boolean_mask(rows, keep))
        return tf.ensure_shape(tf.reshape(texts, outer_shape), token_ids.shape[:-1])

    def save_assets(self, directory):
        """Writes the model to `vocabulary.spm` in `directory`."""
        tf.io.gfile.makedirs(str(directory))
        with tf.io.gfile.GFile(os.path.join(directory, VOCABULARY_FILE), "wb") as file:
            file.write(self._proto)

    @classmethod
    def from_assets(cls, directory):
        """Returns the tokenizer that `save_assets` wrote to `directory`."""
        return cls(os.path.join(directory, VOCABULARY_FILE))

    def get_config(self):
        return {"proto": base64.b64encode(self._proto).decode("ascii")}

    @classmethod
    def from_config(cls, config):
        return cls(**config)

    def _living_processor(self):
        """Returns the processor, made anew if `keras.utils.clear_session` dropped its resource."""
        with tf.init_scope():
            try:
                self._processor.vocab_size()
            except tf.errors.NotFoundError:
                self._processor = tensorflow_text.SentencepieceTokenizer(self._proto)
        return self._processor


def _read_proto(proto):
    """Returns the model's bytes and the words an error calls it by."""
    if isinstance(proto, bytes):
        return proto, f"SentencePiece model ({len(proto)} bytes)"
    value = os.fspath(proto)
    if len(value) < _LONGEST_PATH and tf.io.gfile.exists(value):
        if tf.io.gfile.isdir(value):
            raise InvalidInputError(
                f"SentencePiece model {value!r} is a directory; give the .model or .spm file"
            )
        with tf.io.gfile.GFile(value, "rb") as file:
            return file.read(), f"SentencePiece model {value!r}"
    try:
        decoded = base64.b64decode(value, validate=True)
        _parse_proto(decoded, "SentencePiece model (base64)")
    except (binascii.Error, InvalidInputError):
        if len(value) < _LONGEST_PATH:
            raise InvalidInputError(
                f"SentencePiece model {value!r} does not exist; give the path of a .model or .spm "
                f"file, or {_TRAIN_HINT}"
            ) from None
        raise InvalidInputError(
            f"SentencePiece model given as base64 ({len(value)} characters) is damaged; "
            f"{_TRAIN_HINT}"
        ) from None
    return decoded, "SentencePiece model (base64)"


def _parse_proto(proto, origin):
    """Returns the parsed model, or raises `InvalidInputError` if it does not fit."""
    try:
        vocabulary = sentencepiece.SentencePieceProcessor(model_proto=proto)
        readable = vocabulary.get_piece_size() > 0
    except RuntimeError:
        readable = False
    if not readable:
        raise InvalidInputError(f"{origin} is damaged or not a SentencePiece file; {_TRAIN_HINT}")
    ids = {"pad": vocabulary.pad_id(), "bos": vocabulary.bos_id(), "eos": vocabulary.eos_id()}
    missing = [name for name, token_id in ids.items() if token_id < 0]
    if missing:
        raise InvalidInputError(f"{origin} has no {' and no '.join(missing)} token; {_TRAIN_HINT}")
    return vocabulary
