"""Token ids to vectors.

Shapes: B batch, L tokens, V vocabulary, D width.
"""

import keras
from keras import ops

from official_coca.errors import InvalidInputError


@keras.saving.register_keras_serializable(package="official_coca")
class TextEmbed(keras.layers.Layer):
    """Token embedding plus learned positions.

    Args:
        vocabulary_size: V.
        hidden_dim: D.
        max_length: longest sequence that has positions.
        class_token_position: whether there is one position more, for a class token that stands
            right behind the sequence (open_clip).

    Call arguments:
        token_ids: (B, L) int, L at most `max_length`.

    Returns:
        (B, L, D).

    Raises:
        InvalidInputError: when the sequence is longer than `max_length`.
    """

    def __init__(
        self, vocabulary_size, hidden_dim, max_length, class_token_position=False, **kwargs
    ):
        super().__init__(**kwargs)
        self.vocabulary_size = vocabulary_size
        self.hidden_dim = hidden_dim
        self.max_length = max_length
        self.class_token_position = class_token_position

    def build(self, input_shape=None):
        table = keras.initializers.TruncatedNormal(stddev=0.02)  # BERT's and GPT-2's
        self.token_embedding = self.add_weight(
            shape=(self.vocabulary_size, self.hidden_dim),
            initializer=table,
            name="token_embedding",
        )
        self.position_embedding = self.add_weight(
            shape=(self.max_length + self.class_token_position, self.hidden_dim),
            initializer=table,
            name="position_embedding",
        )

    def call(self, token_ids):
        length = token_ids.shape[1]
        if length is not None and length > self.max_length:
            raise InvalidInputError(
                f"a caption of {length} tokens is longer than max_length={self.max_length}; "
                "cut it, or build the model with a larger max_length"
            )
        if length is None:
            length = ops.shape(token_ids)[1]
        return self._embed(token_ids) + self._as_compute(self.position_embedding[:length])

    def position_after(self, token_ids):
        """(1, 1, D): the position of what stands right behind (B, L) tokens."""
        length = token_ids.shape[1] if token_ids.shape[1] is not None else ops.shape(token_ids)[1]
        return self._as_compute(self.position_embedding[length])[None, None]

    def decode_step(self, token_ids, index):
        """(B, 1) tokens that all stand at position `index` → (B, 1, D)."""
        position = ops.take(self.position_embedding, index, axis=0)
        return self._embed(token_ids) + self._as_compute(position)

    def _embed(self, token_ids):
        return self._as_compute(ops.take(self.token_embedding, token_ids, axis=0))

    def _as_compute(self, x):
        return ops.cast(x, self.compute_dtype)

    def get_config(self):
        return {
            **super().get_config(),
            "vocabulary_size": self.vocabulary_size,
            "hidden_dim": self.hidden_dim,
            "max_length": self.max_length,
            "class_token_position": self.class_token_position,
        }
