"""The image-and-text upper half of CoCa's decoder.

Shapes: B batch, L tokens, Q image tokens, D width, V vocabulary, T capacity of a cache.
"""

import keras
from keras import ops

from official_coca.layers.attention_masks import causal_mask
from official_coca.layers.layer_normalization import LayerNormalization
from official_coca.layers.rows import multiply_rows
from official_coca.layers.transformer_block import TransformerBlock


@keras.saving.register_keras_serializable(package="official_coca")
class MultimodalDecoder(keras.layers.Layer):
    """Causal self-attention and cross-attention to the image tokens (CoCa section 3.2).

    Args:
        vocabulary_size: V.
        num_layers: decoder layers (`n_multi` in the paper).
        hidden_dim: D.
        num_heads: attention heads.
        mlp_dim: hidden width of the MLPs.
        separate_cross_attention_mlp: False gives the paper's layer, two attentions and one MLP.
            True gives open_clip's: a self-attention block and a cross-attention block, each with
            an MLP of its own.
        tie_embeddings: whether logits are products with the input token table, which `project`
            then takes, instead of with a matrix of the decoder's own.
        attention_bias: whether attention projections have biases.
        normalize_context: whether each layer normalises the image tokens that it attends to.
        activation: of the MLPs; see `TransformerBlock`.
        layer_norm_epsilon: of all norms.
        recompute_activations: see `TransformerBlock`.

    Call arguments:
        token_features: (B, L, D) from the `UnimodalDecoder`.
        image_tokens: (B, Q, C) from the generative pooler.

    Returns:
        (B, L, D) normalised features; `project` turns them into logits.
    """

    def __init__(
        self,
        vocabulary_size,
        num_layers,
        hidden_dim,
        num_heads,
        mlp_dim,
        separate_cross_attention_mlp=False,
        tie_embeddings=False,
        attention_bias=False,
        normalize_context=False,
        activation="gelu",
        layer_norm_epsilon=1e-6,
        recompute_activations=False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.vocabulary_size = vocabulary_size
        self.num_layers = num_layers
        self.hidden_dim = hidden_dim
        self.num_heads = num_heads
        self.mlp_dim = mlp_dim
        self.separate_cross_attention_mlp = separate_cross_attention_mlp
        self.tie_embeddings = tie_embeddings
        self.attention_bias = attention_bias
        self.normalize_context = normalize_context
        self.activation = activation
        self.layer_norm_epsilon = layer_norm_epsilon
        self.recompute_activations = recompute_activations
        self.blocks = []
        for index in range(num_layers):
            if separate_cross_attention_mlp:
                self.blocks.append(self._block(f"self_block_{index}"))
                self.blocks.append(
                    self._block(
                        f"cross_block_{index}", self_attention=False, cross_attention=True
                    )
                )
            else:
                self.blocks.append(self._block(f"block_{index}", cross_attention=True))
        self.final_norm = LayerNormalization(
            epsilon=layer_norm_epsilon, dtype=self.dtype_policy, name="final_norm"
        )

    def _block(self, name, **kinds):
        return TransformerBlock(
            self.num_heads,
            self.mlp_dim,
            normalize_context=self.normalize_context,
            attention_bias=self.attention_bias,
            activation=self.activation,
            layer_norm_epsilon=self.layer_norm_epsilon,
            recompute_activations=self.recompute_activations,
            dtype=self.dtype_policy,
            name=name,
            **kinds,
        )

    def build(self, token_features_shape, image_tokens_shape):
        for block in self.blocks:
            block.build(token_features_shape, image_tokens_shape)
        self.final_norm.build(token_features_shape)
        if not self.tie_embeddings:
            self.vocabulary_projection = self.add_weight(
                shape=(self.hidden_dim, self.vocabulary_size),
                initializer=keras.initializers.TruncatedNormal(stddev=0.02),
                name="vocabulary_projection",
            )

    def call(self, token_features, image_tokens):
        x = token_features
        length = x.shape[1] if x.shape[1] is not None else ops.shape(x)[1]
        attention_mask = causal_mask(length)
        for block in self.blocks:
            x = block(x, context=image_tokens, attention_mask=attention_mask)
        return self.final_norm(x)

    def project(self, features, token_embedding=None):
        """Features (..., D) to logits (..., V) in float32.

        Args:
            features: what `call` or `decode_step` returned, or some rows of it.
            token_embedding: (V, D), the input token table; used when embeddings are tied.
        """
        kernel = ops.cast(self.projection_kernel(token_embedding), features.dtype)
        logits = multiply_rows(features, kernel, transpose_kernel=self.tie_embeddings)
        return ops.cast(logits, "float32")

    def projection_kernel(self, token_embedding=None):
        """The variable that makes logits: (V, D), the given one, if tied, else (D, V)."""
        return token_embedding if self.tie_embeddings else self.vocabulary_projection

    def empty_cache(self, batch_size, capacity):
        """Keys and values, each (B, H, T, d), for each decoder layer."""
        return tuple(
            block.self_attend.empty_cache(batch_size, capacity)
            for block in self.blocks
            if block.self_attention
        )

    def project_image_tokens(self, image_tokens):
        """Keys and values of the image, each (B, H, Q, d), for each decoder layer; made once."""
        return tuple(
            block.project_context(image_tokens)
            for block in self.blocks
            if block.cross_attention
        )

    def decode_step(self, token_features, self_cache, cross_cache, index):
        """One token forward.

        Args:
            token_features: (B * K, 1, D), at position `index`.
            self_cache: for each decoder layer keys and values, each (B * K, H, T, d).
            cross_cache: what `project_image_tokens` returned; K beams share a row of it.
            index: scalar int.

        Returns:
            (B * K, 1, D) normalised features and the new self-attention cache.
        """
        x = token_features
        self_caches, cross_caches = iter(self_cache), iter(cross_cache)
        new_cache = []
        for block in self.blocks:
            block_self_cache = next(self_caches) if block.self_attention else None
            block_cross_cache = next(cross_caches) if block.cross_attention else None
            x, block_self_cache = block.decode_step(
                x, block_self_cache, block_cross_cache, index
            )
            if block.self_attention:
                new_cache.append(block_self_cache)
        return self.final_norm(x), tuple(new_cache)

    def get_config(self):
        return {
            **super().get_config(),
            "vocabulary_size": self.vocabulary_size,
            "num_layers": self.num_layers,
            "hidden_dim": self.hidden_dim,
            "num_heads": self.num_heads,
            "mlp_dim": self.mlp_dim,
            "separate_cross_attention_mlp": self.separate_cross_attention_mlp,
            "tie_embeddings": self.tie_embeddings,
            "attention_bias": self.attention_bias,
            "normalize_context": self.normalize_context,
            "activation": self.activation,
            "layer_norm_epsilon": self.layer_norm_epsilon,
            "recompute_activations": self.recompute_activations,
        }
