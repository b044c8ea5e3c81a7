"""The text-only lower half of CoCa's decoder.

Shapes: B batch, L tokens, D width, T capacity of a cache.
"""

import keras
from keras import ops

from official_coca.layers.attention_masks import causal_mask_with_class_token
from official_coca.layers.text_embed import TextEmbed
from official_coca.layers.transformer_block import TransformerBlock


@keras.saving.register_keras_serializable(package="official_coca")
class UnimodalDecoder(keras.layers.Layer):
    """Causal self-attention over a caption with a learned class token last (CoCa section 3.2).

    The class token has no position, since it always stands last, and only it goes through the
    final norm; the token features go on to the `MultimodalDecoder` as they are.

    Args:
        vocabulary_size: size of the token table.
        num_layers: Transformer blocks (`n_uni` in the paper).
        hidden_dim: D.
        num_heads: attention heads.
        mlp_dim: hidden width of the MLPs.
        max_length: longest caption in tokens, without the class token.
        pad_token_id: the id that fills short captions up.
        attention_bias: whether attention projections have biases.
        layer_norm_epsilon: of the final norm.

    Call arguments:
        token_ids: (B, L) int, padded on the right.

    Returns:
        The class token's features (B, D), normalised, and the tokens' features (B, L, D).
    """

    def __init__(
        self,
        vocabulary_size,
        num_layers,
        hidden_dim,
        num_heads,
        mlp_dim,
        max_length,
        pad_token_id=0,
        attention_bias=False,
        layer_norm_epsilon=1e-6,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.vocabulary_size = vocabulary_size
        self.num_layers = num_layers
        self.hidden_dim = hidden_dim
        self.num_heads = num_heads
        self.mlp_dim = mlp_dim
        self.max_length = max_length
        self.pad_token_id = pad_token_id
        self.attention_bias = attention_bias
        self.layer_norm_epsilon = layer_norm_epsilon
        self.text_embed = TextEmbed(
            vocabulary_size, hidden_dim, max_length, dtype=self.dtype_policy, name="text_embed"
        )
        self.blocks = [
            TransformerBlock(
                num_heads,
                mlp_dim,
                attention_bias=attention_bias,
                dtype=self.dtype_policy,
                name=f"block_{index}",
            )
            for index in range(num_layers)
        ]
        self.final_norm = keras.layers.LayerNormalization(
            epsilon=layer_norm_epsilon, dtype=self.dtype_policy, name="final_norm"
        )

    def build(self, input_shape=None):
        self.text_embed.build(input_shape)
        self.class_token = self.add_weight(
            shape=(self.hidden_dim,),
            initializer=keras.initializers.TruncatedNormal(stddev=0.02),
            name="class_token",
        )
        for block in self.blocks:
            block.build((None, None, self.hidden_dim))
        self.final_norm.build((None, self.hidden_dim))

    def call(self, token_ids):
        x = self.text_embed(token_ids)
        class_token = ops.broadcast_to(
            ops.cast(self.class_token, x.dtype), (ops.shape(x)[0], 1, self.hidden_dim)
        )
        x = ops.concatenate([x, class_token], axis=1)
        attention_mask = causal_mask_with_class_token(token_ids != self.pad_token_id)
        for block in self.blocks:
            x = block(x, attention_mask=attention_mask)
        return self.final_norm(x[:, -1]), x[:, :-1]

    def empty_cache(self, batch_size, capacity):
        """One cache (B, 2, H, T, d) for each block."""
        return tuple(
            block.self_attend.empty_cache(batch_size, capacity) for block in self.blocks
        )

    def decode_step(self, token_ids, cache, index):
        """One token of a caption, without the class token: captioning has no use for it.

        Args:
            token_ids: (B, 1) int, at position `index`.
            cache: tuple of (B, 2, H, T, d), one for each block.
            index: scalar int.

        Returns:
            (B, 1, D) features and the new cache.
        """
        x = self.text_embed.decode_step(token_ids, index)
        new_cache = []
        for block, block_cache in zip(self.blocks, cache):
            x, block_cache = block.decode_step(x, block_cache, None, index)
            new_cache.append(block_cache)
        return x, tuple(new_cache)

    def get_config(self):
        return {
            **super().get_config(),
            "vocabulary_size": self.vocabulary_size,
            "num_layers": self.num_layers,
            "hidden_dim": self.hidden_dim,
            "num_heads": self.num_heads,
            "mlp_dim": self.mlp_dim,
            "max_length": self.max_length,
            "pad_token_id": self.pad_token_id,
            "attention_bias": self.attention_bias,
            "layer_norm_epsilon": self.layer_norm_epsilon,
        }
