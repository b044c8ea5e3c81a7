"""Tokenizes texts that strangers send: a bad one costs its own row and nothing else.

Shapes: B texts, L tokens (the preprocessor's `max_length`).
"""

import tensorflow as tf

# Characters for each token there is room for, and characters that are kept at least. Words are
# shorter, and so are runs of white space and of unknown characters, which are one token or none:
# what is cut off would have been cut as tokens too. It keeps a text of megabytes from holding up
# its batch.
_CHARACTERS_PER_TOKEN = 64
_CHARACTERS_AT_LEAST = 16_384


def safe_token_ids(preprocessor, texts):
    """Returns token ids (B, L) int32 as `preprocessor.token_ids` gives them, and `valid` (B,).

    Texts that are not UTF-8, or have no words, are not valid; their row is BOS alone. Texts that
    are too long are cut and valid. L is `max_length` whatever the batch, in a graph too.

    Args:
        preprocessor: an `ImageTextPreprocessor`.
        texts: (B,) string tensor.
    """
    texts, is_utf8 = safe_texts(texts, preprocessor.max_length)
    token_ids = preprocessor.token_ids(texts)
    missing = preprocessor.max_length - tf.shape(token_ids)[1]
    pad_token_id = preprocessor.tokenizer.pad_token_id
    token_ids = tf.pad(token_ids, [[0, 0], [0, missing]], constant_values=pad_token_id)
    token_ids = tf.ensure_shape(token_ids, (None, preprocessor.max_length))
    # Not read off the row: a vocabulary can have a word where others have padding (CLIP's "!").
    has_words = preprocessor.tokenizer.tokenize(texts).row_lengths() > 0
    return token_ids, is_utf8 & has_words


def safe_texts(texts, max_length):
    """Returns the texts, "" in place of what is not UTF-8, and which are, (B,) both.

    Args:
        texts: (B,) string tensor.
        max_length: tokens there is room for; far longer texts are cut.
    """
    readable = tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8", errors="ignore")
    is_utf8 = readable == texts
    texts = tf.where(is_utf8, texts, "")
    length = max(_CHARACTERS_PER_TOKEN * max_length, _CHARACTERS_AT_LEAST)
    return tf.strings.substr(texts, 0, length, "UTF8_CHAR"), is_utf8
