"""The text-only lower half of CoCa's decoder.

Shapes: B batch, L tokens, D width, T capacity of a cache.
"""

import keras
from keras import ops

from official_coca.layers.attention_masks import (
    causal_mask_with_class_token,
    check_class_token_mask,
    mark_visible,
)
from official_coca.layers.layer_normalization import LayerNormalization
from official_coca.layers.text_embed import TextEmbed
from official_coca.layers.transformer_block import TransformerBlock


@keras.saving.register_keras_serializable(package="official_coca")
class UnimodalDecoder(keras.layers.Layer):
    """Causal self-attention over a caption with a learned class token last (CoCa section 3.2).

    Unless asked to, the class token has no position, since it always stands last. Only it goes
    through the final norm; the token features go on to the `MultimodalDecoder` as they are.

    Args:
        vocabulary_size: size of the token table.
        num_layers: Transformer blocks (`n_uni` in the paper).
        hidden_dim: D.
        num_heads: attention heads.
        mlp_dim: hidden width of the MLPs.
        max_length: longest caption in tokens, without the class token.
        pad_token_id: the id that fills short captions up.
        attention_bias: whether attention projections have biases.
        class_token_mask: what the class token sees; see `causal_mask_with_class_token`.
        class_token_position: whether the class token has the position right behind the L tokens
            it is given, padding included. Its features then depend on how far captions are padded:
            open_clip's weights were trained with L = max_length always.
        activation: of the MLPs; see `TransformerBlock`.
        layer_norm_epsilon: of all norms.
        recompute_activations: see `TransformerBlock`.

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
        class_token_mask="paper",
        class_token_position=False,
        activation="gelu",
        layer_norm_epsilon=1e-6,
        recompute_activations=False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_class_token_mask(class_token_mask)
        self.vocabulary_size = vocabulary_size
        self.num_layers = num_layers
        self.hidden_dim = hidden_dim
        self.num_heads = num_heads
        self.mlp_dim = mlp_dim
        self.max_length = max_length
        self.pad_token_id = pad_token_id
        self.attention_bias = attention_bias
        self.class_token_mask = class_token_mask
        self.class_token_position = class_token_position
        self.activation = activation
        self.layer_norm_epsilon = layer_norm_epsilon
        self.recompute_activations = recompute_activations
        self.text_embed = TextEmbed(
            vocabulary_size,
            hidden_dim,
            max_length,
            class_token_position,
            dtype=self.dtype_policy,
            name="text_embed",
        )
        self.blocks = [
            TransformerBlock(
                num_heads,
                mlp_dim,
                attention_bias=attention_bias,
                activation=activation,
                layer_norm_epsilon=layer_norm_epsilon,
                recompute_activations=recompute_activations,
                dtype=self.dtype_policy,
                name=f"block_{index}",
            )
            for index in range(num_layers)
        ]
        self.final_norm = LayerNormalization(
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
        x, attention_mask = self._with_class_token(token_ids)
        for block in self.blocks:
            x = block(x, attention_mask=attention_mask)
        return self.final_norm(x[:, -1]), x[:, :-1]

    def class_token_features(self, token_ids):
        """(B, L) → (B, D): the first result of `call`, without the last block's other tokens."""
        x, attention_mask = self._with_class_token(token_ids)
        for block in self.blocks[:-1]:
            x = block(x, attention_mask=attention_mask)
        for block in self.blocks[-1:]:
            x = block.last_token(x, attention_mask)
        return self.final_norm(x[:, -1])

    def _with_class_token(self, token_ids):
        """Embeddings (B, L + 1, D) and their attention mask."""
        x = self.text_embed(token_ids)
        class_token = ops.cast(self.class_token, x.dtype)[None, None]
        if self.class_token_position:
            class_token = class_token + self.text_embed.position_after(token_ids)
        class_token = ops.broadcast_to(class_token, (ops.shape(x)[0], 1, self.hidden_dim))
        return ops.concatenate([x, class_token], axis=1), causal_mask_with_class_token(
            token_ids != self.pad_token_id, self.class_token_mask
        )

    def empty_cache(self, batch_size, capacity):
        """Keys and values, each (B, H, T, d), for each block."""
        return tuple(
            block.self_attend.empty_cache(batch_size, capacity) for block in self.blocks
        )

    def all_visible(self, batch_size, capacity):
        """(B, T + 1) of True, to begin decoding with: nothing has turned out to be padding yet."""
        return ops.ones((batch_size, capacity + 1), dtype="bool")

    def decode_step(self, token_ids, cache, visible, index):
        """One token of a caption, without the class token: captioning has no use for it.

        Args:
            token_ids: (B, 1) int, at position `index`.
            cache: for each block keys and values, each (B, H, T, d).
            visible: (B, T + 1) boolean, False where a token is padding. A caption may hold the
                padding id where a vocabulary has a word for it, as CLIP's has "!".
            index: scalar int.

        Returns:
            (B, 1, D) features, the new cache and the new `visible`.
        """
        visible = mark_visible(
            visible, token_ids != self.pad_token_id, index, self.class_token_mask
        )
        x = self.text_embed.decode_step(token_ids, index)
        new_cache = []
        for block, block_cache in zip(self.blocks, cache):
            x, block_cache = block.decode_step(x, block_cache, None, index, visible[:, :-1])
            new_cache.append(block_cache)
        return x, tuple(new_cache), visible

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
            "class_token_mask": self.class_token_mask,
            "class_token_position": self.class_token_position,
            "activation": self.activation,
            "layer_norm_epsilon": self.layer_norm_epsilon,
            "recompute_activations": self.recompute_activations,
        }
