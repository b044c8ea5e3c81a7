"""Attentional pooling of image features.

Shapes: B batch, N image features, C their width, Q queries, D width of the output, H heads.
"""

import keras

from official_coca.layers.attention import CrossAttention
from official_coca.layers.layer_normalization import LayerNormalization


@keras.saving.register_keras_serializable(package="official_coca")
class AttentionalPooler(keras.layers.Layer):
    """One multi-head attention from learned queries (CoCa section 3.2, "Attentional Poolers").

    Features and queries are normalised on the way in and the result on the way out; no residual
    and no MLP: the paper calls it "a single multi-head attention layer".

    Args:
        num_queries: Q; 256 gives the decoder's image tokens, 1 the contrastive embedding.
        num_heads: H; divides D.
        hidden_dim: D.
        attention_bias: whether the projections have biases.
        normalize_output: whether the result is normalised.
        layer_norm_epsilon: of the norms.

    Call arguments:
        features: (B, N, C).

    Returns:
        (B, Q, D).
    """

    def __init__(
        self,
        num_queries,
        num_heads,
        hidden_dim,
        attention_bias=False,
        normalize_output=True,
        layer_norm_epsilon=1e-6,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.num_queries = num_queries
        self.num_heads = num_heads
        self.hidden_dim = hidden_dim
        self.attention_bias = attention_bias
        self.normalize_output = normalize_output
        self.layer_norm_epsilon = layer_norm_epsilon

    def build(self, input_shape):
        query_shape = (None, self.num_queries, self.hidden_dim)
        self.query = self.add_weight(
            shape=query_shape[1:],
            initializer=keras.initializers.RandomNormal(stddev=1.0),
            name="query",
        )
        self.query_norm = self._norm("query_norm", query_shape)
        self.feature_norm = self._norm("feature_norm", input_shape)
        self.attend = CrossAttention(
            self.num_heads, self.attention_bias, dtype=self.dtype_policy, name="attend"
        )
        self.attend.build(query_shape, input_shape)
        if self.normalize_output:
            self.output_norm = self._norm("output_norm", query_shape)

    def _norm(self, name, shape):
        norm = LayerNormalization(
            epsilon=self.layer_norm_epsilon, dtype=self.dtype_policy, name=name
        )
        norm.build(shape)
        return norm

    def call(self, features):
        pooled = self.attend(self._queries(), self.feature_norm(features))
        return self.output_norm(pooled) if self.normalize_output else pooled

    def attention_weights(self, features):
        """(B, H, Q, N): where each query looks, for pictures."""
        return self.attend.attention_weights(self._queries(), self.feature_norm(features))

    def _queries(self):
        """(1, Q, D)."""
        return self.query_norm(self.query[None])

    def get_config(self):
        return {
            **super().get_config(),
            "num_queries": self.num_queries,
            "num_heads": self.num_heads,
            "hidden_dim": self.hidden_dim,
            "attention_bias": self.attention_bias,
            "normalize_output": self.normalize_output,
            "layer_norm_epsilon": self.layer_norm_epsilon,
        }
